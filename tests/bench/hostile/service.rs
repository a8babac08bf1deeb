//! The service that is attacked: a process of its own, without a database, so that no disk blurs what is measured.

use std::net::SocketAddr;

use lobby_service::auth::Auth;
use xtask::cluster::{Cluster, NO_LIMITS, Server};

use super::Failure;
use super::scale::Scale;
use super::usage::{Cpu, resident_bytes};

/// It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// Signs players' tokens with the service's key.
    pub(crate) auth: Auth,
    server: Server,
    _cluster: Cluster,
}

/// What a process holds at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) bytes: u64,
    pub(crate) files: usize,
}

impl Service {
    /// The program lies beside this one.
    pub(crate) fn start(scale: &Scale) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let cluster = Cluster::of(program.parent().ok_or("a program lies in a folder")?, &["lobby-service"])?;
        let key_file = cluster.file("key.der");
        lobby_service::auth::install_provider();
        let auth = Auth::open(&key_file)?;
        let key = key_file.to_string_lossy();
        let mut flags = vec![
            "--listen",
            "127.0.0.1:0",
            "--no-relay",
            NO_LIMITS,
            "--key-file",
            &key,
            "--database",
            "memory:",
            "--log",
            "warn",
        ];
        // The cluster switches these off for its other users.
        flags.extend(["--sockets-per-s-max", "2000"]);
        flags.extend(scale.flags);
        let server = cluster.server("lobby-service", &flags)?;
        let address = server.address("http").parse()?;
        Ok(Self { address, auth, server, _cluster: cluster })
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.process.id()
    }

    pub(crate) fn held(&self) -> Result<Held, Failure> {
        Held::by(self.id())
    }

    pub(crate) fn cpu(&self) -> Result<Cpu, Failure> {
        Cpu::of(self.id())
    }
}

impl Held {
    /// What a process holds now.
    pub(crate) fn by(process: u32) -> Result<Self, Failure> {
        let files = std::fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Self { bytes: resident_bytes(process)?, files })
    }
}
