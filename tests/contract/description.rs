//! What the API's description promises: for each operation its answers, each with its codes.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use crate::schema::Schemas;

/// A status, and the code of a refusal.
pub(crate) type Outcome = (u16, Option<String>);

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: Method,
    /// With the names of its parameters in braces.
    pub(crate) path: String,
    /// The content type of its body, if it takes one.
    pub(crate) takes: Option<String>,
    /// Who may ask, in the description's words; empty if anybody may.
    pub(crate) askers: Vec<String>,
    answers: BTreeMap<u16, Value>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Description {
    whole: Value,
    pub(crate) operations: BTreeMap<String, Operation>,
}

impl Description {
    /// Of the service as it is built here.
    pub(crate) fn read() -> Self {
        let whole = serde_json::to_value(lobby_service::http::description()).unwrap();
        let mut operations = BTreeMap::new();
        for (path, methods) in whole["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let read = Operation::read(&whole, method, path, operation);
                assert!(operations.insert(read.id.clone(), read).is_none());
            }
        }
        Self { whole, operations }
    }

    /// Everything that can be answered.
    pub(crate) fn outcomes(&self) -> BTreeSet<(String, Outcome)> {
        let all = self.operations.values().flat_map(|operation| {
            operation.answers.iter().flat_map(|(&status, answer)| {
                let codes = codes(answer);
                let outcomes: Vec<_> = match codes.is_empty() {
                    true => vec![(status, None)],
                    false => codes.into_iter().map(|code| (status, Some(code))).collect(),
                };
                outcomes.into_iter().map(|outcome| (operation.id.clone(), outcome))
            })
        });
        all.collect()
    }

    /// Why an answer is not one that the description promises.
    pub(crate) fn check(&self, operation: &str, status: u16, content_type: &str, body: &[u8]) -> Result<(), String> {
        let operation = self.operations.get(operation).ok_or("no such operation")?;
        let answer = operation.answers.get(&status).ok_or("this status is not documented")?;
        let Some(content) = answer.get("content") else {
            return if body.is_empty() { Ok(()) } else { Err("a body where none is documented".to_owned()) };
        };
        let documented = content.get(content_type).ok_or_else(|| format!("{content_type:?} is not documented"))?;
        if content_type == "application/octet-stream" {
            return Ok(());
        }
        let body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Schemas(&self.whole).check(&documented["schema"], &body)
    }
}

impl Operation {
    fn read(whole: &Value, method: &str, path: &str, operation: &Value) -> Self {
        let askers = operation["security"].as_array().into_iter().flatten();
        let askers = askers.flat_map(|one| one.as_object().unwrap().keys().cloned()).collect();
        let takes = operation["requestBody"]["content"].as_object().and_then(|content| content.keys().next()).cloned();
        let answers = operation["responses"].as_object().unwrap();
        Self {
            id: operation["operationId"].as_str().unwrap().to_owned(),
            method: method.to_uppercase().parse().unwrap(),
            path: path.to_owned(),
            takes,
            askers,
            answers: answers
                .iter()
                .map(|(status, answer)| (status.parse().unwrap(), resolved(whole, answer)))
                .collect(),
        }
    }
}

/// An answer that many operations have is described once.
fn resolved(whole: &Value, answer: &Value) -> Value {
    let shared = answer["$ref"].as_str().map(|reference| whole.pointer(&reference[1..]).unwrap());
    shared.unwrap_or(answer).clone()
}

/// The codes that a refusal is narrowed to.
fn codes(answer: &Value) -> Vec<String> {
    let schema = &answer["content"]["application/problem+json"]["schema"];
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let codes = parts.flat_map(|part| part["properties"]["code"]["enum"].as_array().into_iter().flatten());
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}
