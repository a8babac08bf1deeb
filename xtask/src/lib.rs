//! The project's own commands, and what the end-to-end tests share with the demo: real processes and what they tell.

#[cfg(not(unix))]
compile_error!("the project's own commands start, stop and kill processes as Unix does: on Windows, use WSL");

pub mod cluster;
pub mod network_tools;
pub mod port;
pub mod postgres;
pub mod process;
pub mod trace;
