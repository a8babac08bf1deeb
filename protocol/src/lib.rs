//! The rules of Understudy, as values and pure functions.
//!
//! Nothing here has a socket, a clock or randomness of its own: time, random bytes and order are arguments. Three shells
//! (`lobby-service`, `relay`, `peer-client`) do what is decided here, and a simulation runs it in virtual time.

pub mod commit;
pub mod detector;
pub mod error;
pub mod frame;
pub mod hand_over;
pub mod id;
pub mod journal;
pub mod jws;
pub mod limits;
pub mod lobby;
pub mod message;
pub mod migration;
pub mod objects;
pub mod paths;
pub mod planted;
pub mod presence;
pub mod relay;
#[cfg(feature = "schema")]
pub mod schema;
pub mod signal;
pub mod snapshot;
pub mod standby;
pub mod stun;
pub mod suspicion;
pub mod takeover;
pub mod time;
pub mod token;

#[cfg(test)]
mod tests {
    /// Some instant to count from: the machines only ever add to it.
    pub(crate) fn start() -> std::time::Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs an origin; nothing depends on which")]
        std::time::Instant::now()
    }
}
