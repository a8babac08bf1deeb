//! What is measured: a snapshot, and what becomes of it.

use protocol::id::{ConnectionId, HostEpoch, ObjectId, PlayerId};
use protocol::journal::Ledger;
use protocol::objects::ObjectTable;
use protocol::snapshot::{Body, Generation, Seat, Snapshot};

use super::Failure;
use super::state::{ENTITY_BYTES, World};

/// Of a hundred entities so many move in a tick.
const MOVING_PERCENT: u8 = 5;
/// Entities of a mebibyte.
const MEBIBYTE: u32 = (1 << 20) / ENTITY_BYTES as u32;
/// Players, each with a seat and an object.
const PLAYERS: u32 = 8;
/// Bytes of each change, where they are scattered.
const SCATTERED_BYTES: usize = 8;

/// One of the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Small,
    Medium,
    Large,
    Grown,
    Scattered,
    Variable,
}

impl Case {
    pub(crate) const ALL: [Self; 6] =
        [Self::Small, Self::Medium, Self::Large, Self::Grown, Self::Scattered, Self::Variable];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Small => "5 KB: 90 entities, 5 % move, fixed layout",
            Self::Medium => "50 KB: 1,080 entities, 5 % move, fixed layout",
            Self::Large => "1 MiB: 22,310 entities, 5 % move, fixed layout",
            Self::Grown => "1 MiB, 5 % move, and a seat's data in front of them grows",
            Self::Scattered => "1 MiB, 5 % of the bytes changed in 6,500 places",
            Self::Variable => "1 MiB's entities, 5 % move, numbers of any length: what follows them shifts",
        }
    }

    /// The snapshot, and the one after it.
    pub(crate) fn snapshots(self) -> Result<[Snapshot; 2], Failure> {
        let mut random = fastrand::Rng::with_seed(7);
        let entities = match self {
            Self::Small => 90,
            Self::Medium => 1080,
            Self::Large | Self::Grown | Self::Scattered | Self::Variable => MEBIBYTE,
        };
        let before = World::new(entities, &mut random);
        let mut after = before.clone();
        if self != Self::Scattered {
            after.tick(MOVING_PERCENT, &mut random);
        }
        let [old, mut new] = [before, after].map(|world| match self {
            Self::Small | Self::Medium | Self::Large | Self::Grown | Self::Scattered => world.fixed(),
            Self::Variable => world.variable(),
        });
        if self == Self::Scattered {
            scatter(&mut new, &mut random);
        }
        let [old, mut new] = [snapshot(0, old)?, snapshot(1, new)?];
        if self == Self::Grown {
            new.body.seats[2].host_data.extend_from_slice(b"a sword");
        }
        Ok([old, new])
    }
}

/// Changes a twentieth of the bytes, a few at a place.
fn scatter(state: &mut [u8], random: &mut fastrand::Rng) {
    for _ in 0..state.len() / 20 / SCATTERED_BYTES {
        let at = random.usize(..state.len() - SCATTERED_BYTES);
        random.fill(&mut state[at..at + SCATTERED_BYTES]);
    }
}

fn snapshot(seq: u64, state: Vec<u8>) -> Result<Snapshot, Failure> {
    let mut objects = ObjectTable::default();
    for number in 1..=PLAYERS {
        objects.place(ObjectId(number.into()), Some(ConnectionId(number)), b"avatar".to_vec())?;
    }
    let seats = (1..=PLAYERS).map(|number| Seat {
        connection: ConnectionId(number),
        player: PlayerId::from_bytes([number as u8; 16]),
        played: true,
        host_data: vec![number as u8; 24],
    });
    let body = Body {
        build_id: "1.0".into(),
        scene: "arena".into(),
        seats: seats.collect(),
        objects,
        ledger: Ledger::default(),
        state,
        changes: Vec::new(),
    };
    Ok(Snapshot { generation: Generation { epoch: HostEpoch(1), seq }, tick: 300 + seq, elapsed_us: 10_000_000, body })
}
