//! The pages that show the API work without the internet.

use std::collections::BTreeSet;

use tests::service::TestService;

/// Where else a page or a script could load something from, in the words that would do it. Addresses that only stand in texts (of
/// licences, of XML's name spaces) load nothing.
const LOADS: [&str; 6] = ["src=\"", "href=\"", "@import", "importScripts(", "import(\"", "url("];

/// The addresses in a text that something is loaded from.
fn loaded(text: &str) -> BTreeSet<String> {
    let after = LOADS.iter().flat_map(|word| text.split(word).skip(1));
    let addresses =
        after.map(|rest| rest.trim_start_matches(['"', '\'', ' ']).split(['"', '\'', ')', ' ', ';', '>']).next());
    addresses.flatten().filter(|address| !address.is_empty()).map(ToOwned::to_owned).collect()
}

fn leads_elsewhere(address: &str) -> bool {
    address.starts_with("//") || address.starts_with("http:") || address.starts_with("https:")
}

#[tokio::test]
async fn the_page_about_the_api_loads_everything_from_the_service_itself() {
    let service = TestService::in_memory().await;
    let fetch = async |path: String| {
        let answer = service.send(|client, service| client.get(service.url("http", &path))).await;
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.bytes).into_owned())
    };
    let (status, page) = fetch("/docs/".to_owned()).await;
    assert_eq!(status, 200);
    let assets = loaded(&page);
    assert!(assets.len() >= 4, "styles and scripts: {assets:?}");
    let mut fetched = vec![("/docs/".to_owned(), page)];
    for asset in &assets {
        assert!(!leads_elsewhere(asset), "{asset}");
        let path = format!("/docs/{}", asset.trim_start_matches("./"));
        let (status, text) = fetch(path.clone()).await;
        assert_eq!(status, 200, "{path}");
        fetched.push((path, text));
    }
    for (path, text) in &fetched {
        if path.ends_with(".css") || path.ends_with("/") || path.contains("initializer") {
            let elsewhere: Vec<_> = loaded(text).into_iter().filter(|address| leads_elsewhere(address)).collect();
            assert!(elsewhere.is_empty(), "{path} loads {elsewhere:?}");
        }
    }
    // The page shows what it is told by this script: the description, from here, and nothing that checks it elsewhere.
    let (_, script) =
        fetched.iter().find(|(path, _)| path.contains("initializer")).expect("the page is set up by a script");
    assert!(script.contains("/openapi.json"), "{script}");
    assert!(script.contains("\"validatorUrl\": \"none\""), "{script}");
    assert!(!script.contains("http:") && !script.contains("https:"), "{script}");
    let (status, description) = fetch("/openapi.json".to_owned()).await;
    assert_eq!(status, 200);
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    assert!(description["servers"].is_null(), "requests go to where the page is from");
    service.stop().await;
}

#[test]
fn an_address_elsewhere_is_noticed() {
    let page = "<script src=\"https://cdn.example/a.js\"></script><link href=\"./b.css\"><style>@import 'c.css'; a { b: url(//d) }";
    assert_eq!(loaded(page), ["./b.css", "//d", "c.css", "https://cdn.example/a.js"].map(String::from).into());
    assert_eq!(loaded(page).iter().filter(|address| leads_elsewhere(address)).count(), 2);
}
