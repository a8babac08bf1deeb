//! The relay: forwards datagrams between the members of a lobby, without being able to read them.
//!
//! [`protocol::relay::RelayTable`] decides what happens with each datagram; this crate owns the socket, the clock and the
//! signatures. [`start`] runs a relay as one task of the calling runtime, in a process of its own (`main.rs`) or inside the
//! lobby service.
//!
//! Frames come as UDP datagrams; or, from peers whose UDP is blocked, as binary messages of a WebSocket at the TCP port of the same number.

pub mod config;
pub mod control;
mod desk;
mod eventloop;
mod listener;
mod outgoing;
mod queue;
mod rates;
mod running;
pub mod service;
pub mod verifier;

pub use config::Config;
pub use control::Order;
pub use running::{Running, start};
pub use verifier::{Verifier, VerifierError};
