//! What happens, for people: short sentences with the time since the game began.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use peer_client::protocol::id::ConnectionId;
use peer_client::protocol::message::LobbyView;
use peer_client::{Event, Session};

use crate::game::News;

/// Sentences that are kept.
const SENTENCES_MAX: usize = 12;

/// The last things that happened.
#[derive(Debug)]
pub(crate) struct Story {
    began: Instant,
    /// Since when the game has stood still, as far as this player has noticed.
    stands_since: Option<Instant>,
    sentences: VecDeque<(Duration, String)>,
    told: usize,
}

impl Story {
    /// Nothing has happened yet.
    pub(crate) const fn new(began: Instant) -> Self {
        Self { began, stands_since: None, sentences: VecDeque::new(), told: 0 }
    }

    /// The newest sentences with their times, oldest first.
    pub(crate) fn sentences(&self) -> impl DoubleEndedIterator<Item = (Duration, &str)> + ExactSizeIterator {
        self.sentences.iter().map(|(at, sentence)| (*at, sentence.as_str()))
    }

    /// The sentences since the last call.
    pub(crate) fn newest(&mut self) -> Vec<String> {
        let newest = std::mem::take(&mut self.told).min(self.sentences.len());
        self.sentences.iter().skip(self.sentences.len() - newest).map(|(_, sentence)| sentence.clone()).collect()
    }

    /// Adds what is new.
    pub(crate) fn add(&mut self, news: &News, session: &Session, now: Instant) {
        let sentence = match news {
            News::Event(event) => {
                if matches!(event, Event::HostLost { .. } | Event::DisconnectedFromHost { .. }) {
                    self.stands_since.get_or_insert(now);
                } else if matches!(event, Event::HostReturned { .. } | Event::ReconnectedToHost { .. }) {
                    self.stands_since = None;
                }
                sentence(event, &session.lobby())
            }
            News::FirstTick { epoch } => self.stands_since.take().map_or_else(
                || (*epoch > 1).then(|| format!("the game runs at epoch {epoch}")),
                |since| Some(format!("game goes on after {} ms", now.duration_since(since).as_millis())),
            ),
        };
        if let Some(sentence) = sentence {
            self.tell(sentence, now);
        }
    }

    /// Adds a sentence.
    pub(crate) fn tell(&mut self, sentence: String, now: Instant) {
        if self.sentences.len() == SENTENCES_MAX {
            self.sentences.pop_front();
        }
        self.sentences.push_back((now.duration_since(self.began), sentence));
        self.told += 1;
    }
}

/// A player's name, as the lobby has it.
pub(crate) fn name(lobby: &LobbyView, connection: u32) -> String {
    let member = lobby.members.iter().find(|member| member.connection.0 == connection);
    let name = member.map(|member| member.name.clone()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("#{connection}"))
}

/// An event in plain words; `None` for what only machines care about.
fn sentence(event: &Event, lobby: &LobbyView) -> Option<String> {
    let of = |connection: &ConnectionId| name(lobby, connection.0);
    Some(match event {
        Event::HostLost { host, .. } => format!("host lost: {}", of(host)),
        Event::HostReturned { host } => format!("{} is still there and stays host", of(host)),
        Event::HostElected { host, epoch } => format!("{} elected, epoch {epoch}", of(host)),
        Event::HostMigrated { host, .. } => format!("in the game of {}", of(host)),
        Event::JoinedGame { host, .. } => format!("joined the game of {}", of(host)),
        Event::ReconnectedToHost { host, .. } => format!("heard from {} again", of(host)),
        Event::RefusedByHost { host, reason } => format!("{} does not let us in: {reason}", of(host)),
        Event::DisconnectedFromHost { host } => format!("nothing heard from {}", of(host)),
        Event::PathChanged { peer, path, .. } => format!("reaches {} by {}", of(peer), path.name()),
        Event::HostShutDown { host } => format!("{} says goodbye", of(host)),
        Event::BecameHost { epoch } => format!("this player is host, epoch {epoch}"),
        Event::Demoted { epoch } => format!("this player is host no more, epoch {epoch} counts"),
        Event::PlayerJoined { connection } => format!("{} joined", of(connection)),
        Event::PlayerLeft { connection, .. } => format!("{} left", of(connection)),
        Event::PlayerDisconnected { connection } => format!("{} is away", of(connection)),
        Event::PlayerReconnected { connection } => format!("{} is back", of(connection)),
        Event::SnapshotFailed { reason, .. } => format!("a snapshot could not be stored: {reason}"),
        Event::HandOverBegun { to } => format!("hands over to {}", of(to)),
        Event::HandOverFailed { to, .. } => {
            format!("the hand-over to {} came to nothing: the game goes on here", of(to))
        }
        Event::InputsLost { who, .. } => format!("something that {} did is lost", of(who)),
        Event::Parked { .. } => "nobody can be host for now".to_owned(),
        Event::LobbyUnreachable => "lobby service out of reach".to_owned(),
        Event::LobbyReachable => "lobby service reached again".to_owned(),
        Event::Removed => "this player has no seat any more".to_owned(),
        Event::Replaced => "another process took this seat".to_owned(),
        Event::Left => "left".to_owned(),
        Event::Overrun => "this process was too slow".to_owned(),
        Event::PeersUpdated
        | Event::ObjectReconnected { .. }
        | Event::AuthorityChanged { .. }
        | Event::SnapshotStored { .. }
        | Event::TakenBack { .. }
        | Event::NeverHeard { .. }
        | Event::Migrated(_)
        | Event::Migratability(_)
        | Event::StrategyChosen { .. }
        | _ => return None,
    })
}
