//! What is said on the network: questions and answers about topics, to and from datagrams.

use std::net::Ipv4Addr;

use anypath_wire::Hash;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use simple_dns::rdata::{A, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// A topic's first 20 bytes.
pub type Id = [u8; 20];

/// What a datagram says about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Somebody asks, in dns-discovery's manner.
    AskedAsDat(Id),
    /// Somebody asks, in DNS-SD's.
    AskedAsService(Id),
    /// Whoever sent it takes connections at this port.
    Told(Id, u16),
}

/// What sets a node's words apart from others'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Stands in its answers, in dns-discovery's manner.
    token: String,
    /// Names it, in DNS-SD's.
    instance: String,
    /// Where it is, for those who look no further than its answer.
    host: Option<Ipv4Addr>,
}

impl Voice {
    /// Makes one from bytes that nobody else has.
    pub fn new(chance: &Hash, host: Option<Ipv4Addr>) -> Self {
        Self { token: BASE64.encode(chance), instance: HEXLOWER.encode(&chance[..INSTANCE_BYTES]), host }
    }

    /// Returns the question who has a topic, in both manners.
    pub fn question(&self, topic: &Id) -> Vec<u8> {
        let (as_dat, as_service) = (as_dat(topic), as_service(topic));
        let mut packet = Packet::new_query(0);
        for (name, kind) in [(&as_dat, TYPE::TXT), (&as_service, TYPE::PTR)] {
            packet.questions.extend(
                name_of(name).map(|name| Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)),
            );
        }
        packet.build_bytes_vec().unwrap_or_default()
    }

    /// Returns the answer in dns-discovery's manner that this node takes connections about a topic at a port.
    pub fn answer_as_dat(&self, topic: &Id, port: u16) -> Vec<u8> {
        let peer = [&[0; 4][..], &port.to_be_bytes()].concat();
        let (token, peers) = (format!("token={}", self.token), format!("peers={}", BASE64.encode(&peer)));
        let name = as_dat(topic);
        let text = TXT::new().with_string(&token).and_then(|text| text.with_string(&peers));
        let record = name_of(&name).zip(text.ok());
        response(record.map(|(name, text)| ResourceRecord::new(name, CLASS::IN, 0, RData::TXT(text))), [])
    }

    /// Returns the answer in DNS-SD's manner; at the `end` it takes itself back.
    pub fn answer_as_service(&self, topic: &Id, port: u16, end: bool) -> Vec<u8> {
        let (name, instance, target) =
            (as_service(topic), format!("{}.{SERVICE}", self.instance), format!("{}.local", self.instance));
        let ttl = if end { 0 } else { TTL_SECONDS };
        let record =
            |name, data: Option<RData<'static>>| Some(ResourceRecord::new(owned(name)?, CLASS::IN, ttl, data?));
        let pointer = record(&name, owned(&instance).map(|instance| RData::PTR(PTR(instance))));
        let place = owned(&target).map(|target| RData::SRV(SRV { priority: 0, weight: 0, port, target }));
        let text = TXT::new().with_string("").ok().map(RData::TXT);
        let host = self.host.map(|host| RData::A(A { address: host.into() }));
        response(pointer, [record(&instance, place), record(&instance, text), record(&target, host)])
    }

    /// Returns what others say in a datagram, at most [`HEARD_MAX`] things. What is no DNS says nothing.
    pub fn hear(&self, datagram: &[u8]) -> Vec<Heard> {
        let Ok(packet) = Packet::parse(datagram) else { return Vec::new() };
        let mut heard: Vec<Heard> = Vec::new();
        if !packet.has_flags(PacketFlag::RESPONSE) {
            heard.extend(packet.questions.iter().filter_map(asked));
        }
        let records: Vec<_> = packet.answers.iter().chain(&packet.additional_records).collect();
        heard.extend(records.iter().filter_map(|record| self.told(record, &records)));
        heard.truncate(HEARD_MAX);
        heard
    }

    /// Returns what a record tells, together with the others of its datagram.
    fn told(&self, record: &ResourceRecord<'_>, others: &[&ResourceRecord<'_>]) -> Option<Heard> {
        let name = record.name.to_string().to_ascii_lowercase();
        let topic = topic_of(&name)?;
        let port = match &record.rdata {
            RData::TXT(text) => self.port_of(text)?,
            // Those of @hyperswarm/discovery, which Dat's later programs used.
            RData::SRV(place) => place.port,
            RData::PTR(PTR(instance)) if record.ttl > 0 && *instance != Name::new(&self.own_instance()).ok()? => {
                others.iter().find_map(|other| match &other.rdata {
                    RData::SRV(place) if other.name == *instance => Some(place.port),
                    _ => None,
                })?
            }
            _ => return None,
        };
        (port != 0).then_some(Heard::Told(topic, port))
    }

    /// Returns the port that a text in dns-discovery's manner tells of its sender.
    fn port_of(&self, text: &TXT<'_>) -> Option<u16> {
        let of = |wanted: &[u8]| text.iter_raw().find(|(key, _)| *key == wanted).and_then(|(_, value)| value);
        if of(b"token") == Some(self.token.as_bytes()) {
            return None;
        }
        let peers = BASE64.decode(of(b"peers")?).ok()?;
        let own = peers.as_chunks::<6>().0.iter().find(|[a, b, c, d, ..]| [a, b, c, d] == [&0; 4]);
        own.map(|[.., high, low]| u16::from_be_bytes([*high, *low]))
    }

    fn own_instance(&self) -> String {
        format!("{}.{SERVICE}", self.instance)
    }
}

