//! The example that shows a whole game surviving its host: real processes, one of which is killed.

#![expect(clippy::unwrap_used, reason = "the functions that the tests share are tests too")]

use std::process::Stdio;
use std::time::Duration;

use tests::cluster::binaries;
use tests::service::TestService;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const EXAMPLE: &str = include_str!("../peer-client/examples/survive_host_loss.rs");
/// Longest wait for any line.
const PATIENCE: Duration = Duration::from_secs(40);

/// One process. Killed when dropped.
struct Player {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Player {
    fn start(arguments: &[&str]) -> Self {
        let program = binaries().join("examples/survive_host_loss");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("`cargo build --workspace --bins --examples` makes the example");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// What follows this in the next line that begins so.
    async fn line(&mut self, beginning: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.unwrap_or_else(|_| panic!("no {beginning:?}"));
            let line = line.unwrap().unwrap_or_else(|| panic!("it ended before it said {beginning:?}"));
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// The next count, and the claps until then.
    async fn count(&mut self) -> (u64, u64) {
        let line = self.line("count ").await;
        let (count, claps) = line.strip_suffix(" claps").and_then(|line| line.split_once(", ")).unwrap();
        (count.parse().unwrap(), claps.parse().unwrap())
    }
}

#[tokio::test]
async fn three_processes_count_on_when_the_one_that_hosts_is_killed() {
    let service = TestService::in_memory().await;
    let url = service.url("http", "");
    let mut host = Player::start(&[&url]);
    let seat = host.line("seat ").await;
    let code = seat.rsplit(' ').next().unwrap();
    let mut guests = [Player::start(&[&url, code]), Player::start(&[&url, code])];
    let mut heard = [(0, 0); 2];
    for (guest, heard) in guests.iter_mut().zip(&mut heard) {
        while heard.1 < 3 {
            *heard = guest.count().await;
        }
    }
    host.process.kill().await.unwrap();
    for (guest, heard) in guests.iter_mut().zip(&mut heard) {
        // What the killed one said last may still be read: the last of these lines is another host's.
        for _ in 0..6 {
            let next = guest.count().await;
            assert!(next.0 >= heard.0 && next.1 >= heard.1, "{next:?} after {heard:?}");
            *heard = next;
        }
    }
    service.stop().await;
}

#[test]
fn the_whole_game_fits_into_sixty_lines() {
    assert!(EXAMPLE.lines().count() <= 60);
    assert!(EXAMPLE.lines().all(|line| line.chars().count() <= 120), "no line holds two");
}
