//! Operations that must have their effect once, whoever hosts. Each guest's process numbers its own; the host's state counts what is
//! missing and what came twice, and says a receipt for each, which guests count likewise.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Reliable messages that a guest remembers, to know where it was before the newest of them: more than hosts keep.
const HEARD_MAX: usize = 16 * 1024;

/// One player's account, as the host keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// The process that numbers the operations: another one begins anew.
    process: u64,
    /// The number of its newest operation.
    pub(crate) newest: u64,
    /// Its operations that had their effect, and how many of them were receipted.
    done: u64,
    receipted: u64,
}

/// All accounts: a part of the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bank {
    pub(crate) accounts: BTreeMap<u32, Account>,
    /// Operations that had their effect, of all players there ever were.
    pub(crate) banked: u64,
    /// Numbers that were left out.
    pub(crate) lost: u64,
    /// Numbers that came again.
    pub(crate) twice: u64,
}

impl Bank {
    /// An operation of a player's process has its effect.
    pub(crate) fn take(&mut self, connection: u32, process: u64, number: u64) {
        let account = self.accounts.entry(connection).or_default();
        if account.process != process {
            *account = Account { process, ..Account::default() };
        }
        if number <= account.newest {
            self.twice = self.twice.saturating_add(1);
            return;
        }
        self.lost = self.lost.saturating_add(number - account.newest - 1);
        self.banked = self.banked.saturating_add(1);
        account.newest = number;
        account.done = account.done.saturating_add(1);
    }

    /// Forgets the accounts of players who left for good.
    pub(crate) fn keep(&mut self, stays: impl Fn(u32) -> bool) {
        self.accounts.retain(|&connection, _| stays(connection));
    }

    /// Says the receipts that are due: the player, its process, and the receipt's number. Those that cannot be said now stay due.
    pub(crate) fn say_receipts(&mut self, mut say: impl FnMut(u32, u64, u64) -> bool) {
        for (&connection, account) in &mut self.accounts {
            while account.receipted < account.done && say(connection, account.process, account.receipted + 1) {
                account.receipted += 1;
            }
        }
    }
}

/// What a guest's process keeps of its operations and receipts.
#[derive(Debug)]
pub(crate) struct Customer {
    process: u64,
    /// The number of the newest operation.
    pub(crate) said: u64,
    /// The number of the newest receipt; `None`: what it should be is not known, any may come.
    pub(crate) newest: Option<u64>,
    /// Receipts that were left out.
    pub(crate) lost: u64,
    /// Receipts that came again.
    pub(crate) twice: u64,
    /// For each of the last reliable messages of hosts: the newest receipt before it.
    heard: VecDeque<Option<u64>>,
}

impl Customer {
    /// Of a process that has said nothing yet.
    pub(crate) const fn new(process: u64) -> Self {
        Self { process, said: 0, newest: Some(0), lost: 0, twice: 0, heard: VecDeque::new() }
    }

    /// The next operation: this process and its number.
    pub(crate) const fn next(&self) -> (u64, u64) {
        (self.process, self.said + 1)
    }

    /// Any reliable message of a host has come.
    pub(crate) fn hear(&mut self) {
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(self.newest);
    }

    /// A receipt has come. False: it is of another process.
    pub(crate) fn take(&mut self, process: u64, number: u64) -> bool {
        if process != self.process {
            return false;
        }
        let expected = self.newest.map_or(number, |newest| newest.saturating_add(1));
        if number < expected {
            self.twice += 1;
        } else {
            self.lost = self.lost.saturating_add(number - expected);
            self.newest = Some(number);
        }
        true
    }

    /// So many of the last reliable messages do not count any more.
    pub(crate) fn take_back(&mut self, messages: Option<u64>) {
        let kept = messages.and_then(|messages| self.heard.len().checked_sub(usize::try_from(messages).ok()?));
        match kept {
            Some(kept) => self.newest = self.heard.drain(kept..).next().unwrap_or(self.newest),
            None => self.forget(),
        }
    }

    /// What the next receipt should be is not known any more.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repeats_are_counted_and_a_new_process_begins_anew() {
        let mut bank = Bank::default();
        for number in [1, 2, 2, 5] {
            bank.take(3, 7, number);
        }
        assert_eq!((bank.banked, bank.lost, bank.twice), (3, 2, 1));
        bank.take(3, 8, 1);
        assert_eq!((bank.banked, bank.lost, bank.twice), (4, 2, 1));
    }

    #[test]
    fn each_operation_has_one_receipt_which_waits_until_it_can_be_said() {
        let (mut bank, mut said) = (Bank::default(), Vec::new());
        (1..=3).for_each(|number| bank.take(1, 7, number));
        bank.say_receipts(|_, _, number| number <= 2);
        bank.say_receipts(|connection, process, number| {
            said.push((connection, process, number));
            true
        });
        assert_eq!(said, [(1, 7, 3)]);
    }

    #[test]
    fn receipts_that_were_taken_back_are_expected_again_and_others_are_noticed() {
        let mut customer = Customer::new(7);
        for number in 1..=3 {
            customer.hear();
            assert!(customer.take(7, number));
        }
        customer.hear();
        customer.take_back(Some(2));
        assert_eq!(customer.newest, Some(2), "the last message was no receipt, the one before it was the third");
        customer.take(7, 3);
        assert_eq!((customer.lost, customer.twice), (0, 0));
        customer.take(7, 3);
        customer.take(7, 6);
        assert_eq!((customer.lost, customer.twice), (2, 1));
        assert!(!customer.take(8, 7), "of the process before");
        customer.take_back(None);
        customer.take(7, 40);
        assert_eq!((customer.newest, customer.lost), (Some(40), 2));
    }
}
