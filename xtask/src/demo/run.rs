//! One demo from the first process to the last.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::cluster::{Cluster, Server};
use xtask::process::{ClusterError, Process};
use xtask::trace::{Trace, now_us};

use super::Options;
use super::report::{PLAYERS, Phases, Report};

/// Longest time for any one thing that is waited for.
const TIME_OUT: Duration = Duration::from_secs(30);
/// How long those who watch see the game before the kill, and after it.
const PLAY_BEFORE: Duration = Duration::from_secs(5);
const PLAY_AFTER: Duration = Duration::from_secs(3);
const PLAY_AFTER_QUIET: Duration = Duration::from_secs(1);
/// Snapshots with everybody in the game that are stored before the kill.
const SNAPSHOTS: u64 = 2;
/// Two guests are asked this often for a tick that both have seen.
const COUNTS_MAX: u32 = 20;
/// P1 hosts. The first two who neither host nor come back count the coins: P2 and P3, or P4 in the place of one that was elected.
const HOST: usize = 0;
/// P5, the last, draws if there is a terminal.
const VIEWER: usize = PLAYERS as usize - 1;

/// Why there is no report.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever watched has ended the player that draws.
    EndedByViewer,
    /// Two players never saw the same number of coins at the same tick: no number is right.
    NoAgreedCount(String, String),
    /// A process did not do what was waited for.
    Cluster(ClusterError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedByViewer => f.write_str("ended by you"),
            Self::NoAgreedCount(one, other) => write!(f, "{one} and {other} do not agree on how many coins there are"),
            Self::Cluster(error) => error.fmt(f),
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// Plays, kills, waits, counts.
pub(crate) fn play(binaries: &Path, options: &Options) -> Result<Report, Failure> {
    let mut game = Game::new(binaries, options)?;
    let played = play_in(&mut game, options);
    played.map_err(|failure| if game.was_ended_by_viewer() { Failure::EndedByViewer } else { failure })
}

fn play_in(game: &mut Game, options: &Options) -> Result<Report, Failure> {
    let old_connection = game.start_players(options.election_delay_ms)?;
    game.wait_for_snapshots()?;
    game.tell(&format!("watch or play in a browser: {}", game.address()));
    game.tell("soon the demo kills P1, the host; q ends the demo");
    let began = Instant::now();
    game.watch(if options.quiet { Duration::ZERO } else { PLAY_BEFORE })?;
    let coins_before = game.count()?;
    game.tell(&format!("{coins_before} coins after {:.1} s", began.elapsed().as_secs_f64()));
    let owned_before = game.owned()?;
    let snapshot = game.newest_snapshot();

    game.tell("the demo kills P1, the host, with SIGKILL");
    let killed_us = game.players[HOST].kill();
    let first_ticks = game.wait_all(killed_us, "the first tick of a new host", |trace| {
        trace.is("first_tick") && trace.number("epoch") > Some(1)
    })?;
    let new_host = first_ticks.first().and_then(|tick| tick.number("host")).unwrap_or_default();
    let (phases, restored_tick) = game.phases(killed_us, new_host, &first_ticks)?;
    game.tell(&format!("{} goes on after {:.0} ms", game.name_of(new_host), phases.pause_ms));
    game.watch(if options.quiet { PLAY_AFTER_QUIET } else { PLAY_AFTER })?;

    let came_back_us = now_us();
    game.tell("the demo starts P1 again");
    let connection = game.bring_back(HOST)?;
    game.tell(&format!("P1 is back with connection id {connection}"));
    let everybody = game.wait_all(came_back_us, "all players in their places", everybody_is_in)?;
    let counted_at = everybody.iter().map(Trace::at_us).max().unwrap_or(came_back_us);
    game.watch(if options.quiet { Duration::ZERO } else { PLAY_AFTER })?;
    let coins_after = game.count_without(counted_at, new_host)?;
    Ok(Report {
        options: *options,
        phases,
        new_host: game.name_of(new_host),
        snapshot_bytes: snapshot.number("bytes").unwrap_or_default(),
        snapshot_age_ms: milliseconds(snapshot.at_us(), killed_us),
        last_tick: game.last_tick_before(killed_us),
        restored_tick,
        coins_before,
        coins_after,
        players: everybody.last().map_or(0, enabled_players),
        old_host_connection: (old_connection, connection),
        ownership_kept: owned_before.iter().all(is_not_empty) && game.owned()? == owned_before,
    })
}

fn milliseconds(from_us: u64, to_us: u64) -> f64 {
    Duration::from_micros(to_us.saturating_sub(from_us)).as_secs_f64() * 1000.0
}

/// Those of the demo: whoever has joined from a browser is not counted.
fn enabled_players(status: &Trace) -> u64 {
    let players = status.value("players").as_array().into_iter().flatten();
    let is_of_demo = |player: &&Value| player["connection"].as_u64().is_some_and(|connection| connection < PLAYERS);
    players.filter(is_of_demo).filter(|player| player["enabled"] == Value::Bool(true)).count() as u64
}

fn is_not_empty(list: &Value) -> bool {
    list.as_array().is_some_and(|list| !list.is_empty())
}

fn everybody_is_in(trace: &Trace) -> bool {
    trace.is("status") && enabled_players(trace) == PLAYERS
}

/// Waits until a player has its seat. Returns its connection id, and all that it told of its seat.
fn seat(player: &Process) -> Result<(u64, Trace), ClusterError> {
    let seat = |trace: &Trace| trace.number("connection").filter(|_| trace.is("joined"));
    let joined = player.wait(0, TIME_OUT, "that it joined", |trace| seat(trace).is_some())?;
    Ok((seat(&joined).unwrap_or_default(), joined))
}

/// The processes. The players come first, so that they end before what they play on.
pub(super) struct Game {
    players: Vec<Process>,
    join_code: String,
    draws: bool,
    narrates: bool,
    service: Server,
    cluster: Cluster,
    began: Instant,
}

impl Game {
    /// A service, and no player yet.
    pub(super) fn new(binaries: &Path, options: &Options) -> Result<Self, ClusterError> {
        let cluster = Cluster::new(binaries)?;
        let service = cluster.service()?;
        let draws = options.draws();
        let narrates = !options.quiet && !draws;
        let (players, join_code) = (Vec::new(), String::new());
        let mut game = Self { players, join_code, draws, narrates, service, cluster, began: Instant::now() };
        game.tell("the lobby service runs, with a relay");
        Ok(game)
    }

    /// All players take their seats. Returns the host's connection id.
    pub(super) fn start_players(&mut self, election_delay_ms: u64) -> Result<u64, ClusterError> {
        let host = self.player(1, &["--host", "--election-delay-ms", &election_delay_ms.to_string()])?;
        self.players.push(host);
        let (connection, joined) = seat(&self.players[HOST])?;
        self.join_code = joined.text("join_code").unwrap_or_default().to_owned();
        self.tell(&format!("P1 hosts; join code {}", self.join_code));
        for number in 2..=PLAYERS {
            let guest = self.player(number, &["--join", &self.join_code])?;
            self.players.push(guest);
            seat(&self.players[self.players.len() - 1])?;
            self.tell(&format!("P{number} joins"));
        }
        Ok(connection)
    }

    /// Starts a player's process.
    fn player(&self, number: u64, how: &[&str]) -> Result<Process, ClusterError> {
        let name = format!("P{number}");
        let identity = self.cluster.file(&format!("{name}.identity"));
        let draws = self.draws && number == PLAYERS;
        let mut arguments = vec!["--identity".into(), identity.into_os_string()];
        arguments.extend(how.iter().map(Into::into));
        if !draws {
            arguments.push("--line".into());
        }
        self.cluster.arena(&name, self.service.address("http"), &arguments, draws)
    }

    /// Waits until there are snapshots that hold everybody.
    fn wait_for_snapshots(&mut self) -> Result<(), ClusterError> {
        let everybody = self.wait_all(0, "all players in their places", everybody_is_in)?;
        let since = everybody.iter().map(Trace::at_us).max().unwrap_or_default();
        let host = &self.players[HOST];
        let first = host.wait(since, TIME_OUT, "a stored snapshot", |trace| trace.is("snapshot_stored"))?;
        let last = first.number("seq").map(|seq| seq + SNAPSHOTS - 1);
        host.wait(since, TIME_OUT, "more stored snapshots", |trace| {
            trace.is("snapshot_stored") && trace.number("seq") >= last
        })?;
        self.tell("all five are in the game, and it is stored");
        Ok(())
    }

    /// Lets the game go on for a while, unless somebody ends it.
    fn watch(&self, time: Duration) -> Result<(), ClusterError> {
        let until = now_us() + u64::try_from(time.as_micros()).unwrap_or_default();
        // The one who may be ended by the viewer first.
        for player in self.players.iter().rev().filter(|player| player.is_alive()) {
            player.wait(until, TIME_OUT, "that it plays on", |trace| trace.is("status"))?;
        }
        Ok(())
    }

    /// The coins that two guests see at the same tick.
    fn count(&self) -> Result<u64, Failure> {
        self.count_without(now_us(), 0)
    }

    /// The coins that two players see at the same tick, neither of whom hosts nor has just come back.
    fn count_without(&self, since_us: u64, host: u64) -> Result<u64, Failure> {
        let guests = self.players.iter().zip(0..).skip(1).filter(|(_, connection)| *connection != host);
        let guests: Vec<_> = guests.map(|(player, _)| player).take(2).collect();
        let mut since = since_us;
        let mut seen = guests[0].wait(since, TIME_OUT, "its status", |trace| trace.is("status"))?;
        for _ in 0..COUNTS_MAX {
            let same = |trace: &Trace| trace.is("status") && trace.number("tick") == seen.number("tick");
            let both = guests[1].wait(since_us, Duration::from_millis(500), "the same tick", same);
            if let Ok(other) = both
                && other.number("coins") == seen.number("coins")
            {
                return Ok(seen.number("coins").unwrap_or_default());
            }
            since = seen.at_us() + 1;
            seen = guests[0].wait(since, TIME_OUT, "its status", |trace| trace.is("status"))?;
        }
        Err(Failure::NoAgreedCount(guests[0].name().to_owned(), guests[1].name().to_owned()))
    }

    /// What each guest owns.
    fn owned(&self) -> Result<Vec<Value>, ClusterError> {
        let since = now_us();
        let owned = |player: &Process| -> Result<Value, ClusterError> {
            Ok(player.wait(since, TIME_OUT, "its status", |trace| trace.is("status"))?.value("owned").clone())
        };
        self.players.iter().map(owned).collect()
    }

    /// The same trace of every player that lives.
    fn wait_all(
        &self,
        since_us: u64,
        what: &str,
        matches: impl Fn(&Trace) -> bool,
    ) -> Result<Vec<Trace>, ClusterError> {
        // The one who may be ended by the viewer first.
        let players = self.players.iter().rev().filter(|player| player.is_alive());
        let traces = players.map(|player| player.wait(since_us, TIME_OUT, what, &matches));
        let mut traces = traces.collect::<Result<Vec<_>, _>>()?;
        traces.reverse();
        Ok(traces)
    }

    /// When the last process got how far.
    fn phases(&self, killed_us: u64, new_host: u64, ticks: &[Trace]) -> Result<(Phases, u64), ClusterError> {
        let last =
            |traces: &[Trace]| milliseconds(killed_us, traces.iter().map(Trace::at_us).max().unwrap_or_default());
        let noticed = self.wait_all(killed_us, "that the host is lost", |trace| {
            trace.is_event("host_lost") || trace.is_event("disconnected_from_host")
        })?;
        let elected = self.wait_all(killed_us, "who is elected", |trace| trace.is_event("host_elected"))?;
        let mut reconnected = Vec::new();
        let mut restored = Vec::new();
        for (player, connection) in self.players.iter().zip(0..).filter(|(player, _)| player.is_alive()) {
            if connection == new_host {
                restored.push(player.wait(killed_us, TIME_OUT, "what it restored", |trace| trace.is("restored"))?);
            } else {
                let migrated = |trace: &Trace| trace.is_event("host_migrated");
                reconnected.push(player.wait(killed_us, TIME_OUT, "that it is in the new game", migrated)?);
            }
        }
        let phases = Phases {
            noticed_ms: last(&noticed),
            elected_ms: last(&elected),
            restored_ms: last(&restored),
            reconnected_ms: last(&reconnected),
            pause_ms: last(ticks),
        };
        Ok((phases, restored.first().and_then(|trace| trace.number("tick")).unwrap_or_default()))
    }

    /// Starts a player who was killed again, as a guest. Returns its connection id.
    pub(super) fn bring_back(&mut self, index: usize) -> Result<u64, ClusterError> {
        self.players[index] = self.player(index as u64 + 1, &["--join", &self.join_code])?;
        Ok(seat(&self.players[index])?.0)
    }

    /// Where the page is that joins the game.
    pub(super) fn address(&self) -> String {
        format!("http://{}/arena/#{}", self.service.address("http"), self.join_code)
    }

    /// Processes that play.
    pub(super) const fn bots(&self) -> usize {
        self.players.len()
    }

    /// Who hosts now.
    pub(super) fn host(&self) -> Result<u64, ClusterError> {
        let hosted = |trace: &Trace| trace.is("status") && trace.number("host").is_some();
        let status = self.players[VIEWER].wait(now_us(), TIME_OUT, "who hosts", hosted)?;
        Ok(status.number("host").unwrap_or_default())
    }

    /// Kills a host. Returns who hosts next, and for how many milliseconds the last one to go on saw the game stand still.
    pub(super) fn kill(&mut self, index: usize) -> Result<(u64, f64), ClusterError> {
        let killed_us = self.players[index].kill();
        let ticks = self.wait_all(killed_us, "the first tick of a new host", |trace| trace.is("first_tick"))?;
        let last_us = ticks.iter().map(Trace::at_us).max().unwrap_or(killed_us);
        Ok((ticks.first().and_then(|tick| tick.number("host")).unwrap_or_default(), milliseconds(killed_us, last_us)))
    }

    /// What the demo calls a player.
    pub(super) fn name_of(&self, connection: u64) -> String {
        if connection < self.players.len() as u64 { format!("P{}", connection + 1) } else { "a browser tab".to_owned() }
    }

    fn newest_snapshot(&self) -> Trace {
        let newest = |traces: &[Trace]| traces.iter().rev().find(|trace| trace.is("snapshot_stored")).cloned();
        self.players[HOST].log().look(newest).unwrap_or_default()
    }

    fn last_tick_before(&self, at_us: u64) -> u64 {
        let last = |traces: &[Trace]| {
            let seen = traces.iter().filter(|trace| trace.is("status") && trace.at_us() < at_us);
            seen.filter_map(|status| status.number("tick")).max()
        };
        self.players.iter().filter_map(|player| player.log().look(last)).max().unwrap_or_default()
    }

    /// Tells those who watch what the demo does: in the events of the player that draws, or in lines.
    fn tell(&mut self, what: &str) {
        if self.narrates {
            println!("{:>6.2} s  {what}", self.began.elapsed().as_secs_f64());
        }
        if let Some(viewer) = self.viewer() {
            viewer.say(&format!("say {what}"));
        }
    }

    /// The player that draws, once it was started.
    fn viewer(&mut self) -> Option<&mut Process> {
        if self.draws { self.players.get_mut(VIEWER) } else { None }
    }

    /// Whether the player that draws was told by a key to end.
    fn was_ended_by_viewer(&mut self) -> bool {
        let by_key = |trace: &Trace| trace.is("left") && matches!(trace.text("how"), Some("left" | "quit"));
        self.viewer().is_some_and(|viewer| viewer.log().look(|traces| traces.iter().any(by_key)))
    }
}

impl Drop for Game {
    /// Whoever draws gives the terminal back before it ends.
    fn drop(&mut self) {
        if let Some(viewer) = self.viewer() {
            viewer.say("quit");
            // If it does not, it is killed like the others.
            drop(viewer.wait_end(Duration::from_secs(2)));
        }
    }
}
