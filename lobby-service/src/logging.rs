//! The log, on standard error.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Crates of ours, which log no secret at any level.
const OURS: [&str; 3] = ["lobby_service", "relay", "protocol"];

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// Starts the log of this process.
///
/// # Errors
/// If there is one already.
pub fn start(filter: EnvFilter, format: Format) -> Result<(), tracing_subscriber::util::TryInitError> {
    let lines = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_told));
    let out = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Text => lines.with(out.with_ansi(std::io::stderr().is_terminal())).try_init(),
        Format::Json => lines.with(out.json().flatten_event(true)).try_init(),
    }
}

/// Other people's crates tell headers, frames and statements below `info`, whatever is in them (P18).
fn may_be_told(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || is_ours(metadata.target())
}

fn is_ours(target: &str) -> bool {
    OURS.iter().any(|ours| target.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_crates_are_told_below_info() {
        assert!(is_ours("lobby_service::http::measure") && is_ours("relay"));
        assert!(!is_ours("relayed::x") && !is_ours("hyper::proto") && !is_ours("tungstenite::protocol"));
    }
}
