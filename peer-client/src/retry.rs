//! Coming back when the service says that it is too early.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use tokio::time::sleep;

/// How often a request is sent again.
const RETRIES_MAX: usize = 3;
/// Longest wait for one: who has to wait longer is told so.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Sends a request; if it was too early, again after the time that the service asks for, a few times and if that is soon.
pub(crate) async fn in_time<E, Answer>(send: impl Fn() -> Answer) -> Result<Response, E>
where
    Answer: Future<Output = Result<Response, E>>,
{
    for _ in 0..RETRIES_MAX {
        let response = send().await?;
        match asked_to_wait(&response).filter(|wait| *wait <= WAIT_MAX) {
            Some(wait) => sleep(wait).await,
            None => return Ok(response),
        }
    }
    send().await
}

fn asked_to_wait(response: &Response) -> Option<Duration> {
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of a request that is answered so, and how many of these answers were taken.
    async fn sent(answers: &[&str]) -> (u16, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = in_time(|| client.get(&url).send());
        let mut taken = 0;
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    read.push(stream.read_u8().await.unwrap());
                }
                taken += 1;
                let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
            }
            std::future::pending().await
        };
        let status =
            tokio::select! { response = request => response.unwrap().status().as_u16(), never = serve => never };
        (status, taken)
    }

    const SOON: &str = "429 Too Many Requests\r\nretry-after: 0";

    #[tokio::test]
    async fn who_comes_too_early_comes_back_when_it_may() {
        assert_eq!(sent(&[SOON, SOON, "200 OK"]).await, (200, 3));
    }

    #[tokio::test]
    async fn who_comes_too_early_for_ever_is_told_so() {
        assert_eq!(sent(&[SOON; 10]).await, (429, RETRIES_MAX + 1));
    }

    #[tokio::test]
    async fn a_long_wait_and_one_without_a_time_are_told_at_once_and_other_failures_are_the_callers() {
        assert_eq!(sent(&["429 Too Many Requests\r\nretry-after: 60", "200 OK"]).await, (429, 1));
        assert_eq!(sent(&["429 Too Many Requests", "200 OK"]).await, (429, 1));
        assert_eq!(sent(&["503 Service Unavailable\r\nretry-after: 0", "200 OK"]).await, (503, 1));
    }
}