fn asked(question: &Question<'_>) -> Option<Heard> {
    let name = question.qname.to_string().to_ascii_lowercase();
    let topic = topic_of(&name)?;
    match question.qtype {
        QTYPE::TYPE(TYPE::TXT) if name.ends_with(DOMAIN) => Some(Heard::AskedAsDat(topic)),
        QTYPE::TYPE(TYPE::PTR) if name.ends_with(SERVICE) => Some(Heard::AskedAsService(topic)),
        _ => None,
    }
}

fn response<'a>(
    answer: Option<ResourceRecord<'a>>,
    others: impl IntoIterator<Item = Option<ResourceRecord<'a>>>,
) -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers.extend(answer);
    packet.additional_records.extend(others.into_iter().flatten());
    packet.build_bytes_vec().unwrap_or_default()
}

/// Returns the topic that a name in either manner begins with.
fn topic_of(name: &str) -> Option<Id> {
    let (first, rest) = name.split_once('.')?;
    let hexadecimal = match first.strip_prefix('_') {
        Some(topic) => Some(topic).filter(|_| rest.starts_with("_sub."))?,
        None => first,
    };
    HEXLOWER_PERMISSIVE.decode(hexadecimal.as_bytes()).ok()?.try_into().ok()
}

fn as_dat(topic: &Id) -> String {
    format!("{}.{DOMAIN}", HEXLOWER.encode(topic))
}

fn as_service(topic: &Id) -> String {
    format!("_{}._sub.{SERVICE}", HEXLOWER.encode(topic))
}

/// Returns a name of ours, all of which are short enough.
fn name_of(name: &str) -> Option<Name<'_>> {
    Name::new(name).ok()
}

fn owned(name: &str) -> Option<Name<'static>> {
    name_of(name).map(Name::into_owned)
}

/// Where Dat's programs ask.
const DOMAIN: &str = "dat.local";
/// What DNS-SD calls the service.
const SERVICE: &str = "_anypath._tcp.local";
/// Bytes of an instance's name, twice as many hexadecimal digits.
const INSTANCE_BYTES: usize = 12;
/// How long others may keep an answer: RFC 6762, for what has a host's name in it.
const TTL_SECONDS: u32 = 120;
/// Things heard in one datagram.
const HEARD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Id = [0xaa; 20];

    fn voice(number: u8) -> Voice {
        Voice::new(&[number; 32], Some(Ipv4Addr::new(192, 0, 2, 7)))
    }

    #[test]
    fn questions_and_answers_are_heard_by_others_and_not_by_oneself() {
        let (us, them) = (voice(1), voice(2));
        assert_eq!(them.hear(&us.question(&TOPIC)), [Heard::AskedAsDat(TOPIC), Heard::AskedAsService(TOPIC)]);
        for answer in [us.answer_as_dat(&TOPIC, 3282), us.answer_as_service(&TOPIC, 3282, false)] {
            assert_eq!(them.hear(&answer), [Heard::Told(TOPIC, 3282)]);
            assert_eq!(us.hear(&answer), []);
        }
        assert_eq!(them.hear(&us.answer_as_service(&TOPIC, 3282, true)), []);
    }

    #[test]
    fn what_is_cut_off_or_damaged_does_no_harm() {
        let (us, them) = (voice(1), voice(2));
        for packet in [us.question(&TOPIC), us.answer_as_dat(&TOPIC, 1), us.answer_as_service(&TOPIC, 1, false)] {
            for length in 0..packet.len() {
                them.hear(&packet[..length]);
            }
            for at in 0..packet.len() {
                for value in [0, 0xc0, 0xff] {
                    let mut damaged = packet.clone();
                    damaged[at] = value;
                    assert!(them.hear(&damaged).len() <= HEARD_MAX);
                }
            }
        }
    }

    #[test]
    fn another_host_cannot_be_named() {
        let them = voice(2);
        let peers = BASE64.encode(&[10, 0, 0, 1, 0, 22]);
        let (token, peers) = ("token=x".to_owned(), format!("peers={peers}"));
        let text = TXT::new().with_string(&token).unwrap().with_string(&peers).unwrap();
        let name = as_dat(&TOPIC);
        let record = ResourceRecord::new(Name::new(&name).unwrap(), CLASS::IN, 0, RData::TXT(text));
        assert_eq!(them.hear(&response(Some(record), [])), []);
    }
}
