//! Notices new and removed signing keys while the service runs.

use std::sync::Arc;
use std::time::Duration;

use crate::service::Service;

/// How often the key files are looked at: an instance knows a key long before anybody signs with it.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the keys as their files are. Never ends.
pub(crate) async fn keep_keys(service: Arc<Service>) {
    let mut failed = false;
    let mut hangups = Hangups::new();
    loop {
        // SIGHUP cuts the interval short.
        let _ = tokio::time::timeout(INTERVAL, hangups.next()).await;
        let reading = Arc::clone(&service);
        let read = tokio::task::spawn_blocking(move || reading.auth.reload_keys()).await;
        match read {
            Ok(Ok(())) => failed = false,
            Ok(Err(error)) if !failed => {
                failed = true;
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the signing keys cannot be read again: the ones that are known stay");
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(%error, "reading the signing keys did not end"),
        }
    }
}

/// SIGHUP, where there is such a thing.
struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    fn new() -> Self {
        #[cfg(unix)]
        return Self { signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok() };
        #[cfg(not(unix))]
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
