//! For a game's own tests: does its state survive being stored?
//!
//! A migration is as good as the game's way to save and to load. [`check_snapshot`] tries it without a network:
//!
//! ```
//! use std::time::Duration;
//!
//! use peer_client::SavedState;
//! use peer_client::testing::check_snapshot;
//!
//! struct Counter {
//!     tick: u64,
//!     score: u32,
//! }
//!
//! fn save(game: &Counter) -> SavedState {
//!     SavedState {
//!         tick: game.tick,
//!         elapsed: Duration::from_millis(33 * game.tick),
//!         scene: "arena".into(),
//!         state: game.score.to_be_bytes().to_vec(),
//!     }
//! }
//!
//! fn load(saved: &SavedState) -> Result<Counter, String> {
//!     let score = saved.state.as_slice().try_into().map_err(|_| "a score has four bytes")?;
//!     Ok(Counter { tick: saved.tick, score: u32::from_be_bytes(score) })
//! }
//!
//! assert_eq!(check_snapshot(&Counter { tick: 90, score: 7 }, save, load), Ok(4));
//!
//! // A game that forgets something is told what.
//! let forgetful = |saved: &SavedState| load(saved).map(|game| Counter { tick: 0, ..game });
//! let fault = check_snapshot(&Counter { tick: 90, score: 7 }, save, forgetful).unwrap_err();
//! assert!(fault.to_string().contains("tick: 90 became 0"), "{fault}");
//! ```

use std::fmt;
use std::time::Duration;

use protocol::limits;
use protocol::snapshot::HEADER_BYTES;

use crate::request::{SCENE_BYTES_MAX, SavedState};

/// Bytes that are shown on each side of the first one that differs.
const CONTEXT_BYTES: usize = 16;

/// What is wrong with the way in which a game saves and loads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// The same game, saved twice without a step between, gives two states: saving changes the game, or asks a clock, a counter or
    /// randomness.
    #[error("the same game saved twice gives two states, so that none of them can be relied on: {0}")]
    SaveNotRepeatable(Differences),
    /// The state cannot be stored, even without seats and objects.
    #[error("the state of {bytes} bytes cannot be stored: with its scene it may have at most {max}")]
    TooLarge {
        /// Bytes of the state and the scene's name.
        bytes: usize,
        /// Bytes that they may have.
        max: usize,
    },
    /// The scene's name cannot be stored.
    #[error("the scene's name of {bytes} bytes cannot be stored: it may have at most {SCENE_BYTES_MAX}")]
    SceneTooLong {
        /// Bytes of the name.
        bytes: usize,
    },
    /// The game cannot load what it has saved.
    #[error("the game does not load what it has just saved: {0}")]
    NotLoaded(String),
    /// It can, but not twice: something is left over from the first time.
    #[error("the game loads its state once, but not again, so something is left over from the first time: {0}")]
    NotLoadedTwice(String),
    /// Loading a game changes one that was loaded before: they share state.
    #[error("a game changes when another is loaded beside it, so they share state (before and after): {0}")]
    SharedState(Differences),
    /// Two games that were loaded from the same state save different ones. The order in which a hash map is iterated differs from
    /// map to map: sort what is saved, or use an ordered map. Left-over state and randomness in loading look the same.
    #[error(
        "two games loaded from the same state save different ones (the order of a hash map, randomness, or what is left over): {0}"
    )]
    NotDeterministic(Differences),
    /// What is loaded is not what was saved: something is forgotten, or added.
    #[error("a game that was saved and loaded is not the same any more: {0}")]
    Changed(Differences),
}

/// In what two states differ: one thing at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences(Vec<Difference>);

/// In what two states differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The tick.
    Tick {
        /// Of the one.
        before: u64,
        /// Of the other.
        after: u64,
    },
    /// The game's time.
    Elapsed {
        /// Of the one.
        before: Duration,
        /// Of the other.
        after: Duration,
    },
    /// The scene.
    Scene {
        /// Of the one.
        before: String,
        /// Of the other.
        after: String,
    },
    /// The game's own bytes.
    State {
        /// The first byte that differs, from 0; where one begins with all of the other, the first that the other does not have.
        offset: usize,
        /// The bytes around it in the one, as text: what is not printable ASCII is escaped.
        before: String,
        /// The same of the other.
        after: String,
        /// Bytes of the one.
        before_bytes: usize,
        /// Bytes of the other.
        after_bytes: usize,
    },
}

