//! What the tests share.

pub mod chaos;
pub mod cluster;
pub mod history;
pub mod hostile;
pub mod issuer;
pub mod net;
pub mod operator;
pub mod player;
pub mod postgres;
pub mod probe;
pub mod relay_proxy;
pub mod service;
pub mod signer;
pub mod sim;
pub mod udp_proxy;

/// The examples of the README, so that they are compiled with the tests of the documentation.
#[doc = include_str!("../../README.md")]
#[expect(dead_code, reason = "only its documentation is of interest")]
struct Readme;
