//! What can go wrong while dialling, listening and accepting, as sentences that say what was tried.

use std::io;
use std::net::IpAddr;

use anypath_wire::{Address, ListenAt, PublicKey};
use thiserror::Error;

use crate::https::RelayError;

/// Why no stream to a peer came about. Ours first, then the network, then the peer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// Ours: the transport was given an address of another one.
    #[error("{transport} cannot dial {to}")]
    NotSpoken {
        /// The transport that was asked.
        transport: &'static str,
        /// What it was asked to dial.
        to: Address,
    },
    /// Ours: port 0 is no port anybody listens at.
    #[error("{to} names no port")]
    NoPort {
        /// What was to be dialled.
        to: Address,
    },
    /// The network: the name server has no such name, or did not answer.
    #[error("the name {host} cannot be resolved: {source}")]
    Name {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The network: no answer in time; often a firewall that drops silently.
    #[error("{} did not answer within {limit_ms} ms (a firewall may be dropping what we send)", place(to))]
    TimedOut {
        /// What was dialled.
        to: Address,
        /// How long was waited, in milliseconds.
        limit_ms: u64,
    },
    /// The network: no route, no permission, no descriptor left and the like.
    #[error("cannot connect to {}: {source}", place(to))]
    Io {
        /// What was dialled.
        to: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// The relay that was to lead to the peer does not.
    #[error("no way through the relay {to}: {source}")]
    Relay {
        /// The relay.
        to: Address,
        /// Why.
        source: Box<RelayError>,
    },
    /// The peer: its machine is there, the program is not.
    #[error("connection refused by {} (nothing listens there?)", place(to))]
    Refused {
        /// What was dialled.
        to: Address,
    },
    /// The peer: another one than the one that was wanted.
    #[error("who answers at {} has another key: {found}", place(to))]
    AnotherKey {
        /// What was dialled, with the key that was wanted.
        to: Address,
        /// The key that is there.
        found: PublicKey,
    },
    /// A name with several addresses, none of which answered.
    #[error("none of the {} addresses of {} answered: {}", reasons.len(), to.host, sentences(reasons))]
    AllFailed {
        /// What was dialled.
        to: Address,
        /// What became of each address, in the order in which they failed.
        reasons: Vec<DialError>,
    },
}

/// Why nothing can be accepted at a place. All of it is ours to set right: the configuration or this machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The transport was given a place of another one.
    #[error("{transport} cannot listen at {at}")]
    NotSpoken {
        /// The transport that was asked.
        transport: &'static str,
        /// Where it was asked to listen.
        at: ListenAt,
    },
    /// Another program, or another listener of ours, has every port that was named.
    #[error("{}: stop what listens there, or name another port, a range (3282-3299) or 0 for any free one", in_use(at))]
    InUse {
        /// Where was to be listened.
        at: ListenAt,
    },
    /// The operating system keeps these ports to itself or to an administrator.
    #[error("not permitted to listen at port {} on {}: ports below 1024 are often reserved, name a higher one", at.ports_text(), at.host)]
    NotPermitted {
        /// Where was to be listened.
        at: ListenAt,
    },
    /// The address belongs to another machine.
    #[error("{ip} is no address of this machine: name one that is, or 0.0.0.0 or [::] for all")]
    NotHere {
        /// The address.
        ip: IpAddr,
    },
    /// The name server has no such name, or did not answer.
    #[error("the name {host} cannot be resolved: {source}")]
    Name {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The relay where peers were to find us does not take us.
    #[error("cannot be found at the relay {at}: {source}")]
    Relay {
        /// The relay.
        at: ListenAt,
        /// Why.
        source: Box<RelayError>,
    },
    /// Anything else the operating system objects to.
    #[error("cannot listen at {at}: {source}")]
    Io {
        /// Where was to be listened.
        at: ListenAt,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why a listener ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The socket itself is broken; a new listener may work.
    #[error("{at} accepts no more: {source}")]
    Broken {
        /// Where it listened.
        at: Address,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Writes an address without its scheme: `127.0.0.1:1`, `[::1]:1`.
fn place(to: &Address) -> String {
    let Address { host, port, .. } = to;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn in_use(at: &ListenAt) -> String {
    let (ports, host) = (at.ports_text(), &at.host);
    if at.ports.len() == 1 {
        format!("port {ports} on {host} is in use")
    } else {
        format!("all ports {ports} on {host} are in use")
    }
}

fn sentences(reasons: &[DialError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sentences() {
        let refused = |text: &str| DialError::Refused { to: text.parse().unwrap() };
        assert_eq!(
            refused("tcp://127.0.0.1:1").to_string(),
            "connection refused by 127.0.0.1:1 (nothing listens there?)"
        );
        let to = "tcp://localhost:1".parse().unwrap();
        let all = DialError::AllFailed { to, reasons: vec![refused("tcp://[::1]:1"), refused("tcp://127.0.0.1:1")] };
        assert_eq!(
            all.to_string(),
            "none of the 2 addresses of localhost answered: connection refused by [::1]:1 (nothing listens there?); \
             connection refused by 127.0.0.1:1 (nothing listens there?)"
        );
    }

    #[test]
    fn a_port_in_use_is_named_with_a_way_out() {
        let text = |at: &str| ListenError::InUse { at: at.parse().unwrap() }.to_string();
        assert!(text("tcp://0.0.0.0:3282").starts_with("port 3282 on 0.0.0.0 is in use: stop "));
        assert!(text("tcp://[::]:1-3").starts_with("all ports 1-3 on :: are in use: stop "));
    }
}
