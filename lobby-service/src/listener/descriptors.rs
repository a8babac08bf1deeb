//! The limit of open files: each connection needs one.

use protocol::limits::RELAY_WEBSOCKETS_MAX;

/// Files that are open beside connections: the database, the log, the relay, and some to spare.
const OTHERS: usize = 256;

/// Raises the limit as far as that many connections need and the system allows. Returns how many there can be.
#[cfg(unix)]
pub(super) fn make_room_for(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // Where there are too few for all, the relay of this process has to do without WebSockets.
    let needed = (connections + OTHERS + RELAY_WEBSOCKETS_MAX) as u64;
    let allowed = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let files = match limit.current {
        Some(current) if current < allowed => {
            let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
            if raised.is_ok() { allowed } else { current }
        }
        Some(current) => current,
        None => needed,
    };
    let available = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHERS);
    if available < connections {
        tracing::warn!(files, available, connections, "the limit of open files allows fewer connections: raise it");
    }
    available
}

/// There is no such limit to ask for.
#[cfg(not(unix))]
pub(super) fn make_room_for(connections: usize) -> usize {
    connections
}
