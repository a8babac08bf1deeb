//! A game that outlives its host: `survive_host_loss URL` hosts and prints a join code, `survive_host_loss URL CODE`
//! joins. The host counts, its guests clap. End the host: the others go on from its last tick, with every clap.

use std::time::Duration;

use peer_client::{Client, Delivery, Event, LobbyOptions, Output, Recipient, Request, SavedState};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the example talks to a person")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::builder(arguments.next().ok_or("which service?")?).player_name("clapper").sign_in().await?;
    let mut session = match arguments.next() {
        Some(code) => client.join_code(&code).await?,
        None => client.host(LobbyOptions { name: "A counter".into(), ..LobbyOptions::default() }).await?,
    };
    println!("seat {} of {}", session.me(), session.join_code());
    let (mut count, mut claps) = (0_u64, 0_u64); // The whole game.
    let state = |count, claps: u64| SavedState { tick: count, state: claps.to_be_bytes().into(), ..Default::default() };
    let mut frame = tokio::time::interval(Duration::from_millis(33));
    for frames in 0_u64.. {
        tokio::select! {
            _ = frame.tick() => {}
            _ = tokio::signal::ctrl_c() => session.start_leaving(), // A host hands over first.
        }
        while let Some(output) = session.poll() {
            match output {
                Output::Request(Request::SaveState(request)) => request.answer(state(count, claps)),
                Output::Request(Request::RestoreState(request)) => {
                    let claps_of = |state: &[u8]| u64::from_be_bytes(state.try_into().unwrap_or_default());
                    (count, claps) = request.snapshot().map_or((0, 0), |saved| (saved.tick, claps_of(&saved.state)));
                    request.done();
                }
                Output::Request(Request::AcceptPlayer(request)) => request.accept(),
                Output::Event(Event::BecameHost { epoch }) => println!("hosting epoch {epoch}, from {count}"),
                Output::Event(Event::HostMigrated { host, .. }) => println!("{host} hosts now"),
                Output::Event(_) => {}
                Output::Message(message) if session.is_host() => claps += message.payload.len() as u64,
                Output::Message(message) => println!("{}", String::from_utf8_lossy(&message.payload)),
            }
        }
        if session.is_over() {
            break;
        } else if session.is_host() {
            count += 1;
            if count.is_multiple_of(15) {
                println!("count {count}, {claps} claps");
                session.send(Recipient::Everyone, Delivery::Reliable, format!("count {count}, {claps} claps"))?;
            }
            session.set_tick(count);
            session.give_state(state(count, claps))?; // With all that was polled and sent until now.
        } else if frames.is_multiple_of(15) {
            // Before it is in the game there is nobody to hear it.
            let _ = session.send(Recipient::Host, Delivery::Reliable, "!");
        }
    }
    Ok(())
}
