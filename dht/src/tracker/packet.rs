//! Questions to a tracker, and its answers.

use std::net::{Ipv4Addr, SocketAddr};

use data_encoding::{BASE64, HEXLOWER};
use simple_dns::rdata::{RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// A topic's first 20 bytes.
pub type Id = [u8; 20];

/// What a tracker is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish<'a> {
    /// For a token.
    Probe,
    /// Who has a topic.
    Lookup(&'a Id),
    /// To tell others of us.
    Announce {
        /// The topic.
        topic: &'a Id,
        /// The port we are reached at.
        port: u16,
        /// What a probe brought.
        token: &'a str,
    },
    /// To tell nobody any more.
    Unannounce {
        /// The topic.
        topic: &'a Id,
        /// The port that was announced.
        port: u16,
        /// What a probe brought.
        token: &'a str,
    },
}

/// What a tracker answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The number of the question.
    pub id: u16,
    /// What announcing needs.
    pub token: Option<String>,
    /// Who has the topic.
    pub peers: Vec<SocketAddr>,
}

/// Returns the datagram that asks this under a number of ours.
pub fn question(id: u16, wish: Wish<'_>) -> Vec<u8> {
    let (topic, told) = match wish {
        Wish::Probe => (None, None),
        Wish::Lookup(topic) => (Some(topic), None),
        Wish::Announce { topic, port, token } => (Some(topic), Some((token, format!("announce={port}")))),
        Wish::Unannounce { topic, port, token } => (Some(topic), Some((token, format!("unannounce={port}")))),
    };
    let name = topic.map_or(DOMAIN.to_owned(), |topic| format!("{}.{DOMAIN}", HEXLOWER.encode(topic)));
    let told = told.map(|(token, told)| (format!("token={token}"), told));
    let mut packet = Packet::new_query(id);
    let Ok(name) = Name::new(&name) else { return Vec::new() };
    packet.questions.push(Question::new(name.clone(), QTYPE::TYPE(TYPE::TXT), QCLASS::CLASS(CLASS::IN), false));
    if let Some((token, told)) = &told {
        let text = TXT::new().with_string(token).and_then(|text| text.with_string(told));
        let record = text.map(|text| ResourceRecord::new(name, CLASS::IN, 0, RData::TXT(text)));
        packet.additional_records.extend(record);
    }
    packet.build_bytes_vec().unwrap_or_default()
}

/// Returns what a tracker answers; `None` if it is no answer.
pub fn answer(datagram: &[u8]) -> Option<Answer> {
    let packet = Packet::parse(datagram).ok().filter(|packet| packet.has_flags(PacketFlag::RESPONSE))?;
    let text = packet.answers.iter().find_map(|record| match &record.rdata {
        RData::TXT(text) => Some(text),
        _ => None,
    })?;
    let of = |wanted: &[u8]| text.iter_raw().find(|(key, _)| *key == wanted).and_then(|(_, value)| value);
    let token = of(b"token").filter(|token| token.len() <= TOKEN_BYTES_MAX);
    let peers = of(b"peers").and_then(|peers| BASE64.decode(peers).ok()).unwrap_or_default();
    let peers = peers.as_chunks::<6>().0.iter().map(|[a, b, c, d, high, low]| {
        SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
    });
    Some(Answer {
        id: packet.id(),
        token: token.and_then(|token| String::from_utf8(token.to_vec()).ok()),
        peers: peers.filter(|peer| peer.port() != 0 && !peer.ip().is_unspecified()).collect(),
    })
}

/// Where Dat's programs ask.
const DOMAIN: &str = "dat.local";
/// Bytes of a token that are given back: with its word, what one string of DNS holds, and more than the reference's 44.
const TOKEN_BYTES_MAX: usize = 200;
