//! Requests to the lobby service, late.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::http;

use super::NetworkControl;

/// Sends a request when it would have arrived, and returns its answer when that would have. A partition holds both, until the
/// request's time-out, or this one where it has none.
///
/// # Errors
/// Those of the request, and [`io::ErrorKind::TimedOut`].
pub(crate) async fn exchange(
    control: &NetworkControl,
    time: Duration,
    request: RequestBuilder,
) -> Result<Response, Box<dyn Error + Send + Sync>> {
    let (client, request) = request.build_split();
    let request = request.map_err(reqwest::Error::without_url)?;
    let time = request.timeout().copied().unwrap_or(time);
    let exchanged = async {
        control.pass().await;
        let response = client.execute(request).await?;
        let response = whole(response).await?;
        control.pass().await;
        Ok(response)
    };
    let exchanged = timeout(time, exchanged).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    Ok(exchanged.map_err(reqwest::Error::without_url)?)
}

/// Reads the body too: nothing of an answer may come through while the network is partitioned.
async fn whole(response: Response) -> Result<Response, reqwest::Error> {
    let mut answer = http::Response::new(reqwest::Body::default());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.into();
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::simulated::SimulatedNetwork;

    const MS: Duration = Duration::from_millis(1);
    const TIMEOUT: Duration = Duration::from_secs(20);

    /// A service that answers everything, and when requests came to it.
    async fn service() -> (String, mpsc::UnboundedReceiver<Instant>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (came, times) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    read.push(stream.read_u8().await.unwrap());
                }
                came.send(Instant::now()).unwrap();
                let answer =
                    "HTTP/1.1 404 Not Found\r\netag: \"5\"\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, times)
    }

    fn get(url: &str) -> RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().get(url)
    }

    #[tokio::test]
    async fn a_request_is_one_delay_late_and_its_whole_answer_two() {
        let (url, mut times) = service().await;
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(50 * MS));
        let sent_at = Instant::now();
        let answer = exchange(&control, TIMEOUT, get(&url)).await.unwrap();
        assert!(sent_at.elapsed() >= 100 * MS, "{:?}", sent_at.elapsed());
        assert!(times.recv().await.unwrap() - sent_at >= 50 * MS);
        assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (404, &"\"5\"".parse().unwrap()));
        assert_eq!(answer.bytes().await.unwrap(), "body");
    }

    #[tokio::test]
    async fn in_a_partition_a_request_is_not_sent_and_fails_after_its_time_out() {
        let (url, mut times) = service().await;
        let control = NetworkControl::new(SimulatedNetwork::new(7));
        control.partition(true);
        let sent_at = Instant::now();
        let error = exchange(&control, TIMEOUT, get(&url).timeout(80 * MS)).await.unwrap_err();
        assert!(sent_at.elapsed() >= 80 * MS);
        assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::TimedOut);
        let error = exchange(&control, 10 * MS, get(&url)).await.unwrap_err();
        assert!(error.is::<io::Error>());
        assert!(times.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answer_that_comes_in_a_partition_is_held_until_it_is_healed() {
        let (url, mut times) = service().await;
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(50 * MS));
        let cut = async {
            times.recv().await.unwrap();
            control.partition(true);
            let until = Instant::now() + 150 * MS;
            // The answer is there long before that.
            tokio::time::sleep_until(until).await;
            control.partition(false);
            until
        };
        let asked = async { (exchange(&control, TIMEOUT, get(&url)).await, Instant::now()) };
        let (healed_at, (answer, answered_at)) = tokio::join!(cut, asked);
        assert!(answer.is_ok());
        assert!(answered_at >= healed_at);
    }
}
