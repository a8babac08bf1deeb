//! Ways in: where frames come from and go to.

pub(crate) mod udp;
pub(crate) mod websocket;