/// Saves a game, loads it twice, and saves what was loaded: a game that passes can be continued by another process. Returns the
/// bytes of its state.
///
/// The more there is in the game the more this finds: players who left, timers that run, objects of each kind, and more than one of
/// each, since a map with one entry has but one order.
///
/// # Errors
/// [`SnapshotFault`], the first that is found in the order of its variants.
pub fn check_snapshot<Game, E: fmt::Display>(
    game: &Game,
    save: impl Fn(&Game) -> SavedState,
    load: impl Fn(&SavedState) -> Result<Game, E>,
) -> Result<usize, SnapshotFault> {
    let saved = save(game);
    compare(&saved, &save(game)).map_err(SnapshotFault::SaveNotRepeatable)?;
    check_size(&saved)?;
    let first = load(&saved).map_err(|error| SnapshotFault::NotLoaded(error.to_string()))?;
    let alone = save(&first);
    let second = load(&saved).map_err(|error| SnapshotFault::NotLoadedTwice(error.to_string()))?;
    compare(&alone, &save(&first)).map_err(SnapshotFault::SharedState)?;
    compare(&alone, &save(&second)).map_err(SnapshotFault::NotDeterministic)?;
    compare(&saved, &alone).map_err(SnapshotFault::Changed)?;
    Ok(saved.state.len())
}

fn check_size(saved: &SavedState) -> Result<(), SnapshotFault> {
    let (bytes, max) = (saved.state.len() + saved.scene.len(), limits::SNAPSHOT_BYTES_MAX - HEADER_BYTES);
    if saved.scene.len() > SCENE_BYTES_MAX {
        return Err(SnapshotFault::SceneTooLong { bytes: saved.scene.len() });
    }
    if bytes > max { Err(SnapshotFault::TooLarge { bytes, max }) } else { Ok(()) }
}

fn compare(before: &SavedState, after: &SavedState) -> Result<(), Differences> {
    let tick = (before.tick != after.tick).then_some(Difference::Tick { before: before.tick, after: after.tick });
    let elapsed = (before.elapsed != after.elapsed)
        .then_some(Difference::Elapsed { before: before.elapsed, after: after.elapsed });
    let scene = (before.scene != after.scene)
        .then(|| Difference::Scene { before: before.scene.clone(), after: after.scene.clone() });
    let state = (before.state != after.state).then(|| difference(&before.state, &after.state));
    let differences: Vec<_> = [tick, elapsed, scene, state].into_iter().flatten().collect();
    if differences.is_empty() { Ok(()) } else { Err(Differences(differences)) }
}

fn difference(before: &[u8], after: &[u8]) -> Difference {
    let shorter = before.len().min(after.len());
    let offset = before.iter().zip(after).position(|(one, other)| one != other).unwrap_or(shorter);
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(offset + CONTEXT_BYTES);
        bytes[offset.saturating_sub(CONTEXT_BYTES)..end].escape_ascii().to_string()
    };
    Difference::State {
        offset,
        before: around(before),
        after: around(after),
        before_bytes: before.len(),
        after_bytes: after.len(),
    }
}

