//! One migration: the host is lost, and what the others saw of it.

use std::time::Duration;

use protocol::limits::FAILED_ELECTIONS_MAX;
use xtask::trace::{Trace, now_us};

use super::Failure;
use super::figures::Run;
use super::game::{Game, PLAYERS, TIME_OUT};
use super::row::Loss;

/// The host is lost at any time within so many milliseconds, so that it is at any place between two ticks and two snapshots.
const SPREAD_MS: u64 = 500;
/// Hand-overs that may come to nothing, one after the other.
const TRIES_MAX: usize = 5;
/// Hosts that are lost one after the other: the lobby takes those that die soon for hosts that fail, and pauses after this many. A
/// hand-over in between says that all is well.
const LOSSES_MAX: usize = FAILED_ELECTIONS_MAX - 1;
/// A player tells of its migration when it is in the new game, or never.
const TOLD: Duration = Duration::from_secs(2);

/// Plays one.
pub(crate) fn play(game: &mut Game, loss: Loss) -> Result<Run, Failure> {
    if loss != Loss::Planned {
        if game.losses == LOSSES_MAX {
            play(game, Loss::Planned)?;
            game.losses = 0;
        }
        game.losses += 1;
    }
    game.wait_ready()?;
    std::thread::sleep(Duration::from_millis(fastrand::u64(..SPREAD_MS)));
    let (old, mut failed) = (game.host, 0);
    let since = loop {
        let since = lose(game, loss)?;
        if loss != Loss::Planned || is_handed_over(game, since)? {
            break since;
        }
        failed += 1;
        if failed == TRIES_MAX {
            return Err(format!("{TRIES_MAX} hand-overs in a row came to nothing").into());
        }
    };
    let sent = sent_to_successor(game, since);
    let stays = loss == Loss::Planned;
    let mut run = measure(game, since, |number| stays || number != old)?;
    (run.sent, run.failed) = (sent, failed);
    if !stays {
        game.replace(old)?;
    }
    Ok(run)
}

/// Returns when.
fn lose(game: &mut Game, loss: Loss) -> Result<u64, Failure> {
    let since = now_us();
    let host = game.host;
    let host = game.player_mut(host);
    match loss {
        Loss::Crash => {
            host.kill();
        }
        Loss::Silent => host.freeze()?,
        Loss::Planned => host.say("hand-over"),
    }
    Ok(since)
}

/// Whether the host's hand-over came to an end, or to nothing.
fn is_handed_over(game: &Game, since: u64) -> Result<bool, Failure> {
    let epoch = game.epoch;
    let ended = game.player(game.host).wait(since, TIME_OUT, "the end of its hand-over", |trace| {
        is_first_tick(trace, epoch) || trace.is_event("hand_over_failed") || trace.is("not_handed_over")
    })?;
    Ok(ended.is("first_tick"))
}

fn is_first_tick(trace: &Trace, after_epoch: u64) -> bool {
    trace.is("first_tick") && trace.number("epoch") > Some(after_epoch)
}

/// What the players who stayed saw; the game's host and epoch are the new ones then.
fn measure(game: &mut Game, since: u64, stayed: impl Fn(usize) -> bool) -> Result<Run, Failure> {
    let stayed: Vec<_> = (0..PLAYERS).filter(|&number| stayed(number)).collect();
    let (epoch, mut run, mut seen_tick) = (game.epoch, Run::default(), 0);
    let mut first = Trace::default();
    for &number in &stayed {
        let what = "the first tick of a new host";
        first = game.player(number).wait(since, TIME_OUT, what, |trace| is_first_tick(trace, epoch))?;
        let pause = first.number("pause_us").ok_or("a player that stayed saw a tick before")?;
        run.pause = run.pause.max(Duration::from_micros(pause));
        seen_tick = seen_tick.max(first.number("previous_tick").unwrap_or_default());
    }
    let epoch = first.number("epoch").ok_or("a first tick has an epoch")?;
    let host = first.number("host").and_then(|seat| game.at(seat)).ok_or("a new host has a seat")?;
    let restored = game.player(host).wait(since, TIME_OUT, "what it restored", |trace| trace.is("restored"))?;
    run.ticks_lost = seen_tick.saturating_sub(restored.number("tick").unwrap_or_default());
    for &number in &stayed {
        // The one that handed over does not tell of it.
        let is_it = |trace: &Trace| trace.is_event("migrated") && trace.number("epoch") == Some(epoch);
        let told =
            if number == game.host { None } else { Some(game.player(number).wait(since, TOLD, "how it went", is_it)) };
        if let Some(Ok(told)) = told {
            add_phases(&mut run, &told);
        }
    }
    (game.host, game.epoch) = (host, epoch);
    Ok(run)
}

/// The last one counts.
fn add_phases(run: &mut Run, told: &Trace) {
    let fields = ["noticed_us", "elected_us", "found_us", "restored_us", "resumed_us"];
    for (phase, field) in run.phases.iter_mut().zip(fields) {
        *phase = (*phase).max(told.number(field).map(Duration::from_micros));
    }
}

/// Bytes of states that the host had sent by its last status, since its first one of this epoch in which it told of any.
fn sent_to_successor(game: &Game, until: u64) -> Option<(u64, Duration)> {
    let epoch = game.epoch;
    game.player(game.host).log().look(|traces| {
        let told = |trace: &&Trace| {
            trace.is("status")
                && trace.at_us() < until
                && trace.number("epoch") == Some(epoch)
                && bytes(trace).is_some()
        };
        let first = traces.iter().find(told)?;
        let last = traces.iter().rev().find(told)?;
        let time = Duration::from_micros(last.at_us() - first.at_us());
        Some((bytes(last)?.saturating_sub(bytes(first)?), time))
    })
}

fn bytes(status: &Trace) -> Option<u64> {
    status.number("state_bytes_sent")
}
