//! Host or join a player-hosted game that outlives its host.
//!
//! One member of a lobby is the host and runs the game; the others are its guests. When the host crashes, leaves or hands over, another
//! member goes on from its state, and the guests are led to it: with the same join code, the same connection ids and the same objects.
//! Reliable messages that were under way have their effect once. The game answers three requests and gives its state; the rest is done here.
//!
//! - [Five minutes](#five-minutes)
//! - [The game loop](#the-game-loop)
//! - [State](#state)
//! - [Messages](#messages)
//! - [Who owns what](#who-owns-what)
//! - [Losing the host](#losing-the-host)
//! - [Handing over](#handing-over)
//! - [Strategies](#strategies)
//! - [Sealing](#sealing)
//! - [Testing your game](#testing-your-game)
//! - [What is promised](#what-is-promised), and [what is not](#what-is-not-promised)
//! - [Limits](#limits)
//! - [Troubleshooting](#troubleshooting)
//!
//! # Five minutes
//!
//! In the folder of the project, each in a terminal of its own:
//!
//! ```sh
//! cargo run -p lobby-service                                                             # a lobby service with its relay, on port 8080
//! cargo run -p peer-client --example survive_host_loss -- http://127.0.0.1:8080          # hosts, and prints a join code
//! cargo run -p peer-client --example survive_host_loss -- http://127.0.0.1:8080 CODE     # joins; start two of these
//! ```
//!
//! The host counts and the guests clap. Kill the host: after a second, the delay that a new lobby has, a guest counts on. The example is
//! a whole game in less than sixty lines, and a place to begin from.
//!
//! # The game loop
//!
//! A [`Client`] is a player who is signed in. It hosts or joins, and gets a [`Session`]: a seat in a lobby. The loop polls the session once
//! a frame, and is the same for host and guest, since each may become the other:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use peer_client::{Client, Delivery, Event, LobbyOptions, Output, Recipient, Request, SavedState};
//!
//! /// All that there is to the game.
//! #[derive(Default)]
//! struct World {
//!     tick: u64,
//!     coins: u64,
//! }
//!
//! impl World {
//!     fn save(&self) -> SavedState {
//!         SavedState {
//!             tick: self.tick,
//!             elapsed: Duration::from_millis(33 * self.tick),
//!             scene: "arena".into(),
//!             state: self.coins.to_be_bytes().to_vec(),
//!         }
//!     }
//! }
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
//! let mut world = World::default();
//! let mut frames = tokio::time::interval(Duration::from_millis(33));
//! while !session.is_over() {
//!     frames.tick().await;
//!     while let Some(output) = session.poll() {
//!         match output {
//!             // Requests must be answered.
//!             Output::Request(Request::SaveState(request)) => request.answer(world.save()),
//!             Output::Request(Request::RestoreState(request)) => {
//!                 world = World::default();
//!                 if let Some(saved) = request.snapshot() {
//!                     world.tick = saved.tick;
//!                     world.coins = u64::from_be_bytes(saved.state.as_slice().try_into()?);
//!                 }
//!                 request.done();
//!             }
//!             Output::Request(Request::AcceptPlayer(request)) => request.accept(),
//!             // Events may be ignored.
//!             Output::Event(Event::HostMigrated { host, .. }) => println!("{host} is host now"),
//!             Output::Event(_) => {}
//!             // On the host: what a guest did. On a guest: what the host tells.
//!             Output::Message(message) if session.is_host() => world.coins += message.payload.len() as u64,
//!             Output::Message(message) => println!("{}: {} bytes", message.from, message.payload.len()),
//!         }
//!     }
//!     if session.is_host() {
//!         world.tick += 1;
//!         session.set_tick(world.tick);
//!         session.send(Recipient::Everyone, Delivery::Unreliable, world.tick.to_be_bytes().to_vec())?;
//!         session.give_state(world.save())?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An async game waits with [`Session::next`] instead of polling. A game without an async runtime uses [`blocking`], and polls the same way.
//! A game that leaves [`session::EVENTS_MAX`] outputs unread has stopped for the library too, and its session ends.
//!
//! The three requests ([`Request`]):
//!
//! - [`SaveState`], to the host: hand over the whole state. Asked of a game that does not give its state by itself, at each interval, and
//!   before a host leaves or hands over. Dropping it skips this snapshot.
//! - [`RestoreState`], to the member that was elected: go on from this state, or anew if there is none. Until it is answered nobody is let in.
//! - [`AcceptPlayer`], to the host: let this player in or not, also one that returns.
//!
//! # State
//!
//! The host calls [`Session::give_state`] as often as it likes, best at the end of each tick. The next host begins with what was given last
//! and has arrived. Two rules:
//!
//! - **All that was polled until then belongs into it.** The library notes with each state which messages the game had taken, and which it
//!   had sent. A message whose effect is put off to a later tick must be in the state as an intention, or it is lost with the host.
//! - **All that the game needs to go on belongs into it**: who has which score, timers as ticks that are left, the random generator. What a
//!   player alone can say again, as where it looks, need not.
//!
//! Giving is cheap where little has changed: the successor gets the difference to the state before, made off the game's thread, and the
//! lobby one state at each interval ([`ClientBuilder::snapshot_interval`]). A state that is given before the last was dealt with takes its
//! place. A game that knows what has changed may give that itself ([`Session::give_change`]): whoever goes on gets the last whole state, and
//! the changes since in their order ([`Restored::changes`]). It gives the whole state again when it is told so ([`HostError::NoBase`]).
//!
//! [`Restored`] has the tick, the game's time without the pause, the scene, seats and objects. Another build's state is not restored.
//!
//! # Messages
//!
//! Guests talk to the host, and the host to its guests ([`Session::send`]). The sender of a [`Message`] is proven by its certificate.
//!
//! [`Delivery::Unreliable`] is for what the next tick says anew: it may be lost, and come out of order.
//!
//! [`Delivery::Reliable`] has its effect once, in the order in which it was sent, over any number of links and hosts. Each side keeps what
//! it has said until the other side, or a durable state, has it. A guest that has been in the game goes on sending while it has no host; the
//! next one is told. So *send once, and do not send again after a migration*. A new host hears its own messages too, those that the state
//! does not contain yet: they come from [`Session::me`], and are treated like anybody's.
//!
//! What cannot be kept is told, in numbers of messages:
//!
//! | event | what has happened | what a game may do |
//! |---|---|---|
//! | [`Event::TakenBack`] | a guest heard reliable messages of a host that its successor's state knows nothing of: the game is a little older | forget what they said; it comes again, or differently |
//! | [`Event::InputsLost`] | reliable messages of a guest are not in the game, and nobody can say them again, since the process of the guest is gone too, or the state that held them | tell the player |
//! | [`Event::NeverHeard`] | a guest was away for too long, and what was said to it is not kept any more | ask the host for what matters |
//!
//! [`Delivery::AfterStable`] is for what must never be taken back, as "you have won the tournament": the host's message goes out once the
//! state that the game gives next is durable in the lobby. It is late by about the interval of snapshots, in an order of its own, and heard
//! once. If the lobby cannot be reached, what the successor holds counts as durable, and without a successor nothing is waited for.
//!
//! A journal holds 8,192 messages of together 8 MiB. When one is full nothing is taken, and [`Session::send`] says [`SendError::Full`]: keep
//! the message and try again in a later frame. On a guest this means that the host's states have not become durable for long; on a host,
//! that a guest does not read.
//!
//! # Who owns what
//!
//! The host tells which objects there are and whose they are ([`Session::place_object`]), and keeps what only it may know of each
//! player ([`Session::set_seat_data`]). Both are part of each state. After a migration the objects of players that are not back yet
//! are disabled; they are enabled when their owner is back ([`Event::ObjectReconnected`]). When it is gone for good they have no owner
//! any more ([`Event::AuthorityChanged`] with `None`): authority over them is the host's, whoever that is.
//!
//! # Losing the host
//!
//! 1. *Noticed.* A host that leaves says so. When its process ends, the lobby sees its event socket end at once. A machine that froze or
//!    lost its network is noticed by silence: after 0.3 to 2 seconds on a link, as regular as that has been, if enough guests agree.
//!    All get [`Event::HostLost`]. If the host is heard again within the election delay, nothing has changed ([`Event::HostReturned`]).
//! 2. *Elected.* After the lobby's election delay, one second unless the lobby was created with another, the lobby elects:
//!    [`Event::HostElected`], with the next epoch. From there on, whatever the old host does has no effect.
//! 3. *Found.* The elected member takes the newest state: what it holds as successor, once the lobby has said that it has nothing newer;
//!    else the lobby's, or another member's.
//! 4. *Restored.* Its game gets [`RestoreState`], then [`Event::BecameHost`], then as messages of its own what it had itself said and the
//!    state does not contain. If it is not ready in time, five seconds by default, another member is elected.
//! 5. *Resumed.* Guests are welcomed ([`Event::HostMigrated`]) and say again what the state does not contain. Members keep links to the
//!    successor all the time, so that nobody has to dial first.
//! 6. *Returned.* The old host finds a higher epoch, and is a guest ([`Event::Demoted`]) with its own connection id. A player whose process
//!    ended takes its seat again by its [identity](IdentityStore), within the lobby's removal delay.
//!
//! [`Event::Migrated`] accounts for it, on each peer: what took how long, where the state came from, how many ticks were lost, how many
//! messages were said again. Once a second [`Event::Migratability`] tells the host what a loss would cost now. If nobody may host, or three
//! elections have failed within five minutes, the lobby is [parked](Event::Parked) with its state, for those who come back.
//!
//! # Handing over
//!
//! [`Session::hand_over`] makes another member host on purpose: to a better machine, or away from a laptop that runs low.
//! [`Session::start_leaving`] does so by itself before a host leaves, and so does a host that is asked by the lobby (`POST
//! /v1/lobbies/{id}/hand-over`, from the host's own back end or a game server). The successor is prepared while the game runs; then the game
//! gives its last state and stands still ([`Role::HandingOver`], and [`Session::is_host`] is false); when the successor holds that very state,
//! the lobby moves the epoch. No tick is lost, nothing is lost or comes twice. If the successor is gone, or it takes longer than five seconds
//! of which the game may stand still for one, [`Event::HandOverFailed`] tells, and the host goes on as if nothing had been.
//!
//! # Strategies
//!
//! [`Strategy`] says how a host keeps its state safe between the states that are durable. [`Strategy::Automatic`] chooses by size and rate,
//! looks again every two seconds, and tells ([`Event::StrategyChosen`]).
//!
//! | strategy | to the successor | to the lobby | lost in a crash |
//! |---|---|---|---|
//! | [`Strategy::Replica`] | each state, as a difference, up to 2 MiB a second | a state each interval, 1 s by default | the states under way: a tick or two on a good link |
//! | [`Strategy::BaseAndDeltas`] | nothing | a difference as often as states are given, at most ten a second | what was given since the last one |
//! | [`Strategy::Snapshot`] | nothing | a whole state each interval | up to an interval |
//!
//! *Lost* is game time: reliable messages of those who are still there are said again, whichever strategy it was. When host and successor are
//! lost together, the lobby's state is what is left.
//!
//! # Sealing
//!
//! With [`ClientBuilder::state_key`] hosts seal what they store with a key of the game: the lobby service, its database and its backups
//! cannot read it. A member with another key cannot go on from it: it is not ready in time, and another member is elected. Links between peers
//! are encrypted anyway, and the relay cannot read them. Players are not kept out: each of them may become host.
//!
//! # Paths
//!
//! With [`Path::Auto`], the default, a link begins on the relay, which is ready first, while WebRTC looks for a way from machine to machine. If it
//! finds one, the game goes on there, and the relay's link is the spare: when the straight way falls silent for a quarter of a second,
//! the relay's carries the game again. A move is a hello and its answer; the journals make it invisible. [`Event::PathChanged`] tells of each,
//! [`Session::links`] what there is now. Players in browsers can only be reached over WebRTC, and are, whatever the path that was asked for.
//!
//! Who plays straight learns the other's address. With [`Path::Relay`] this player tells its address to nobody but those in browsers; in a lobby with
//! [`Settings::relay_only`](protocol::lobby::Settings::relay_only) nobody tells it to anybody.
//!
//! # Testing your game
//!
//! - [`testing::check_snapshot`] tries in a unit test whether the state survives being saved and loaded, and says what does not.
//! - [`ClientBuilder::simulated_network`] makes one peer's network bad, from a seed, and [`Session::network`] pulls its plug.
//! - Dropping a [`Session`] is to the others a crash. A service and some sessions fit into the process of one test.
//! - A game that counts what each player did, as part of its state, notices whatever is lost or comes twice.
//!
//! # What is promised
//!
//! - A reliable message has its effect once in the game that goes on, after those sent before it, as long as its sender's process
//!   lives; else [`Event::InputsLost`] tells the host.
//! - What was said after stable is never taken back, unless the lobby was away and those who held the state meanwhile are lost too.
//! - One host an epoch. Messages, states and claims of a host that is not host any more change nothing, however late they arrive.
//! - A hand-over that is committed loses nothing; one that is not changes nothing.
//! - A connection id is one player's for ever, and a message's sender is proven.
//! - Nothing grows without bound: what is too much is refused ([`SendError::Full`]), or its sender is cut off and returns.
//!
//! # What is not promised
//!
//! - No loss at all: a crash takes with it the ticks that nobody else had. What guests heard of them is told as taken back.
//! - Two hosts may run for a while: one that has lost only the lobby cannot know yet that another was elected. What it does then has
//!   no effect on those who follow the other.
//! - Fair play: a host can cheat, and so can a guest in what it claims to have done. The host's game judges its guests.
//! - That two processes compute alike: the state travels, not the computation. Nothing has to be deterministic.
//! - That a seat is kept for longer than the lobby's removal delay, 60 seconds by default.
//!
//! # Limits
//!
//! All are in [`protocol::limits`], each with its reason.
//!
//! | what | how much | constant |
//! |---|---|---|
//! | a state, with seats and objects | 16 MiB | [`SNAPSHOT_BYTES_MAX`](protocol::limits::SNAPSHOT_BYTES_MAX) |
//! | interval of snapshots | 0.1 s to 600 s, 1 s by default | [`SNAPSHOT_INTERVAL`](protocol::limits::SNAPSHOT_INTERVAL) |
//! | changes after a whole state | 1,024, and the size of the state or 64 KiB | [`CHANGES_MAX`] |
//! | states to the successor | 2 MiB a second | [`FEED_BYTES_PER_SECOND`](protocol::limits::FEED_BYTES_PER_SECOND) |
//! | a reliable message | 1 MiB | [`MESSAGE_BYTES_MAX`](protocol::limits::MESSAGE_BYTES_MAX) |
//! | an unreliable message | about 1 KB | [`Session::max_unreliable_bytes`] |
//! | messages kept for one peer | 8,192 | [`JOURNAL_MESSAGES_MAX`](protocol::limits::JOURNAL_MESSAGES_MAX) |
//! | their bytes | 8 MiB | [`JOURNAL_BYTES_MAX`](protocol::limits::JOURNAL_BYTES_MAX) |
//! | objects | 65,536, in 4 MiB | [`OBJECTS_MAX`](protocol::limits::OBJECTS_MAX) |
//! | data of an object, and of a seat | 64 KiB | [`SEAT_DATA_BYTES_MAX`](protocol::limits::SEAT_DATA_BYTES_MAX) |
//! | members | 1,000, 100 by default | [`MEMBERS_MAX`](protocol::limits::MEMBERS_MAX) |
//! | election delay | 0 to 600 s, 1 s by default | [`ELECTION_DELAY`](protocol::limits::ELECTION_DELAY) |
//! | time to be ready | 0.5 s to 60 s, 5 s by default | [`READY_TIMEOUT`](protocol::limits::READY_TIMEOUT) |
//! | time for a hand-over | 5 s, of which the game stands still for 1 s | [`HAND_OVER_PATIENCE`](protocol::limits::HAND_OVER_PATIENCE) |
//! | bytes through the relay | 4 MiB a second for each member | [`RELAY_LINK_BYTES_PER_SECOND`](protocol::limits::RELAY_LINK_BYTES_PER_SECOND) |
//!
//! # Troubleshooting
//!
//! - *The pause is a second long.* That is the election delay, which gives a host time to return. Games that would rather go on at once
//!   create their lobby with an `election_delay_ms` of 0 ([`LobbyOptions`]).
//! - *The new host begins anew, or from an old state.* Look at `source` and `ticks_lost` in [`Event::Migrated`], and on the host at
//!   [`Event::Migratability`]: is the successor warm? [`Event::SnapshotFailed`] says why nothing is durable.
//! - *After a migration something is there twice.* The game sent it again itself; or it took a message and put it into a later state than
//!   the one that it gave next; or it restored on top of what it had. Begin from an empty world.
//! - *[`SendError::Full`] on a guest.* The host's states do not become durable: it does not answer [`SaveState`], or its interval is
//!   longer than 8,192 messages last.
//! - *[`SendError::NotConnected`].* A guest has not been in the game yet; or this host is handing over; or it asked for an unreliable
//!   message to nobody.
//! - *[`Event::RefusedByHost`].* The host's game refused the player, or dropped [`AcceptPlayer`].
//! - *The lobby is parked.* Nobody may host ([`ClientBuilder::can_host`]), or restoring failed in three elections: try
//!   [`testing::check_snapshot`] on the state, and compare keys and builds.
//! - *Nothing connects.* The relay is reached by UDP, and where that is blocked, by a WebSocket at the TCP port of the same number.
//!   [`Path::WebRtc`] and [`Path::Direct`] need no relay where peers reach each other.

