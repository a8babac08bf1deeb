//! How long a small message takes to the host and back.

use std::time::Duration;

use peer_client::{Delivery, Recipient};
use tests::service::TestService;
use tokio::time::timeout;

use super::scale::Scale;
use super::seat::{Guest, SMALL_BYTES};
use super::table::{Table, Unit, percentile};
use super::way::Way;
use super::{Failure, payload};

/// A message that may be lost and is not back by then was lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Measures it.
pub(crate) async fn measure(service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("Round trips of 100 B, one at a time, through both sessions", &Way::NAMES);
    let mut pairs = Vec::new();
    for way in Way::ALL {
        pairs.push((way, Guest::with_host(service, way.path(), [None, None]).await?));
    }
    for _ in 0..scale.rounds {
        for (way, (_, guest)) in &mut pairs {
            for (delivery, labels) in [
                (Delivery::Unreliable, ["unreliable, p50", "unreliable, p99"]),
                (Delivery::Reliable, ["reliable, p50", "reliable, p99"]),
            ] {
                let times = echoes(guest, delivery, scale.echoes).await?;
                for (label, percent) in labels.into_iter().zip([50.0, 99.0]) {
                    let value = percentile(&times, percent).ok_or("no message came back")?;
                    table.add(label, Unit::Microseconds, way.column(), value);
                }
            }
        }
    }
    Ok(vec![table])
}

async fn echoes(guest: &mut Guest, delivery: Delivery, count: usize) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    for _ in 0..count {
        guest.session.send(Recipient::Host, delivery, payload::stamped(SMALL_BYTES))?;
        let Ok(message) = timeout(LOST_AFTER, guest.message(delivery)).await else { continue };
        times.push(payload::age(&message?.payload).ok_or("a message without a stamp")?.as_secs_f64());
    }
    Ok(times)
}
