//! A game that moves between two links that are both there, and what it notices when the straight way is cut.

use std::time::{Duration, Instant};

use peer_client::{Delivery, Event, LinkPath, Output, Path, SimulatedNetwork};
use tests::service::TestService;

use super::Failure;
use super::scale::Scale;
use super::seat::{Guest, Host, Job, Pace, SMALL_BYTES};
use super::table::{Table, Unit};

/// Above the round trip a move may take so much.
const SLACK: Duration = Duration::from_millis(5);
/// One way, of either side.
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(25)];
const COLUMNS: [&str; 2] = ["loopback", "25 ms each way"];
/// The host says something unreliable each so often.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long a game is looked at before the way is cut, and after a move.
const QUIET: Duration = Duration::from_millis(300);

const TO_WEB_RTC: &str = "relay to WebRTC: from the guest's hello to the welcome";
const TO_RELAY: &str = "WebRTC, cut, to relay: the same";
const CUT_GAP: &str = "longest time without a message when the way is cut";
const CLIMB_GAP: &str = "longest time without a message when it moves up";
const STRAIGHT: LinkPath = LinkPath::WebRtc { turned: false };

/// What one pair showed: a line, and a value in seconds.
type Figures = Vec<(&'static str, f64)>;

/// Measures it.
pub(crate) async fn measure(service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("Warm: a game moves between the relay and WebRTC, which are both there", &COLUMNS);
    let [near, far] = DELAYS.map(|delay| moves(service, delay, scale.cuts));
    let (near, far) = tokio::try_join!(near, far)?;
    for (column, figures) in [near, far].into_iter().enumerate() {
        figures.into_iter().for_each(|(line, value)| table.add(line, Unit::Milliseconds, column, value));
    }
    for (column, delay) in DELAYS.into_iter().enumerate() {
        let most = (2 * delay + SLACK).as_secs_f64();
        for line in [TO_WEB_RTC, TO_RELAY] {
            let what = format!("{}, {line}", COLUMNS[column]);
            table.judge(&what, table.median(line, column), most, |value| format!("{:.1} ms", value * 1e3));
        }
    }
    table.note("The host says something unreliable each 5 ms. A link that carries is given up when nothing came on it for 250 ms.");
    Ok(vec![table])
}

async fn moves(service: &TestService, delay: Duration, cuts: usize) -> Result<Figures, Failure> {
    let networks = [1, 2].map(|seed| Some(SimulatedNetwork::new(seed).delay(delay)));
    let (host, guest) = Guest::with_host(service, Path::Auto, networks).await?;
    let mut watch = Watch { guest, heard_at: Instant::now(), gap: Duration::ZERO, figures: Vec::new() };
    watch.has_host_speak(&host);
    watch.until_moved(STRAIGHT, TO_WEB_RTC, CLIMB_GAP).await?;
    for _ in 0..cuts {
        watch.until_both_are_there().await?;
        watch.cut(true)?;
        watch.until_moved(LinkPath::Relay, TO_RELAY, CUT_GAP).await?;
        watch.cut(false)?;
        watch.until_moved(STRAIGHT, TO_WEB_RTC, CLIMB_GAP).await?;
    }
    Ok(watch.figures)
}

/// A guest that listens.
struct Watch {
    guest: Guest,
    heard_at: Instant,
    /// The longest time without a message.
    gap: Duration,
    figures: Figures,
}

impl Watch {
    fn has_host_speak(&self, host: &Host) {
        let (delivery, bytes) = (Delivery::Unreliable, SMALL_BYTES);
        host.send(Job { to: self.guest.me(), delivery, bytes, messages: u64::MAX, pace: Pace::Each(INTERVAL) });
    }

    fn cut(&self, is_cut: bool) -> Result<(), Failure> {
        self.guest.session.network().ok_or("a network that is not simulated")?.cut_straight_ways(is_cut);
        Ok(())
    }

    /// Hears what comes next. Returns how long a move took, if it was one.
    async fn hear(&mut self) -> Result<Option<(LinkPath, Duration)>, Failure> {
        match self.guest.output().await? {
            Output::Message(message) if message.delivery == Delivery::Unreliable => {
                let now = Instant::now();
                self.gap = self.gap.max(now - self.heard_at);
                self.heard_at = now;
                Ok(None)
            }
            Output::Event(Event::PathChanged { path, took, .. }) => Ok(Some((path, took))),
            Output::Event(_) | Output::Message(_) | Output::Request(_) => Ok(None),
        }
    }

    async fn listen(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.hear().await?;
        }
        Ok(())
    }

    /// Waits for a move, and notes what it took and for how long nothing came.
    async fn until_moved(&mut self, to: LinkPath, took: &'static str, gap: &'static str) -> Result<(), Failure> {
        self.gap = Duration::ZERO;
        loop {
            match self.hear().await? {
                Some((path, time)) if path == to => {
                    self.figures.push((took, time.as_secs_f64()));
                    break;
                }
                Some(_) | None => {}
            }
        }
        self.listen(QUIET).await?;
        self.figures.push((gap, self.gap.as_secs_f64()));
        Ok(())
    }

    /// Waits until the game is on WebRTC, and the relay's link is kept for later.
    async fn until_both_are_there(&mut self) -> Result<(), Failure> {
        loop {
            self.listen(QUIET).await?;
            let links = self.guest.session.links();
            if links.iter().any(|link| (link.path, link.spare) == (Some(STRAIGHT), Some(LinkPath::Relay))) {
                return Ok(());
            }
        }
    }
}
