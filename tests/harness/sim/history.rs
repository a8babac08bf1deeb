//! What must be true of the game's histories (P11, P12, P17): what was given, durable, shown and restored.

use std::collections::BTreeMap;

use protocol::id::{Checksum, HostEpoch, PeerKey};
use protocol::journal::{Class, Missing};
use protocol::snapshot::{Generation, Image};

use super::Sim;
use super::game::{Chain, Game, Operation};

/// What was seen of the game.
#[derive(Default)]
pub(super) struct History {
    /// What names each state that a host gave.
    given: BTreeMap<Generation, Checksum>,
    /// Each operation that was applied, by the history that it led to; and the one before it.
    operations: BTreeMap<u64, (u64, Operation)>,
    /// The newest tick that guests were shown as stable.
    stable_tick: u64,
    /// Hand-overs that the lobby has committed: to which process, which state at least.
    handed_over: BTreeMap<HostEpoch, (PeerKey, Generation)>,
    /// Those that are asked for, by the epoch that is to end.
    wanted: BTreeMap<HostEpoch, (PeerKey, Generation)>,
}

impl History {
    pub(super) fn stable(&mut self, tick: u64) {
        self.stable_tick = self.stable_tick.max(tick);
    }

    pub(super) fn wants_to_hand_over(&mut self, epoch: HostEpoch, to: PeerKey, last: Generation) {
        self.wanted.insert(epoch, (to, last));
    }

    /// The lobby has replaced the host of this epoch.
    pub(super) fn replaced(&mut self, epoch: HostEpoch) {
        if let Some(wanted) = self.wanted.remove(&epoch) {
            self.handed_over.insert(epoch.next(), wanted);
        }
    }

    /// P12: one state for each generation.
    fn gives(&mut self, image: &Image) -> Result<(), String> {
        let known = *self.given.entry(image.generation()).or_insert(image.checksum());
        if known == image.checksum() { Ok(()) } else { Err(format!("{:?} was given twice", image.generation())) }
    }

    fn applies(&mut self, before: Chain, after: Chain, operation: Operation) {
        self.operations.insert(after.hash, (before.hash, operation));
    }

    /// P12: what is restored is what was given, is the fold of its history, and is not older than what was shown.
    fn restores(&self, image: &Image, game: &Game, is_current: bool) -> Result<(), String> {
        if self.given.get(&image.generation()) != Some(&image.checksum()) {
            return Err(format!("{image:?} is not what was given"));
        }
        if (is_current && image.tick() < self.stable_tick) || image.tick() != game.tick {
            return Err(format!("tick {} ({}) is restored after {}", game.tick, image.tick(), self.stable_tick));
        }
        self.replay(game)
    }

    /// P12: the state is what its history, without any crash, leads to; and no token was made or lost.
    pub(super) fn replay(&self, game: &Game) -> Result<(), String> {
        let mut history = Vec::new();
        let mut at = game.log.hash;
        while let Some(&(before, operation)) = self.operations.get(&at) {
            history.push(operation);
            at = before;
        }
        let mut replayed = Game::default();
        history.into_iter().rev().for_each(|operation| replayed.fold(operation));
        if (&replayed.tokens, replayed.log) != (&game.tokens, game.log) {
            return Err(format!("{game:?} is not what its history leads to: {replayed:?}"));
        }
        let sum: i64 = game.tokens.values().sum();
        if sum == 0 { Ok(()) } else { Err(format!("{sum} tokens are too many")) }
    }
}

impl Sim {
    pub(super) fn check_given(&mut self, image: &Image) {
        if let Err(what) = self.history.gives(image) {
            self.violation("P12", what);
        }
    }

    /// Applies an operation at a host, and notes where it led.
    pub(super) fn check_applied(&mut self, index: usize, operation: Operation) {
        let Some(game) = self.peers[index].game_mut() else { return };
        let before = game.log;
        let applied = game.apply(operation);
        let after = game.log;
        match applied {
            Ok(()) => self.history.applies(before, after, operation),
            Err(what) => self.violation("P11", what),
        }
    }

    /// A peer restores a game.
    pub(super) fn check_restored(&mut self, index: usize, epoch: HostEpoch, image: &Image, game: &Game) {
        // A process that was frozen since may go on from what was the newest then: nobody plays with it.
        let is_current = self.service.row().is_some_and(|(lobby, _)| lobby.epoch() == epoch);
        if let Err(what) = self.history.restores(image, game, is_current) {
            self.violation("P12", what);
        }
        if !is_current {
            return;
        }
        let key = self.peers[index].key;
        if let Some(&(to, last)) = self.history.handed_over.get(&epoch)
            && to == key
            && image.generation() < last
        {
            let what = format!("the game was handed over at {last:?}, and goes on from {:?}", image.generation());
            self.violation("P11", what);
        }
        for guest in 0..self.peers.len() {
            let Some((stream, stable)) = self.peers[guest].heard_stable() else { continue };
            let told = game.player(stream).told_stable;
            if told.count < stable.count || (told.count == stable.count && told != stable) {
                self.violation("P11", format!("{stream:?} was shown {stable:?} as stable, and restored is {told:?}"));
            }
        }
    }

    /// A game hears a message.
    pub(super) fn check_heard(&mut self, index: usize, class: Class, number: u64, payload: &[u8]) {
        let heard = self.peers[index].view_mut().map(|view| view.hear(class, number, payload));
        if let Some(Err(what)) = heard {
            self.violation("P11", format!("peer {index}: {what}"));
        }
    }

    /// P11: nothing that was cut from a journal may be missing.
    pub(super) fn check_inputs_lost(&mut self, index: usize, lost: Option<Missing>) {
        if let Some(lost) = lost {
            self.violation("P11", format!("peer {index} had forgotten {lost:?}, which is in no state"));
        }
    }

    /// P11 when all is over: everybody has heard all, and all that was said is applied.
    pub(super) fn check_complete(&mut self) {
        let Some(game) = (0..self.peers.len()).find_map(|index| self.peers[index].game_mut().cloned()) else { return };
        if let Err(what) = self.history.replay(&game) {
            self.violation("P12", what);
        }
        for index in 0..self.peers.len() {
            let Some((stream, said, view)) = self.peers[index].said_and_heard() else { continue };
            let player = game.player(stream);
            let heard = (view.heard(), view.hash().unwrap_or(player.told.hash), view.stable());
            let told = (player.told.count, player.told.hash, player.told_stable);
            if player.taken != said {
                self.violation("P11", format!("peer {index} said {said} and {} are applied", player.taken));
            }
            if heard != told {
                self.violation("P11", format!("peer {index} heard {heard:?} and was told {told:?}"));
            }
        }
    }
}