pub mod blocking;
mod builder;
mod client;
mod driver;
mod error;
mod event;
mod feeding;
mod following;
mod guest;
mod handing_over;
mod holding;
mod host;
mod identity;
mod leaving;
mod link;
mod links;
mod lobby_link;
mod outbox;
mod paths;
mod queue;
mod report;
mod request;
mod retry;
mod saving;
mod seal;
mod service;
pub mod session;
pub mod simulated;
mod start;
mod state;
mod strategy;
mod taking_over;
pub mod testing;
mod timeline;
mod transport;

pub use builder::{ClientBuilder, Path};
pub use client::{Client, LobbyOptions, LobbySummary};
pub use error::{Error, HostError, SendError};
pub use event::{Delivery, Event, Message, Output, Recipient, Role};
pub use identity::{Identity, IdentityFile, IdentityStore, SEATS_MAX, SavedSeat};
pub use paths::LinkReport;
pub use protocol;
pub use report::Migratability;
pub use request::{
    AcceptPlayer, CHANGES_MAX, Request, RestoreState, Restored, SCENE_BYTES_MAX, SaveState, SavedState, StateChange,
};
pub use seal::{SEAL_BYTES, Sealer, StateKey};
pub use session::Session;
pub use simulated::{NetworkControl, SimulatedNetwork};
pub use state::Entry;
pub use strategy::Strategy;
pub use timeline::{MigrationTrace, StateSource};
pub use transport::link::LinkPath;
