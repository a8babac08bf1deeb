//! The project's own commands, and what the end-to-end tests share with the demo: real processes and what they tell.

pub mod cluster;
pub mod process;
pub mod trace;
