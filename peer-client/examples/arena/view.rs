//! The game on a terminal: the arena on the left, who is who and what happened on the right.

use std::io;
use std::time::Duration;

use peer_client::protocol::message::LobbyView;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Wrap};

use crate::game::{Game, role_name};
use crate::line::Control;
use crate::story::{self, Story};
use crate::world::{Cell, Direction, HEIGHT, Input, Player, WIDTH, World};

const COLOURS: [Color; 6] =
    [Color::LightRed, Color::LightGreen, Color::LightBlue, Color::LightMagenta, Color::LightCyan, Color::White];

/// The terminal, given back as it was when dropped.
pub(crate) struct View {
    terminal: ratatui::DefaultTerminal,
    input: Input,
    /// What the keys do.
    help: &'static str,
}

impl View {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Those of the terminal: there may be none.
    pub(crate) fn new(bot: bool) -> io::Result<Self> {
        let help = if bot { "the machine plays, q leaves" } else { "arrows walk, x stops, space shoots, q leaves" };
        Ok(Self { terminal: ratatui::try_init()?, input: Input::default(), help })
    }

    /// Reads the keys that were pressed.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn read_keys(&mut self) -> io::Result<Option<Control>> {
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            if key.kind != KeyEventKind::Release
                && let Some(control) = self.press(key)
            {
                return Ok(Some(control));
            }
        }
        Ok(None)
    }

    /// What the player wants in this tick. A shot is wanted once a press, a walk goes on until another key.
    pub(crate) const fn take_input(&mut self) -> Input {
        let input = self.input;
        self.input.shoot = false;
        input
    }

    /// Draws everything.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn draw(&mut self, game: &Game, story: &Story) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, game, story, self.help)).map(drop)
    }

    fn press(&mut self, key: KeyEvent) -> Option<Control> {
        // Keys that mean nothing here are many: they are told apart by their characters.
        let character = key.code.as_char().map(|character| character.to_ascii_lowercase());
        let direction = match character {
            Some('w') => Some(Direction::Up),
            Some('s') => Some(Direction::Down),
            Some('a') => Some(Direction::Left),
            Some('d') => Some(Direction::Right),
            _ => arrow(key.code),
        };
        match (direction, character) {
            (Some(direction), _) => self.input.walk = Some(direction),
            (None, Some('x')) => self.input.walk = None,
            (None, Some(' ')) => self.input.shoot = true,
            (None, Some('q')) => return Some(Control::Leave),
            (None, Some('c')) if key.modifiers.contains(KeyModifiers::CONTROL) => return Some(Control::Quit),
            (None, _) => {}
        }
        None
    }
}

impl Drop for View {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn arrow(code: KeyCode) -> Option<Direction> {
    let arrows = [
        (KeyCode::Up, Direction::Up),
        (KeyCode::Down, Direction::Down),
        (KeyCode::Left, Direction::Left),
        (KeyCode::Right, Direction::Right),
    ];
    arrows.into_iter().find(|(key, _)| *key == code).map(|(_, direction)| direction)
}

fn draw(frame: &mut Frame, game: &Game, story: &Story, keys: &str) {
    let [map, side] =
        Layout::horizontal([Constraint::Length(u16::from(WIDTH) + 2), Constraint::Min(30)]).areas(frame.area());
    let [arena, help] = Layout::vertical([Constraint::Length(u16::from(HEIGHT) + 2), Constraint::Min(0)]).areas(map);
    let lobby = game.session().lobby();
    frame.render_widget(Paragraph::new(rows(game.world())).block(Block::bordered().title(" arena ")), arena);
    frame.render_widget(Line::from(keys).dim(), first_line(help));
    let players = player_lines(game, &lobby);
    let height = u16::try_from(players.len()).unwrap_or(u16::MAX).saturating_add(4);
    let [state, events] = Layout::vertical([Constraint::Length(height), Constraint::Min(3)]).areas(side);
    let mut lines = state_lines(game, &lobby);
    lines.extend(players);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" game ")), state);
    frame.render_widget(event_lines(story, events), events);
}

fn first_line(area: Rect) -> Rect {
    Rect { height: area.height.min(1), ..area }
}

/// The arena, row by row.
fn rows(world: &World) -> Vec<Line<'static>> {
    (0..HEIGHT).map(|y| (0..WIDTH).map(|x| spot(world, Cell { x, y })).collect::<Line>()).collect()
}

/// What is to be seen at a place: a player before a shot before a dispenser before coins.
fn spot(world: &World, at: Cell) -> Span<'static> {
    if let Some((&connection, player)) = world.players.iter().find(|(_, player)| player.at == at) {
        let digit = char::from_digit((connection + 1) % 10, 10).unwrap_or('?').to_string();
        return match (player.enabled, player.stunned > 0) {
            (false, _) => digit.fg(Color::DarkGray).crossed_out(),
            (true, true) => digit.fg(colour(connection)).reversed(),
            (true, false) => digit.fg(colour(connection)).bold(),
        };
    }
    if world.shots.iter().any(|shot| shot.at == at) {
        return "*".fg(Color::LightRed);
    }
    if world.dispensers.iter().any(|dispenser| dispenser.at == at) {
        return "¤".fg(Color::Yellow).bold();
    }
    match world.floor.get(&at) {
        Some(1) => "·".fg(Color::Yellow),
        Some(_) => "o".fg(Color::Yellow),
        None => " ".into(),
    }
}

const fn colour(connection: u32) -> Color {
    COLOURS[connection as usize % COLOURS.len()]
}

fn state_lines(game: &Game, lobby: &LobbyView) -> Vec<Line<'static>> {
    let (session, world) = (game.session(), game.world());
    let host = session.host().map_or_else(|| "nobody".to_owned(), |host| story::name(lobby, host.0));
    vec![
        Line::from(format!("host {host}   epoch {}   code {}", session.epoch(), lobby.join_code)).bold(),
        Line::from(format!("tick {}   {} coins in all", world.tick, world.coins())),
    ]
}

/// A line a player: colour, name, what it is, its pocket.
fn player_lines(game: &Game, lobby: &LobbyView) -> Vec<Line<'static>> {
    let (session, world) = (game.session(), game.world());
    let host = session.host().map(|host| host.0);
    let line = |(&connection, player): (&u32, &Player)| {
        let role = match (connection == game.me(), Some(connection) == host, player.enabled) {
            (true, _, _) => format!("{}, this process", role_name(session.role())),
            (false, true, _) => "host".to_owned(),
            (false, false, true) => "guest".to_owned(),
            (false, false, false) => "away".to_owned(),
        };
        let style = Style::new().fg(if player.enabled { colour(connection) } else { Color::DarkGray });
        let name = story::name(lobby, connection);
        Line::styled(format!("{} {name:<8} {:>3} coins  {role}", connection + 1, player.coins), style)
    };
    world.players.iter().map(line).collect()
}

fn event_lines(story: &Story, area: Rect) -> Paragraph<'static> {
    let room = usize::from(area.height.saturating_sub(2));
    let newest: Vec<_> = story.sentences().rev().take(room).collect();
    let line = |(at, sentence): (Duration, &str)| {
        Line::from(vec![format!("{:>7.3} s  ", at.as_secs_f64()).dim(), sentence.to_owned().into()])
    };
    let lines: Vec<_> = newest.into_iter().rev().map(line).collect();
    Paragraph::new(lines).wrap(Wrap { trim: false }).block(Block::bordered().title(" events "))
}
