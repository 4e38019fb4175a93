//! What HyperDHT puts into the values of requests and replies.
//!
//! Source: npm hyperdht 6.34.0, `lib/messages.js` and `lib/constants.js`.

mod announce;
mod connect;
mod holepunch_payload;
mod noise_payload;
mod peer;
mod plugin;
mod value;

pub use announce::Announce;
pub use connect::{Handshake, Holepunch};
pub use holepunch_payload::HolepunchPayload;
pub use noise_payload::{HolepunchInfo, NoisePayload, RelayInfo, RelayThrough, UdxInfo};
pub use peer::{LookupReply, Peer, PeerAddress};
pub use plugin::PluginRequest;
pub use value::{MutablePut, MutableValue};

/// Internal command: are you there? The value is padding.
pub const PING: u64 = 0;
/// Internal command: answer to another port of mine, in the value as `u16`.
pub const PING_NAT: u64 = 1;
/// Internal command: who is near the target?
pub const FIND_NODE: u64 = 2;
/// Internal command: a node you told me of, in the value, does not answer.
pub const DOWN_HINT: u64 = 3;
/// Internal command: answer after the milliseconds in the value, a `u32`.
pub const DELAYED_PING: u64 = 4;

/// A Noise handshake on its way to the peer whose key hashes to the target.
pub const PEER_HANDSHAKE: u64 = 0;
/// A holepunch message on its way to the same.
pub const PEER_HOLEPUNCH: u64 = 1;
/// Who announced itself under the key that hashes to the target?
pub const FIND_PEER: u64 = 2;
/// Who announced the topic?
pub const LOOKUP: u64 = 3;
/// Stores a peer under a topic, or under its own key's hash.
pub const ANNOUNCE: u64 = 4;
/// Takes that back.
pub const UNANNOUNCE: u64 = 5;
/// Stores a signed value under the hash of its key.
pub const MUTABLE_PUT: u64 = 6;
/// Asks for it, if its sequence number is at least the value's `uint`.
pub const MUTABLE_GET: u64 = 7;
/// Stores bytes under their hash.
pub const IMMUTABLE_PUT: u64 = 8;
/// Asks for them.
pub const IMMUTABLE_GET: u64 = 9;
/// Anything else, by the name of a plugin.
pub const PLUGIN: u64 = 10;

/// Error in a reply: the command is not known, or not served by this node.
pub const UNKNOWN_COMMAND: u64 = 1;
/// Error in a reply: the token is not, or no longer, this node's; a fresh one comes with it.
pub const INVALID_TOKEN: u64 = 2;
/// Error in a reply: another value has this sequence number.
pub const SEQ_REUSED: u64 = 16;
/// Error in a reply: the stored value's sequence number is higher.
pub const SEQ_TOO_LOW: u64 = 17;

/// How a node's NAT behaves, as peers tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Firewall {
    /// Not known yet.
    Unknown = 0,
    /// None: reachable by anybody.
    Open = 1,
    /// The same outer port for every peer.
    Consistent = 2,
    /// Another outer port for each.
    Random = 3,
}

impl Firewall {
    fn decode(from: &mut anypath_wire::Decoder<'_>) -> Result<Self, anypath_wire::DecodeError> {
        match from.uint()? {
            0 => Ok(Self::Unknown),
            1 => Ok(Self::Open),
            2 => Ok(Self::Consistent),
            3 => Ok(Self::Random),
            _ => Err(anypath_wire::DecodeError::Unknown("a firewall")),
        }
    }
}
