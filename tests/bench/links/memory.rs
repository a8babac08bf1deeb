//! Memory of links: many guests of one host, in a process of their own that has held nothing else before.

use std::process::Command;
use std::time::{Duration, Instant};

use peer_client::{LinkPath, Path};
use tests::service::TestService;
use tokio::time::sleep;

use super::scale::Scale;
use super::seat::{Guest, Host, guest_client};
use super::table::{Table, Unit};
use super::{Failure, meter};

/// What such a process is told that it is.
pub(crate) const CHILD: &str = "--memory-of";
/// Guests that come first: what the process needs once, it has then.
const FIRST: usize = 5;
/// How long the links are left to come to rest.
const REST: Duration = Duration::from_secs(2);
/// Longest wait for all links.
const PATIENCE: Duration = Duration::from_secs(60);
const COLUMNS: [&str; 2] = ["relay alone", "WebRTC, and relay as spare"];
const LABEL: &str = "memory per guest";

/// Measures it.
pub(crate) fn measure(scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("Memory: what the process grows by with each guest of one host", &COLUMNS);
    for _ in 0..scale.processes {
        for (column, way) in ["relay", "auto"].into_iter().enumerate() {
            let mut command = Command::new(std::env::current_exe()?);
            let output = command.args([CHILD, way, &scale.guests.to_string()]).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let bytes: f64 = text.trim().parse().map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
            table.add(LABEL, Unit::Kibibytes, column, bytes);
        }
    }
    if let Some((both, one)) = table.median(LABEL, 1).zip(table.median(LABEL, 0)) {
        table.note(format!("so a WebRTC link has {:.0} KiB, both ends together", (both - one) / 1024.0));
    }
    table.note(format!(
        "{} guests. It contains both ends of the links, the guest's whole session with its client and event socket, and what the service\n  \
         and its relay keep of it.",
        scale.guests
    ));
    Ok(vec![table])
}

/// Such a process: prints by how many bytes it grew with each guest.
pub(crate) async fn child(way: &str, guests: &str) -> Result<(), Failure> {
    let (path, straight) = if way == "auto" { (Path::Auto, true) } else { (Path::Relay, false) };
    let guests: usize = guests.parse()?;
    let service = TestService::in_memory().await;
    let host = Host::start(&service, path, None).await?;
    let mut seats = Vec::new();
    for _ in 0..FIRST {
        seats.push(join(&service, &host, path).await?);
    }
    let before = at_rest(&seats, straight).await?;
    for _ in 0..guests {
        seats.push(join(&service, &host, path).await?);
    }
    let after = at_rest(&seats, straight).await?;
    println!("{}", (after as f64 - before as f64) / guests as f64);
    Ok(())
}

async fn join(service: &TestService, host: &Host, path: Path) -> Result<Guest, Failure> {
    let client = guest_client(service, path, None).await?;
    Ok(Guest::join(&client, host).await?.0)
}

/// Waits until all links are as they are meant to be. Returns the bytes of the process then.
async fn at_rest(guests: &[Guest], straight: bool) -> Result<u64, Failure> {
    let began = Instant::now();
    let is_done = |guest: &Guest| {
        let links = guest.session.links();
        let wanted = if straight {
            (Some(LinkPath::WebRtc { turned: false }), Some(LinkPath::Relay))
        } else {
            (Some(LinkPath::Relay), None)
        };
        links.iter().any(|link| (link.path, link.spare) == wanted)
    };
    while !guests.iter().all(is_done) {
        if began.elapsed() > PATIENCE {
            return Err("not all links came about".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(REST).await;
    meter::resident_bytes()
}
