//! A counter that outlives its host: `host_and_join URL` hosts and prints a join code, `host_and_join URL CODE` joins.
//!
//! The host counts ten times a second and sends each number. End it, and one of the guests goes on from the last stored number.

use std::time::{Duration, Instant};

use peer_client::{Client, Delivery, LobbyOptions, Message, Output, Path, Recipient, Request, SavedState, Session};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let mut builder = Client::builder(url).player_name(format!("player {}", std::process::id()));
    if std::env::var_os("DIRECT").is_some() {
        builder = builder.path(Path::Direct { listen: ([127, 0, 0, 1], 0).into() });
    }
    let client = builder.sign_in().await?;
    let session = match arguments.next() {
        Some(code) => client.join_code(&code).await?,
        None => client.host(LobbyOptions { name: "A counter".to_owned(), ..LobbyOptions::default() }).await?,
    };
    Counter { session, count: 0, heard_at: Instant::now() }.run().await;
    Ok(())
}

struct Counter {
    session: Session,
    count: u64,
    heard_at: Instant,
}

impl Counter {
    async fn run(mut self) {
        say(&format!("seat {} of {}", self.session.me(), self.session.join_code()));
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                output = self.session.next() => match output {
                    Some(Output::Event(event)) => say(&format!("{event:?}")),
                    Some(Output::Request(request)) => self.answer(request),
                    Some(Output::Message(message)) => self.hear(&message),
                    None => return,
                },
                _ = ticks.tick() => self.count(),
                _ = tokio::signal::ctrl_c() => self.session.start_leaving(),
            }
        }
    }

    fn count(&mut self) {
        if self.session.is_host() {
            self.count += 1;
            self.session.set_tick(self.count);
            // A guest that does not keep up hears the next number.
            let _ = self.session.send(Recipient::Everyone, Delivery::Unreliable, self.count.to_be_bytes().to_vec());
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::SaveState(request) => {
                let elapsed = Duration::from_millis(100 * self.count);
                request.answer(SavedState { tick: self.count, elapsed, ..SavedState::default() });
            }
            Request::RestoreState(request) => {
                self.count = request.snapshot().map_or(0, |snapshot| snapshot.tick);
                say(&format!("going on from {}", self.count));
                request.done();
            }
            Request::AcceptPlayer(request) => request.accept(),
        }
    }

    fn hear(&mut self, message: &Message) {
        let Ok(number) = <[u8; 8]>::try_from(message.payload.as_ref()) else { return };
        let pause = self.heard_at.elapsed();
        self.heard_at = Instant::now();
        self.count = u64::from_be_bytes(number);
        if pause > Duration::from_millis(300) || self.count.is_multiple_of(50) {
            say(&format!("{} counts {}, after {} ms", message.from, self.count, pause.as_millis()));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the example talks to a person")]
fn say(line: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    println!("{:03}.{:03} {line}", now.as_secs() % 1000, now.subsec_millis());
}
