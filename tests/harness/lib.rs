//! What the tests share.

pub mod cluster;
pub mod service;
pub mod sim;
pub mod udp_proxy;
