//! How much goes from a host to a guest, and what it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use peer_client::Delivery;
use peer_client::protocol::limits;
use tests::service::TestService;
use tokio::time::{sleep, timeout};

use super::scale::Scale;
use super::seat::{Arrivals, Guest, Host, Job, Pace, SMALL_BYTES};
use super::table::{Table, Unit};
use super::way::Way;
use super::{Failure, meter};

/// Bytes of a large message.
const LARGE_BYTES: usize = 16 * 1024;
/// For how long it is looked what links take on which nothing is said.
const IDLE: Duration = Duration::from_millis(500);
/// Before each kind of load, so that the relay has its whole burst for it again.
const REFILL: Duration = Duration::from_secs(1);
/// Nothing came for this long: the rest is lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// Clocks are read each so many messages.
const STEP: u64 = 10;

/// A kind of load.
struct Load {
    delivery: Delivery,
    bytes: usize,
    messages: u64,
    rate: (&'static str, Unit),
    cpu: &'static str,
}

/// How it went.
struct Flow {
    arrived: u64,
    took: Duration,
    cpu: Duration,
}

/// Measures it.
pub(crate) async fn measure(service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("From the host to a guest, as fast as it goes", &Way::NAMES);
    let mut pairs = Vec::new();
    for way in Way::ALL {
        pairs.push((way, Guest::with_host(service, way.path(), [None, None]).await?));
    }
    for _ in 0..scale.rounds {
        let idle = idle().await;
        for load in loads(scale) {
            sleep(REFILL).await;
            for (way, (host, guest)) in &mut pairs {
                let flow = flow(host, guest, &load).await?;
                load.add_to(&mut table, way.column(), &flow, idle);
            }
        }
    }
    let relay_max = limits::RELAY_LINK_BYTES_PER_SECOND as f64 / 1e6;
    table.note(format!(
        "A relay lets each member send {relay_max:.1} MB a second after its burst of 1 MiB, and drops the rest: that bounds all rates there."
    ));
    table.note(
        "CPU of the whole process: both ends, and on the relay's path the relay; less what it takes when nothing is said on the three links.\n  \
         Of unreliable messages 256 at most are under way.",
    );
    Ok(vec![table])
}

fn loads(scale: &Scale) -> [Load; 3] {
    [
        Load {
            delivery: Delivery::Reliable,
            bytes: SMALL_BYTES,
            messages: scale.small,
            rate: ("100 B reliable", Unit::PerSecond),
            cpu: "100 B reliable, CPU of all per message",
        },
        Load {
            delivery: Delivery::Unreliable,
            bytes: SMALL_BYTES,
            messages: scale.small,
            rate: ("100 B unreliable, that arrived", Unit::PerSecond),
            cpu: "100 B unreliable, CPU of all per message",
        },
        Load {
            delivery: Delivery::Reliable,
            bytes: LARGE_BYTES,
            messages: scale.large,
            rate: ("16 KiB reliable", Unit::MegabytesPerSecond),
            cpu: "16 KiB reliable, CPU of all per message",
        },
    ]
}

impl Load {
    fn add_to(&self, table: &mut Table, column: usize, flow: &Flow, idle: f64) {
        let seconds = flow.took.as_secs_f64();
        let of_message = if self.rate.1 == Unit::MegabytesPerSecond { self.bytes as f64 } else { 1.0 };
        table.add(self.rate.0, self.rate.1, column, flow.arrived as f64 * of_message / seconds);
        let cpu = (flow.cpu.as_secs_f64() - idle * seconds).max(0.0) / flow.arrived as f64;
        table.add(self.cpu, Unit::Microseconds, column, cpu);
        if self.delivery == Delivery::Unreliable {
            let lost = 1.0 - flow.arrived as f64 / self.messages as f64;
            table.add("100 B unreliable, lost", Unit::Percent, column, lost);
        }
    }
}

/// CPU time in a second in which nothing is said.
async fn idle() -> f64 {
    let (began, before) = (Instant::now(), meter::cpu());
    sleep(IDLE).await;
    (meter::cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

async fn flow(host: &Host, guest: &mut Guest, load: &Load) -> Result<Flow, Failure> {
    let arrivals = Arc::new(Arrivals::default());
    let (began, before) = (Instant::now(), meter::cpu());
    let Load { delivery, bytes, messages, .. } = *load;
    host.send(Job { to: guest.me(), delivery, bytes, messages, pace: Pace::Flood(arrivals.clone()) });
    let mut flow = Flow { arrived: 0, took: Duration::ZERO, cpu: Duration::ZERO };
    let mut counted = 0;
    while flow.arrived < messages {
        match delivery {
            Delivery::Unreliable => match timeout(LOST_AFTER, guest.message(delivery)).await {
                Ok(message) => drop(message?),
                Err(_) => break,
            },
            Delivery::Reliable | Delivery::AfterStable => drop(guest.message(delivery).await?),
        }
        flow.arrived += 1;
        arrivals.add(flow.arrived);
        if flow.arrived.is_multiple_of(STEP) || flow.arrived == messages {
            (flow.took, flow.cpu, counted) = (began.elapsed(), meter::cpu() - before, flow.arrived);
        }
    }
    flow.arrived = counted;
    if counted == 0 { Err("nothing arrived".into()) } else { Ok(flow) }
}
