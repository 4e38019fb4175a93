//! HTTPS: byte streams through whatever lets requests pass. So far its heart, the session, without sockets.

pub mod session;
