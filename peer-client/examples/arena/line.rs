//! The game without a terminal: a line of text a second, and commands on standard input.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::game::{Game, role_name};
use crate::story::{self, Story};

const INTERVAL: Duration = Duration::from_secs(1);
/// Commands that wait for the game loop; more make their writer wait.
const COMMANDS_MAX: usize = 16;

/// What somebody at the keyboard, or a program, asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Leave properly.
    Leave,
    /// End at once, like a crash.
    Quit,
    /// Hand the game over, if this player hosts it.
    HandOver,
    /// Show this among the events.
    Say(String),
}

/// Reads commands in a thread of its own, since reading them blocks.
pub(crate) fn read_commands(until_stdin_ends: bool) -> Receiver<Control> {
    let (sender, receiver) = sync_channel(COMMANDS_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let control = match line.trim() {
                "leave" => Control::Leave,
                "quit" => Control::Quit,
                "hand-over" => Control::HandOver,
                other => match other.strip_prefix("say ") {
                    Some(text) => Control::Say(text.to_owned()),
                    None => continue,
                },
            };
            if sender.send(control).is_err() {
                return;
            }
        }
        if until_stdin_ends {
            // The game loop may have ended before.
            let _ended = sender.send(Control::Quit);
        }
    });
    receiver
}

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Lines {
    next: Instant,
}

impl Lines {
    /// The first line comes at once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// Writes what is new, and a line if it is time.
    ///
    /// # Errors
    /// Those of standard output.
    pub(crate) fn draw(&mut self, game: &Game, story: &mut Story, now: Instant) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for sentence in story.newest() {
            writeln!(out, "  {sentence}")?;
        }
        if now < self.next {
            return Ok(());
        }
        self.next = now + INTERVAL;
        writeln!(out, "{}", line(game))?;
        out.flush()
    }
}

fn line(game: &Game) -> String {
    let (session, world) = (game.session(), game.world());
    let lobby = session.lobby();
    let host = session.host().map_or_else(|| "nobody".to_owned(), |host| story::name(&lobby, host.0));
    let role = role_name(session.role());
    let mut line = format!(
        "{} {role}, host {host}, epoch {}, tick {}, {} coins:",
        story::name(&lobby, game.me()),
        session.epoch(),
        world.tick,
        world.coins()
    );
    for (&connection, player) in &world.players {
        let away = if player.enabled { "" } else { " (away)" };
        line += &format!(" {} {}{away}", story::name(&lobby, connection), player.coins);
    }
    line
}
