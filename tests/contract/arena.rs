//! The arena's page comes from the service itself, as it was bundled, and can reach nothing else.

use tests::service::{Answer, TestService};

/// What the page is made of, with what a browser must take it for.
const FILES: [(&str, &str, &[u8]); 4] = [
    ("/arena/", "text/html; charset=utf-8", include_bytes!("../../peer-client/web/dist/arena/index.html")),
    ("/arena/main.js", "text/javascript; charset=utf-8", include_bytes!("../../peer-client/web/dist/arena/main.js")),
    ("/arena/style.css", "text/css; charset=utf-8", include_bytes!("../../peer-client/web/dist/arena/style.css")),
    ("/arena/icon.svg", "image/svg+xml", include_bytes!("../../peer-client/web/dist/arena/icon.svg")),
];

async fn fetch(service: &TestService, path: &str, known: &str) -> Answer {
    service.send(|client, service| client.get(service.url("http", path)).header("if-none-match", known)).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn the_page_is_served_as_it_was_bundled_with_a_policy_that_lets_it_reach_nothing_else() {
    let service = TestService::in_memory().await;
    for (path, content_type, bytes) in FILES {
        let answer = fetch(&service, path, "\"another\"").await.expect_status(200);
        assert_eq!((answer.content_type.as_str(), answer.bytes.as_slice()), (content_type, bytes), "{path}");
        let policy = header(&answer, "content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&answer, "cache-control"), "no-cache", "{path}");
        let again = fetch(&service, path, header(&answer, "etag")).await.expect_status(304);
        assert!(again.bytes.is_empty(), "{path}");
    }
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_of_the_page_is_a_problem_and_its_address_without_the_slash_leads_to_it() {
    let service = TestService::in_memory().await;
    for path in ["/arena/nowhere.js", "/arena/index.html/x", "/arena/..%2f..%2fetc%2fpasswd", "/arena/%ff"] {
        let answer = fetch(&service, path, "").await;
        assert_eq!(answer.content_type, "application/problem+json", "{path}: {}", answer.status);
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.status);
    }
    let page = fetch(&service, "/arena", "").await.expect_status(200);
    assert_eq!(page.content_type, "text/html; charset=utf-8");
    service.stop().await;
}

#[test]
fn the_page_has_no_script_or_style_inside_and_nothing_from_elsewhere() {
    let [(_, _, page), _, (_, _, style), _] = FILES;
    let (page, style) = (String::from_utf8_lossy(page), String::from_utf8_lossy(style));
    for inside in [" style=\"", " onclick=\"", "<style", "://", "src=\"//"] {
        assert!(!page.contains(inside), "{inside}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=\"main.js\"></script>").count()
    );
    for elsewhere in ["@import", "url(", "@font-face"] {
        assert!(!style.contains(elsewhere), "{elsewhere}");
    }
}
