//! Players who come and go without a socket.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::world::World;
use crate::history::Outcome;

/// Between two requests.
const THINK_MS: std::ops::Range<u64> = 5..80;
/// Lobbies that one player visits.
const VISITS: u32 = 12;

/// Comes and goes until the end.
pub(super) async fn churn(world: Arc<World>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while let Some(player) = world.sign_in(&mut rng).await {
        for _ in 0..VISITS {
            world.pause(Duration::from_millis(rng.u64(THINK_MS))).await;
            let chosen = rng.choice(world.open_lobbies().iter().copied());
            let Some((lobby, code)) = chosen else { continue };
            if world.is_stopped() {
                return;
            }
            match world.join(&mut rng, &player, lobby, code).await {
                Outcome::Done(_) => {}
                Outcome::Refused(_) => continue,
                // Nobody knows whether it has this seat: it is never used again.
                Outcome::Unknown | Outcome::Failed => break,
            }
            for _ in 0..rng.u8(..3) {
                world.pause(Duration::from_millis(rng.u64(THINK_MS))).await;
                world.read(&mut rng, &player, lobby).await;
            }
            // Some go without a word, and are removed.
            if rng.u8(..8) == 0 {
                break;
            }
            match world.leave(&mut rng, &player, lobby).await {
                Outcome::Done(_) | Outcome::Refused(_) => {}
                Outcome::Unknown | Outcome::Failed => break,
            }
        }
    }
}
