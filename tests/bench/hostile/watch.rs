//! Watches what the service's process holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Failure;
use super::service::{Held, Service};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for the service to let go of everything.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Files more than before that do not matter: connections of the clients themselves.
const SPARE_FILES: usize = 20;

/// A thread that looks again and again.
#[derive(Debug)]
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Held, Failure>>,
}

impl Watch {
    pub(crate) fn begin(service: &Service) -> Self {
        let process = service.id();
        let is_over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut peak = Held::default();
            while !watched.load(Ordering::Relaxed) {
                let now = Held::by(process)?;
                peak = Held { bytes: peak.bytes.max(now.bytes), files: peak.files.max(now.files) };
                std::thread::sleep(LOOK);
            }
            Ok(peak)
        });
        Self { is_over, thread }
    }

    /// The most that was seen.
    pub(crate) fn end(self) -> Result<Held, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watch panicked")?
    }
}

/// Waits until all attackers' connections are gone. Returns what is held then.
pub(crate) async fn settle(service: &Service, before: Held) -> Result<Held, Failure> {
    let began = Instant::now();
    loop {
        let now = service.held()?;
        if now.files <= before.files + SPARE_FILES || began.elapsed() > SETTLE_MAX {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}
