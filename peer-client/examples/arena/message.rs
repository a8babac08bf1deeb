//! What the players' processes send each other.

use serde::{Deserialize, Serialize};

use crate::world::Input;

/// One message.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Packet {
    /// From a guest: what it wants to do.
    Input(Input),
    /// From a guest, reliably: an operation at the bank.
    Bank {
        /// The process that numbers it.
        process: u64,
        /// From 1, without gaps.
        number: u64,
    },
    /// From the host, reliably: an operation had its effect.
    Receipt {
        /// The process whose operation it was.
        process: u64,
        /// From 1, without gaps.
        number: u64,
    },
    /// From the host: the arena as it is.
    World {
        /// The epoch in which the host ran this tick.
        epoch: u64,
        /// [`crate::world::World::encode`]'s.
        #[serde(with = "serde_bytes")]
        world: Vec<u8>,
    },
}

impl Packet {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("a packet is made of numbers and bytes, which MessagePack has")
    }

    /// Reads what another process sent; `None` if it is nothing of this game.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Direction;

    #[test]
    fn packets_read_back_as_they_were_written_and_anything_else_is_refused() {
        let input = Packet::Input(Input { walk: Some(Direction::Up), shoot: true });
        let world = Packet::World { epoch: 2, world: vec![1, 2, 3] };
        let bank = Packet::Bank { process: 300, number: 7 };
        let receipt = Packet::Receipt { process: 300, number: 7 };
        for packet in [input, world, bank, receipt] {
            let bytes = packet.encode();
            assert_eq!(Packet::decode(&bytes), Some(packet));
            assert!((0..bytes.len()).all(|cut| Packet::decode(&bytes[..cut]).is_none()));
        }
    }
}
