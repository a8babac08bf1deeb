//! A game that stays: bots play, whoever likes joins them from a browser, and each press of the return key kills the host's process.

use std::io::BufRead;
use std::path::Path;

use super::Options;
use super::run::{Failure, Game};

/// Plays until standard input says `q`, or the terminal's interrupt ends this program, and with it the others.
pub(crate) fn stay(binaries: &Path, options: &Options) -> Result<(), Failure> {
    let mut game = Game::new(binaries, options)?;
    game.start_players(options.election_delay_ms)?;
    println!("{}", invitation(&game.address()));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line.trim() == "q" {
            return Ok(());
        }
        replace_host(&mut game)?;
    }
    // Nobody can say anything any more: the interrupt ends it.
    loop {
        std::thread::park();
    }
}

fn invitation(address: &str) -> String {
    let line = "─".repeat(address.chars().count() + 4);
    format!(
        "\n  play in a browser, in as many tabs as you like:\n\n  ┌{line}┐\n  │  {address}  │\n  └{line}┘\n\n  \
         return   kills the process that hosts, and starts it again as a guest\n  q        ends everything, as Ctrl-C does\n"
    )
}

/// Kills the host, if it is a process of the demo's, waits until the game goes on, and brings the killed player back.
fn replace_host(game: &mut Game) -> Result<(), Failure> {
    let host = game.host()?;
    let Some(index) = usize::try_from(host).ok().filter(|&index| index < game.bots()) else {
        println!("  the host is a browser tab: close that one, and look at the others");
        return Ok(());
    };
    let (next, pause_ms) = game.kill(index)?;
    println!("  killed P{}: {} goes on after {pause_ms:.0} ms", index + 1, game.name_of(next));
    game.bring_back(index)?;
    println!("  P{} is back, as a guest", index + 1);
    Ok(())
}
