//! What is counted, by whom it is counted, and how much of it there may be unless the operator says otherwise.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;

use super::rate::Rate;

macro_rules! classes {
    ($($name:ident = $text:literal, $by:literal, $count:literal / $period_s:literal, $burst:literal, $what:literal;)*) => {
        /// What is counted together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Class {
            $(#[doc = $what] $name,)*
        }

        impl Class {
            /// All.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, as in `--rate-limit`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// By whom it is counted.
            #[must_use]
            pub const fn by(self) -> &'static str {
                match self { $(Self::$name => $by,)* }
            }

            /// What it counts.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// Its rate, where the operator sets none.
            #[must_use]
            pub const fn default_rate(self) -> Rate {
                match self {
                    $(Self::$name => const {
                        match Rate::new($count, $period_s, $burst) {
                            Ok(rate) => rate,
                            Err(_) => panic!("a default rate is out of range"),
                        }
                    },)*
                }
            }
        }
    };
}

// Unity's table for players (`research/features`, section 2) where it has one, with a burst for a client that starts; where a slow
// answer would slow a migration, far more than any client of ours sends.
classes! {
    Address = "address", "address", 50 / 1, 100, "all requests but those of address-hosting";
    AddressHosting = "address-hosting", "address", 500 / 1, 1000, "what a running game needs: heartbeat to migration, below";
    SignIn = "sign-in", "address", 60 / 60, 60, "players who sign in";
    Refresh = "refresh", "address", 10 / 1, 100, "new access tokens";
    Health = "health", "address", 10 / 1, 50, "the service's health";
    Create = "create", "player", 2 / 6, 2, "new lobbies";
    CreateAddress = "create-address", "address", 20 / 3600, 20, "new lobbies";
    Join = "join", "player", 1 / 1, 5, "joining by id or by code";
    QuickJoin = "quick-join", "player", 1 / 1, 5, "joining any lobby that fits";
    CreateOrJoin = "create-or-join", "player", 1 / 1, 5, "joining a lobby, or making it";
    Query = "query", "player", 1 / 1, 5, "searching lobbies";
    Get = "get", "player", 5 / 1, 10, "reading a lobby, its election, its bans, and the player's own lobbies";
    Update = "update", "player", 5 / 5, 5, "changing a lobby, its bans, its join code";
    MemberUpdate = "member-update", "player", 5 / 5, 5, "changing a member";
    Leave = "leave", "player", 5 / 1, 5, "leaving, removing others, closing";
    Heartbeat = "heartbeat", "player", 5 / 1, 10, "signs of life";
    Reconnect = "reconnect", "player", 1 / 1, 5, "taking a seat back";
    Events = "events", "player", 5 / 1, 20, "event sockets opened, and tickets for them";
    Upload = "snapshot-upload", "player", 40 / 1, 40, "snapshots and deltas stored";
    Download = "snapshot-download", "player", 5 / 1, 20, "snapshots fetched";
    Migration = "migration", "player", 20 / 1, 50, "ready, transfer, hand-over, relay tokens, host grants, ICE servers";
    JoinFailuresAddress = "join-failures-address", "address", 5 / 60, 5, "wrong join codes and passwords";
    JoinFailuresPlayer = "join-failures-player", "player", 10 / 600, 10, "wrong join codes and passwords";
    JoinFailures = "join-failures", "everybody", 20 / 1, 20, "wrong join codes and passwords";
    ReconnectFailures = "reconnect-failures", "seat", 5 / 600, 5, "wrong reconnect secrets; the last bars the seat for that time";
}

/// How soon a request is turned away when there are too many at once: the last is turned away last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Whoever searches can search again.
    Search,
    /// Nobody plays yet in what is not made.
    Create,
    /// Newcomers can wait.
    Join,
    /// Members who read, change, leave or come back.
    Member,
    /// What keeps a game alive.
    Hosting,
}

