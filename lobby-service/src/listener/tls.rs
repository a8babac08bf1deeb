//! TLS: the certificate and its key, read anew when their files change, so that a renewal needs no restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use super::limits::ListenerLimits;

/// Time between two looks at the files: a certificate is renewed weeks before it ends.
const LOOK: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is in it.
    #[error("{} is not PEM with what is needed", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not known.
    #[error("the certificate cannot be used with its key")]
    Use(#[source] rustls::Error),
}

/// What the files held.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<(Files, Arc<ServerConfig>)>,
}

impl Tls {
    /// Reads the files, if there are to be any.
    pub(crate) fn open(limits: &ListenerLimits) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(certificate), Some(key)) = (limits.tls_certificate.clone(), limits.tls_key.clone()) else {
            return Ok(None);
        };
        let files = Files::read(&certificate, &key)?;
        let config = files.config(&certificate, &key)?;
        Ok(Some(Arc::new(Self { certificate, key, current: Mutex::new((files, config)) })))
    }

    /// Shakes hands with the certificate that is current.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).1))
    }

    /// Reads the files anew. The old ones stay in use if the new ones cannot be used, or are half written.
    fn look(&self) {
        let renewed = Files::read(&self.certificate, &self.key).and_then(|files| {
            if self.current.lock().unwrap_or_else(PoisonError::into_inner).0 == files {
                return Ok(None);
            }
            let config = files.config(&self.certificate, &self.key)?;
            Ok(Some((files, config)))
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(current)) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
                tracing::info!("the TLS certificate has changed");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error);
                tracing::warn!(%error, cause, "the TLS certificate stays as it was");
            }
        }
    }
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn config(&self, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            |source| TlsError::Pem { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(key))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Use)?
            .with_no_client_auth()
            .with_single_cert(chain.map_err(pem(certificate))?, private)
            .map_err(TlsError::Use)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Keeps the certificate current. Runs until the service stops.
pub(crate) async fn renew(tls: Arc<Tls>) {
    let mut hangups = hangups();
    loop {
        // An elapsed time is a reason to look too.
        let _ = tokio::time::timeout(LOOK, hangups.next()).await;
        let tls = Arc::clone(&tls);
        // A panic in there has been printed, and changes nothing.
        let _ = tokio::task::spawn_blocking(move || tls.look()).await;
    }
}

/// SIGHUP, which else would end the process.
struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
fn hangups() -> Hangups {
    let signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    Hangups { signals: signals.inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")).ok() }
}

#[cfg(not(unix))]
fn hangups() -> Hangups {
    Hangups {}
}

impl Hangups {
    /// Waits for one; for ever, where there are none.
    #[cfg_attr(not(unix), expect(clippy::unused_async, reason = "there is nothing to wait for"))]
    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals {
            signals.recv().await;
            return;
        }
        std::future::pending().await
    }
}