impl Differences {
    /// Each of them: tick, elapsed time, scene, state.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.0.iter()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, difference) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{difference}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick { before, after } => write!(f, "tick: {before} became {after}"),
            Self::Elapsed { before, after } => write!(f, "elapsed: {before:?} became {after:?}"),
            Self::Scene { before, after } => write!(f, "scene: {before:?} became {after:?}"),
            Self::State { offset, before, after, before_bytes, after_bytes } => write!(
                f,
                "state: byte {offset} is the first that differs, \"{before}\" became \"{after}\" ({before_bytes} and {after_bytes} bytes in all)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;
    use std::rc::Rc;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Game {
        tick: u64,
        text: String,
    }

    fn game() -> Game {
        Game { tick: 90, text: "Ada has 3 gems and Ben has 14".into() }
    }

    fn save(game: &Game) -> SavedState {
        SavedState {
            tick: game.tick,
            elapsed: Duration::from_secs(game.tick),
            scene: "arena".into(),
            state: game.text.clone().into_bytes(),
        }
    }

    fn load(saved: &SavedState) -> Result<Game, std::string::FromUtf8Error> {
        Ok(Game { tick: saved.tick, text: String::from_utf8(saved.state.clone())? })
    }

    #[test]
    fn a_game_that_loads_what_it_has_saved_passes() {
        assert_eq!(check_snapshot(&game(), save, load), Ok(29));
    }

    #[test]
    fn a_game_that_forgets_is_shown_the_first_byte_that_differs_and_what_is_around_it() {
        let forgetful =
            |saved: &SavedState| load(saved).map(|game| Game { text: game.text.replace("14", "1"), ..game });
        let fault = check_snapshot(&game(), save, forgetful).unwrap_err();
        let expected = "a game that was saved and loaded is not the same any more: state: byte 28 is the first that differs, \
                        \"ms and Ben has 14\" became \"ms and Ben has 1\" (29 and 28 bytes in all)";
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn all_fields_that_differ_are_named() {
        let other = |saved: &SavedState| load(saved).map(|game| Game { tick: game.tick + 1, ..game });
        let Err(SnapshotFault::Changed(differences)) = check_snapshot(&game(), save, other) else { panic!() };
        assert_eq!(differences.to_string(), "tick: 90 became 91; elapsed: 90s became 91s");
        assert_eq!(differences.iter().count(), 2);
        let elsewhere = Cell::new("arena");
        let save = |game: &Game| SavedState { scene: elsewhere.get().into(), ..save(game) };
        let load = |saved: &SavedState| load(saved).inspect(|_| elsewhere.set("menu"));
        let fault = check_snapshot(&game(), save, load).unwrap_err();
        assert!(fault.to_string().ends_with("scene: \"arena\" became \"menu\""), "{fault}");
    }

    #[test]
    fn saving_that_is_not_repeatable_has_a_name_of_its_own() {
        let calls = Cell::new(0);
        let counting = |game: &Game| {
            calls.set(calls.get() + 1);
            SavedState { state: vec![calls.get()], ..save(game) }
        };
        assert!(matches!(check_snapshot(&game(), counting, load), Err(SnapshotFault::SaveNotRepeatable(_))));
    }

    #[test]
    #[expect(clippy::iter_over_hash_type, reason = "it is the mistake that is looked for")]
    fn the_order_of_a_hash_map_is_found() {
        let save = |game: &HashMap<u8, ()>| {
            let mut state = Vec::new();
            for key in game.keys() {
                state.push(*key);
            }
            SavedState { state, ..SavedState::default() }
        };
        let load = |saved: &SavedState| Ok::<_, String>(saved.state.iter().map(|key| (*key, ())).collect());
        let game = (0..100).map(|key| (key, ())).collect();
        assert!(matches!(check_snapshot(&game, save, load), Err(SnapshotFault::NotDeterministic(_))));
    }

    #[test]
    fn games_that_share_state_are_found() {
        type Shared = Rc<RefCell<Vec<u8>>>;
        let world = Shared::default();
        let save = |game: &Shared| SavedState { state: game.borrow().clone(), ..SavedState::default() };
        let load = |saved: &SavedState| {
            world.borrow_mut().extend(&saved.state);
            Ok::<_, String>(world.clone())
        };
        let game = Shared::new(RefCell::new(vec![1, 2]));
        assert!(matches!(check_snapshot(&game, save, load), Err(SnapshotFault::SharedState(_))));
    }

    #[test]
    fn a_game_that_loads_never_or_only_once_is_told_apart() {
        let never = |_: &SavedState| Err::<Game, _>("no");
        assert_eq!(check_snapshot(&game(), save, never), Err(SnapshotFault::NotLoaded("no".into())));
        let calls = Cell::new(0);
        let once = |saved: &SavedState| {
            calls.set(calls.get() + 1);
            if calls.get() > 1 { Err("the name is taken".to_owned()) } else { load(saved).map_err(|e| e.to_string()) }
        };
        let fault = check_snapshot(&game(), save, once);
        assert_eq!(fault, Err(SnapshotFault::NotLoadedTwice("the name is taken".into())));
    }

    #[test]
    fn what_cannot_be_stored_is_told() {
        let game = Game { text: "x".repeat(limits::SNAPSHOT_BYTES_MAX), ..game() };
        let fault = check_snapshot(&game, save, load).unwrap_err();
        assert!(matches!(fault, SnapshotFault::TooLarge { bytes, max } if bytes > max), "{fault}");
        let save = |game: &Game| SavedState { scene: game.text.clone(), ..SavedState::default() };
        let bytes = limits::SNAPSHOT_BYTES_MAX;
        assert_eq!(check_snapshot(&game, save, load), Err(SnapshotFault::SceneTooLong { bytes }));
    }
}