impl Class {
    /// What a request counts as, by its method and the route that it matched; `None`: nothing but its address is counted.
    #[must_use]
    pub(crate) fn of(method: &Method, route: &str) -> Option<Self> {
        Some(match (method.as_str(), route) {
            ("POST", "/v1/players" | "/v1/players/external") => Self::SignIn,
            ("POST", "/v1/players/refresh") => Self::Refresh,
            ("GET", "/healthz" | "/readyz") => Self::Health,
            ("POST", "/v1/lobbies") => Self::Create,
            ("POST", "/v1/lobbies/query") => Self::Query,
            ("POST", "/v1/lobbies/quick-join") => Self::QuickJoin,
            ("POST", "/v1/lobbies/{id}/create-or-join") => Self::CreateOrJoin,
            ("POST", "/v1/lobbies/join" | "/v1/lobbies/{id}/join") => Self::Join,
            ("GET" | "HEAD", "/v1/players/me/lobbies" | "/v1/lobbies/{id}" | "/v1/lobbies/{id}/election") => Self::Get,
            ("GET" | "HEAD", "/v1/lobbies/{id}/bans") => Self::Get,
            ("PATCH", "/v1/lobbies/{id}") => Self::Update,
            ("POST", "/v1/lobbies/{id}/bulk" | "/v1/lobbies/{id}/join-code" | "/v1/lobbies/{id}/bans") => Self::Update,
            ("DELETE", "/v1/lobbies/{id}/bans/{player}") => Self::Update,
            ("PATCH", "/v1/lobbies/{id}/members/{connection}") => Self::MemberUpdate,
            ("POST", "/v1/lobbies/{id}/leave") => Self::Leave,
            ("DELETE", "/v1/lobbies/{id}" | "/v1/lobbies/{id}/members/{connection}") => Self::Leave,
            ("POST", "/v1/lobbies/{id}/heartbeat") => Self::Heartbeat,
            ("POST", "/v1/lobbies/{id}/reconnect") => Self::Reconnect,
            ("GET", "/v1/lobbies/{id}/events") | ("POST", "/v1/lobbies/{id}/ticket") => Self::Events,
            ("PUT" | "PATCH", "/v1/lobbies/{id}/snapshot") => Self::Upload,
            ("GET" | "HEAD", "/v1/lobbies/{id}/snapshot") => Self::Download,
            ("POST", "/v1/lobbies/{id}/ready" | "/v1/lobbies/{id}/transfer") => Self::Migration,
            ("POST", "/v1/lobbies/{id}/hand-over") => Self::Migration,
            ("POST", "/v1/lobbies/{id}/relay-token" | "/v1/lobbies/{id}/host-grant") => Self::Migration,
            ("POST", "/v1/lobbies/{id}/ice-servers") => Self::Migration,
            _ => return None,
        })
    }

    /// By which of the two rates of addresses a request of this class is counted.
    pub(crate) const fn of_address(self) -> Self {
        match self.priority() {
            Priority::Hosting => Self::AddressHosting,
            Priority::Search | Priority::Create | Priority::Join | Priority::Member => Self::Address,
        }
    }

    /// How soon requests of this class are turned away when there are too many at once.
    pub(crate) const fn priority(self) -> Priority {
        match self {
            Self::Query => Priority::Search,
            Self::Create | Self::CreateAddress | Self::SignIn | Self::CreateOrJoin => Priority::Create,
            Self::Join | Self::QuickJoin => Priority::Join,
            Self::Heartbeat | Self::Events | Self::Upload | Self::Download | Self::Migration | Self::Reconnect => {
                Priority::Hosting
            }
            // A service that is busy is not ill.
            Self::Health => Priority::Hosting,
            Self::Address
            | Self::AddressHosting
            | Self::Refresh
            | Self::Get
            | Self::Update
            | Self::MemberUpdate
            | Self::Leave
            | Self::JoinFailuresAddress
            | Self::JoinFailuresPlayer
            | Self::JoinFailures
            | Self::ReconnectFailures => Priority::Member,
        }
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|class| class.name() == text);
        found.copied().ok_or_else(|| format!("there is no class {text:?}; --help names all"))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use protocol::limits;

    use super::*;

    #[test]
    fn a_host_is_never_kept_from_uploading_at_the_shortest_interval() {
        let hosted = super::super::Limits::default().quota.hosted_max;
        let needed = f64::from(hosted) / limits::SNAPSHOT_INTERVAL_MIN.as_secs_f64();
        assert!(Class::Upload.default_rate().per_second() >= needed, "in all lobbies that it hosts");
        assert!(Class::AddressHosting.default_rate().per_second() >= needed);
    }

    #[test]
    fn names_are_unique_and_found() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(*class));
        }
        assert!("nothing".parse::<Class>().is_err());
    }

    /// A new operation has to choose.
    #[test]
    fn every_operation_has_a_class() {
        let description = serde_json::to_value(crate::http::description()).unwrap();
        for (path, operations) in description["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let method: Method = method.to_uppercase().parse().unwrap();
                let is_known = Class::of(&method, path).is_some() || path == "/.well-known/jwks.json";
                assert!(is_known, "{method} {path} is counted by its address alone: say so here, or choose a class");
            }
        }
    }
}
