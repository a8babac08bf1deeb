//! Host or join a player-hosted game that outlives its host.
//!
//! A [`Client`] is a player who is signed in at a lobby service. It creates or joins a lobby, and gets a [`Session`]: a seat, with a
//! connection id that stays the same over every migration. One member of the lobby is the host and runs the game; the others are its
//! guests. When the host is lost the lobby elects another, which is given the stored state; the guests are led to it. All of that
//! happens by itself. The game has to do three things when it is asked, see [`Request`]:
//!
//! - [`SaveState`]: hand over its whole state. Asked of the host, once a second by default.
//! - [`RestoreState`]: go on from a state. Asked of the member that was elected.
//! - [`AcceptPlayer`]: let a player in, or not. Asked of the host, also for those who come back.
//!
//! Everything else is an [`Event`], which may be ignored, or a [`Message`] of another peer.
//!
//! # A game
//!
//! A game loop polls its session once a frame. The same loop serves host and guest, for each may become the other.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use peer_client::{Client, Delivery, Event, LobbyOptions, Output, Recipient, Request, SavedState};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:8080")
//!     .player_name("Ada")
//!     .build_id("arena-1")
//!     .identity_file("player.json")
//!     .sign_in()
//!     .await?;
//! let mut session = match std::env::args().nth(1) {
//!     Some(code) => client.join_code(&code).await?,
//!     None => client.host(LobbyOptions { name: "Ada's arena".into(), ..LobbyOptions::default() }).await?,
//! };
//! let mut tick = 0_u64;
//! let mut frames = tokio::time::interval(Duration::from_millis(33));
//! while !session.is_over() {
//!     frames.tick().await;
//!     while let Some(output) = session.poll() {
//!         match output {
//!             Output::Request(Request::SaveState(request)) => request.answer(SavedState {
//!                 tick,
//!                 elapsed: Duration::from_millis(33 * tick),
//!                 scene: "arena".into(),
//!                 state: tick.to_be_bytes().to_vec(),
//!             }),
//!             Output::Request(Request::RestoreState(request)) => {
//!                 tick = request.snapshot().map_or(0, |snapshot| snapshot.tick);
//!                 request.done();
//!             }
//!             Output::Request(Request::AcceptPlayer(request)) => request.accept(),
//!             Output::Event(Event::HostMigrated { host, .. }) => println!("{host} is host now"),
//!             Output::Event(_) => {}
//!             Output::Message(message) => println!("{}: {} bytes", message.from, message.payload.len()),
//!         }
//!     }
//!     if session.is_host() {
//!         tick += 1;
//!         session.set_tick(tick);
//!         session.send(Recipient::Everyone, Delivery::Unreliable, tick.to_be_bytes().to_vec())?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Games without an async runtime use [`blocking`], and poll the same way.
//!
//! # Who owns what
//!
//! The host tells the library which objects there are and whose they are ([`Session::place_object`]), and what only it knows of each
//! player ([`Session::set_seat_data`]). Both are part of every snapshot. After a migration the objects of players that are not back yet
//! are disabled; they are enabled when their owner is back ([`Event::ObjectReconnected`]). When it is gone for good they have no owner
//! any more ([`Event::AuthorityChanged`] with `None`): authority over them is the host's, whoever that is.
//!
//! # What is promised
//!
//! - The connection id of a message's sender is proven by its certificate, never claimed.
//! - Messages of a host that is not host any more change nothing, however late they arrive.
//! - Reliable messages arrive once and in order for as long as a link lives. A migration ends the links: what was sent and not yet part
//!   of a stored state is lost with the old host. Guests say again what still matters.
//! - Nothing grows without bound: a peer that is too slow is told so ([`SendError::Full`]) or cut off, and returns.

pub mod blocking;
mod builder;
mod client;
mod driver;
mod error;
mod event;
mod guest;
mod host;
mod identity;
mod leaving;
mod link;
mod links;
mod lobby_link;
mod outbox;
mod queue;
mod request;
mod retry;
mod saving;
mod service;
pub mod session;
mod start;
mod state;
mod transport;

pub use builder::{ClientBuilder, Path};
pub use client::{Client, LobbyOptions, LobbySummary};
pub use error::{Error, HostError, SendError};
pub use event::{Delivery, Event, Message, Output, Recipient, Role};
pub use identity::{Identity, IdentityFile, IdentityStore, SEATS_MAX, SavedSeat};
pub use protocol;
pub use request::{AcceptPlayer, Request, RestoreState, Restored, SCENE_BYTES_MAX, SaveState, SavedState};
pub use session::Session;
pub use state::Entry;
