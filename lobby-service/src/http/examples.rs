//! Examples of the description: from a story that a test plays against a fresh service and compares with every answer.

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi, RefOr};

const STORY: &str = include_str!("../../../openapi/examples.json");

#[derive(Deserialize)]
struct Story {
    story: Vec<Scene>,
}

/// A request and its answer.
#[derive(Deserialize)]
struct Scene {
    operation: String,
    request: Message,
    answer: Message,
}

#[derive(Deserialize)]
struct Message {
    status: Option<u16>,
    body: Option<Value>,
}

/// Gives every operation the request and the answers of its first scenes.
pub(super) fn document(description: &mut OpenApi) {
    let story: Story = serde_json::from_str(STORY).expect("the story was read by a test");
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let of_this = |scene: &&Scene| operation.operation_id.as_ref() == Some(&scene.operation);
            let scenes: Vec<_> = story.story.iter().filter(of_this).collect();
            scenes.into_iter().for_each(|scene| illustrate(operation, scene));
        }
    }
}

fn illustrate(operation: &mut Operation, Scene { request, answer, .. }: &Scene) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        put(body.content.values_mut(), request);
    }
    let status = answer.status.unwrap_or_default().to_string();
    if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(&status) {
        put(response.content.values_mut(), answer);
    }
}

fn put<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, message: &Message) {
    for content in contents {
        if let RefOr::T(content) = content
            && content.example.is_none()
        {
            content.example.clone_from(&message.body);
        }
    }
}
