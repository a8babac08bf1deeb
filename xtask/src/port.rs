//! Ports for servers that must come back at the same port after they were killed.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::trace::now_us;

/// Below the ports that systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere). A port among those could
/// be taken by anybody's outgoing connection while its server is down; and a client that tries it over and over would at
/// last be given that very port, and be connected to itself.
const PORTS: std::ops::Range<u64> = 20_000..32_000;
const TRIES_MAX: u64 = 1_000;

/// A port on this machine that nobody listens at now, and that the system gives to nobody by itself.
///
/// # Errors
/// The last refusal, if a thousand ports are taken.
pub fn free_port() -> io::Result<u16> {
    // Processes that look at the same time begin at different ports.
    let first = now_us().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id()).wrapping_mul(7_919);
    let mut refusal = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..TRIES_MAX {
        let offset = (first >> 16).wrapping_add(step) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + offset).expect("the range is one of ports");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}
