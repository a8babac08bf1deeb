//! From "the peer is known" to its first message, on links that are not there yet.

use std::time::Instant;

use peer_client::{Event, LinkPath, Output, Path};
use tests::service::TestService;

use super::Failure;
use super::rival::Rival;
use super::scale::Scale;
use super::seat::{Guest, Host, guest_client};
use super::table::{Table, Unit};
use super::way::Way;

/// Of the time that the crate takes with its defaults, WebRTC may take so much.
const OF_DEFAULT_MAX: f64 = 0.35;

const FIRST: &str = "from the guest's seat to the host's first message";
const MOVED: &str = "Path::Auto: until the game is on the straight way";
const AUTO_FIRST: &str = "Path::Auto: to the first message";
const COLUMNS: [&str; 4] = ["relay", "direct", "WebRTC", "crate's default, link alone"];
const DEFAULT: usize = 3;
const WEB_RTC: usize = 2;

/// Measures it.
pub(crate) async fn measure(service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("Cold: nothing of the link is there", &COLUMNS);
    let mut hosts = Vec::new();
    for way in Way::ALL {
        hosts.push((way, Host::start(service, way.path(), None).await?));
    }
    let auto = Host::start(service, Path::Auto, None).await?;
    for _ in 0..scale.cold {
        for (way, host) in &hosts {
            let client = guest_client(service, way.path(), None).await?;
            let joined = Guest::join(&client, host).await;
            let (guest, took) = joined.map_err(|failure| format!("{way:?}: {failure}"))?;
            table.add(FIRST, Unit::Milliseconds, way.column(), took.as_secs_f64());
            guest.session.leave().await?;
        }
        let (rival, took) = Rival::open(None).await.map_err(|failure| format!("the crate's default: {failure}"))?;
        table.add(FIRST, Unit::Milliseconds, DEFAULT, took.as_secs_f64());
        rival.close().await;
        climb(service, &auto, &mut table).await.map_err(|failure| format!("Path::Auto: {failure}"))?;
    }
    let ratio = table.median(FIRST, WEB_RTC).zip(table.median(FIRST, DEFAULT)).map(|(ours, theirs)| ours / theirs);
    table.judge("WebRTC of the crate's default", ratio, OF_DEFAULT_MAX, |ratio| format!("{ratio:.2}x"));
    table.note(
        "Ours is the whole way: servers asked for over HTTP by both, signals through the lobby, hello, the game's yes, welcome (the host's game\n  \
         looks each millisecond whether the guest is in). The crate's is two connections, signalled by a call, with announced channels.",
    );
    Ok(vec![table])
}

/// A link that begins on the relay and moves.
async fn climb(service: &TestService, host: &Host, table: &mut Table) -> Result<(), Failure> {
    let client = guest_client(service, Path::Auto, None).await?;
    let began = Instant::now();
    let (mut guest, took) = Guest::join(&client, host).await?;
    let joined = began.elapsed().saturating_sub(took);
    table.add(AUTO_FIRST, Unit::Milliseconds, Way::Relay.column(), took.as_secs_f64());
    loop {
        let output = guest.output().await?;
        if matches!(output, Output::Event(Event::PathChanged { path: LinkPath::WebRtc { .. }, .. })) {
            let moved = began.elapsed().saturating_sub(joined);
            table.add(MOVED, Unit::Milliseconds, WEB_RTC, moved.as_secs_f64());
            break;
        }
    }
    Ok(guest.session.leave().await?)
}
