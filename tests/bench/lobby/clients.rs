//! Sixteen clients at once, in one thread: the servers need the rest of the machine.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;

use super::Failure;
use super::http::Client;

/// Clients at once.
pub(crate) const CLIENTS: usize = 16;

/// Does so many things; each client takes the next one when it is done with its last.
pub(crate) async fn by_clients<T>(
    server: SocketAddr,
    count: usize,
    work: impl AsyncFn(&mut Client, usize) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let (next, work) = (&Cell::new(0), &work);
    let clients = (0..CLIENTS).map(|_| async move {
        let mut client = Client::connect(server).await?;
        let mut done = Vec::new();
        while next.get() < count {
            let number = next.replace(next.get() + 1);
            done.push(work(&mut client, number).await?);
        }
        Ok::<_, Failure>(done)
    });
    let done: Vec<Vec<T>> = clients.collect::<FuturesUnordered<_>>().try_collect().await?;
    Ok(done.into_iter().flatten().collect())
}

/// The duration that so many hundredths of all do not exceed; zero of none.
pub(crate) fn percentile(durations: &mut [Duration], hundredths: usize) -> Duration {
    durations.sort_unstable();
    let index = (durations.len() * hundredths).div_ceil(100).saturating_sub(1);
    durations.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut durations: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut durations, 50), Duration::from_millis(100));
        assert_eq!(percentile(&mut durations, 99), Duration::from_millis(198));
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
