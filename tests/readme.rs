//! The README says the truth: its walk through the API prints what it says, and its example compiles (see `harness/lib.rs`).

use std::process::{Command, Stdio};

use tests::service::TestService;

const README: &str = include_str!("../README.md");
/// Marks what a command prints.
const PRINTED: &str = "# →";
/// Stands for anything within a line.
const ANYTHING: char = '…';

/// The block that walks through the API.
fn walk() -> &'static str {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.starts_with("SERVICE=")).expect("the README walks through the API")
}

#[tokio::test]
async fn the_walk_through_the_api_prints_what_the_readme_says() {
    let service = TestService::in_memory().await;
    let script = walk().replacen("http://127.0.0.1:8080", &service.url("http", ""), 1);
    let output = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .args(["-euc", &script])
            .stderr(Stdio::inherit())
            .output()
            .expect("the walk needs bash and curl")
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "the walk ended with {}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    let promised: Vec<_> = walk().lines().filter_map(|line| line.strip_prefix(PRINTED)).map(str::trim).collect();
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(printed.len(), promised.len(), "printed:\n{printed:#?}");
    for (printed, promised) in printed.iter().zip(promised) {
        assert!(matches(printed, promised), "the README promises\n  {promised}\nbut this was printed:\n  {printed}");
    }
    service.stop().await;
}

/// Whether a line is as promised: the parts between the dots in their order, the first at its start, the last at its end.
fn matches(line: &str, promised: &str) -> bool {
    let mut parts = promised.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut ends = rest.is_empty();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        ends = part.is_empty() || rest.ends_with(part);
        rest = &rest[at + part.len()..];
    }
    ends
}

#[test]
fn a_line_that_differs_from_its_promise_is_noticed() {
    assert!(matches("{\"a\":1,\"b\":2}", "{\"a\":…,\"b\":2}"));
    assert!(matches("204", "204"));
    assert!(!matches("205", "204"));
    assert!(!matches("2040", "204"));
    assert!(!matches("{\"a\":1,\"b\":3}", "{\"a\":…,\"b\":2}"));
    assert!(!matches("{\"b\":2}", "{\"a\":…,\"b\":2}"));
}
