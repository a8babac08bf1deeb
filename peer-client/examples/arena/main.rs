//! Arena: a game to see, and to test, what happens when a host is lost.
//!
//! One player hosts, the others join by its code. The host runs the arena and sends it to everybody thirty times a second;
//! guests send what they want to do. Kill the host's process: another player goes on with every coin in its place.

mod ballast;
mod bank;
mod bot;
mod game;
mod line;
mod message;
mod options;
mod seats;
mod status;
mod stored;
mod story;
mod trace;
#[cfg(test)]
mod vectors;
mod view;
mod wait;
mod world;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use clap::Parser;
use peer_client::{Event, Session};
use serde_json::json;

use game::{Game, News};
use line::{Control, Lines};
use options::Options;
use story::Story;
use view::View;
use world::{Input, TICKS_PER_SECOND};

/// Keys and commands are looked at this often. What the session has is taken at once: what it asks should not wait for a tick.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_micros(1_000_000 / TICKS_PER_SECOND);
/// A process that was stopped for longer does not catch up.
const LAG_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone; the exit code says it too.
            drop(writeln!(io::stderr(), "arena: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = peer_client::blocking::sign_in(options.client())?;
    let session = match &options.seat.join {
        Some(code) => client.join_code(code)?,
        None => client.host(options.lobby())?,
    };
    let lobby = session.lobby();
    let joined = json!({
        "connection": session.me(),
        "join_code": lobby.join_code,
        "lobby": lobby.id,
        "player": client.player(),
    });
    trace::write("joined", joined)?;
    Arena::new(options, session)?.play()?;
    Ok(())
}

/// How the game is shown and played.
enum Screen {
    Terminal(View),
    Lines(Lines),
}

struct Arena {
    game: Game,
    story: Story,
    screen: Screen,
    commands: Option<Receiver<Control>>,
    bot: bool,
    /// Of hosts that were host no more, as far as was told.
    stale_frames: u64,
}

impl Arena {
    fn new(options: &Options, session: Session) -> io::Result<Self> {
        let now = Instant::now();
        let commands =
            (options.line || !io::stdin().is_terminal()).then(|| line::read_commands(options.until_stdin_ends));
        let screen =
            if options.line { Screen::Lines(Lines::new(now)) } else { Screen::Terminal(View::new(options.bot)?) };
        let game = Game::new(session, options.setup(), now);
        Ok(Self { game, story: Story::new(now), screen, commands, bot: options.bot, stale_frames: 0 })
    }

    /// Plays until the session is over or somebody quits.
    fn play(mut self) -> io::Result<()> {
        let mut next_tick = Instant::now();
        loop {
            let now = Instant::now();
            let over = self.game.session().is_over();
            for news in self.game.take_outputs(now)? {
                self.heed(&news, now)?;
            }
            if over {
                return Ok(());
            }
            if now >= next_tick || self.game.tick_is_due() {
                self.tick(now)?;
                next_tick = if now > next_tick + LAG_MAX { now + TICK } else { next_tick.max(now - TICK) + TICK };
            }
            self.game.write_status(now)?;
            self.write_stale_frames()?;
            match self.control()? {
                Some(Control::Leave) => self.game.session().start_leaving(),
                Some(Control::Quit) => return trace::write("left", json!({"how": "quit"})),
                Some(Control::HandOver) => self.game.hand_over()?,
                Some(Control::Say(text)) => self.story.tell(text, now),
                None => {}
            }
            self.game.wait(next_tick.min(now + LOOK_INTERVAL));
        }
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let input = self.input();
        if let Some(news) = self.game.tick(input)? {
            self.heed(&news, now)?;
        }
        match &mut self.screen {
            Screen::Terminal(view) => view.draw(&self.game, &self.story),
            Screen::Lines(lines) => lines.draw(&self.game, &mut self.story, now),
        }
    }

    fn write_stale_frames(&mut self) -> io::Result<()> {
        let stale_frames = self.game.session().dropped().stale_frames;
        if stale_frames == self.stale_frames {
            return Ok(());
        }
        self.stale_frames = stale_frames;
        trace::write("dropped", json!({"stale_frames": stale_frames}))
    }

    fn input(&mut self) -> Input {
        match &mut self.screen {
            _ if self.bot => bot::input(self.game.world(), self.game.me()),
            Screen::Terminal(view) => view.take_input(),
            Screen::Lines(_) => Input::default(),
        }
    }

    fn heed(&mut self, news: &News, now: Instant) -> io::Result<()> {
        self.story.add(news, self.game.session(), now);
        let how = match news {
            News::Event(Event::Left) => "left",
            News::Event(Event::Removed) => "removed",
            News::Event(Event::Replaced) => "replaced",
            News::Event(Event::Overrun) => "overrun",
            News::Event(_) | News::FirstTick { .. } => return Ok(()),
        };
        trace::write("left", json!({"how": how}))
    }

    fn control(&mut self) -> io::Result<Option<Control>> {
        let command = match self.commands.as_ref().map(Receiver::try_recv) {
            Some(Ok(control)) => Some(control),
            Some(Err(TryRecvError::Empty)) | None => None,
            Some(Err(TryRecvError::Disconnected)) => {
                self.commands = None;
                None
            }
        };
        match (&mut self.screen, command) {
            (_, Some(control)) => Ok(Some(control)),
            (Screen::Terminal(view), None) => view.read_keys(),
            (Screen::Lines(_), None) => Ok(None),
        }
    }
}
