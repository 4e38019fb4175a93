//! Channels between two ends: they pair, refuse, end, and use their ids again; and what a peer may not do.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use anypath_replicate::mux::{Channel, CloseReason, Event, Misbehaviour, Mux, MuxError, Protocol, SendError};
use bytes::Bytes;

#[test]
fn opens_from_both_ends_pair_whoever_is_first() {
    let (mut a, mut b) = (Mux::new(), Mux::new());
    let on_a = a.open(&protocol(1), b"from a");
    a.send(on_a, 5, b"pipelined").unwrap();
    deliver(&mut a, &mut b);
    assert_eq!(events(&mut b), [offered(1)]);
    let on_b = b.open(&protocol(1), b"from b");
    assert_eq!(events(&mut b), [opened(on_b, b"from a"), message(on_b, 5, b"pipelined")]);
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), [opened(on_a, b"from b")]);

    let (crossing_a, crossing_b) = (a.open(&protocol(2), b""), b.open(&protocol(2), b""));
    deliver(&mut a, &mut b);
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), [opened(crossing_a, b"")]);
    assert_eq!(events(&mut b), [opened(crossing_b, b"")]);
}

#[test]
fn an_alias_matches_in_either_order() {
    let new = Protocol::new("new", []).alias("old");
    let old = Protocol::new("old", []);
    for new_is_first in [true, false] {
        let (mut a, mut b) = (Mux::new(), Mux::new());
        let on_a = a.open(if new_is_first { &new } else { &old }, b"");
        let on_b = if new_is_first {
            b.open(&old, b"");
            deliver(&mut b, &mut a);
            None
        } else {
            deliver(&mut a, &mut b);
            assert_eq!(events(&mut b), [Event::Offered { protocol: "old".into(), id: vec![] }]);
            Some(b.open(&new, b""))
        };
        assert_eq!(events(&mut a).is_empty(), !new_is_first);
        assert!(a.is_open(on_a));
        assert_eq!(events(&mut b), on_b.map(|on_b| opened(on_b, b"")).as_slice());
    }
}

#[test]
fn a_rejected_channel_is_closed_and_its_messages_forgotten() {
    let (mut a, mut b) = (Mux::new(), Mux::new());
    let on_a = a.open(&protocol(1), b"");
    a.send(on_a, 0, &[0; 40_000]).unwrap();
    deliver(&mut a, &mut b);
    assert_eq!(events(&mut b), [offered(1)]);
    assert!(b.wants_pause());
    b.reject("test", &[1]);
    b.reject("test", &[1]);
    assert!(!b.wants_pause());
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), [Event::Closed { channel: on_a, why: CloseReason::Rejected }]);
    assert_eq!(a.send(on_a, 0, b""), Err(SendError::Closed));
    assert_eq!(a.queued_bytes(), 0);
}

#[test]
fn a_close_reaches_the_other_end_behind_what_was_sent() {
    let (mut a, mut b, on_a, on_b) = pair();
    a.send(on_a, 0, b"last").unwrap();
    a.close(on_a);
    a.close(on_a);
    b.send(on_b, 0, b"crossing").unwrap();
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), []);
    deliver(&mut a, &mut b);
    assert_eq!(events(&mut b), [message(on_b, 0, b"last"), closed(on_b)]);
    assert!(!b.is_open(on_b));
}

#[test]
fn an_offer_that_was_closed_meanwhile_still_tells_what_it_had_to_say() {
    let (mut a, mut b) = (Mux::new(), Mux::new());
    let on_a = a.open(&protocol(1), b"hello");
    a.send(on_a, 0, b"word").unwrap();
    a.close(on_a);
    deliver(&mut a, &mut b);
    assert_eq!(events(&mut b), [offered(1)]);
    let on_b = b.open(&protocol(1), b"");
    assert_eq!(events(&mut b), [opened(on_b, b"hello"), message(on_b, 0, b"word"), closed(on_b)]);
    deliver(&mut b, &mut a);
    assert_eq!(events(&mut a), []);
    pair_again(&mut a, &mut b);
}

#[test]
fn an_id_is_used_again_only_after_both_ends_are_gone() {
    let mut a = Mux::new();
    let first = a.open(&protocol(1), b"");
    a.close(first);
    a.open(&protocol(2), b"");
    assert_eq!(frame(&mut a), Some(batch(&[b"\x01\x01\x04test\x01\x01", b"\x03\x01", b"\x01\x02\x04test\x01\x02"])));
    a.handle_frame(Bytes::from_static(b"\x00\x02\x01"));
    assert_eq!(events(&mut a), [], "of a channel that we gave up nothing is told");
    let again = a.open(&protocol(3), b"");
    assert_eq!(frame(&mut a).unwrap(), b"\x00\x01\x01\x04test\x01\x03"[..]);
    assert_ne!(first, again, "the handle of a closed channel is no other's");
    assert!(a.is_open(again) && !a.is_open(first));
}

/// The reference overlooks a close that arrives while its application makes up its mind.
#[test]
fn a_channel_given_up_is_closed_again_when_it_is_answered() {
    let mut a = Mux::new();
    let channel = a.open(&protocol(1), b"");
    a.close(channel);
    frame(&mut a);
    a.handle_frame(Bytes::from_static(b"\x00\x01\x01\x04test\x01\x01"));
    assert_eq!(events(&mut a), []);
    a.open(&protocol(2), b"");
    assert_eq!(frame(&mut a), Some(batch(&[b"\x03\x01", b"\x01\x01\x04test\x01\x02"])));
}

#[test]
fn what_is_sent_together_shares_a_frame_up_to_its_size() {
    let (mut a, mut b, on_a, on_b) = pair();
    for number in 0..200u8 {
        a.send(on_a, 0, &[number; 1024]).unwrap();
    }
    let large = Bytes::from(vec![7; 100_000]);
    a.send_around(on_a, 1, large.clone(), |out| out.push(b'<'), |out| out.push(b'>')).unwrap();
    a.send(on_a, 2, b"small").unwrap();
    assert!(a.queued_bytes() > 300_000);
    let mut sizes = Vec::new();
    while let Some(frame) = frame(&mut a) {
        sizes.push(frame.len());
        b.handle_frame(frame);
    }
    assert_eq!((a.queued_bytes(), sizes.len()), (0, 6), "{sizes:?}");
    assert!(sizes[..3].iter().all(|size| (64_000..=65_536).contains(size)), "{sizes:?}");
    let mut expected: Vec<Event> = (0..200u8).map(|number| message(on_b, 0, &[number; 1024])).collect();
    expected.push(message(on_b, 1, &[b"<", &large[..], b">"].concat()));
    expected.push(message(on_b, 2, b"small"));
    assert_eq!(events(&mut b), expected);
}

#[test]
fn a_frame_is_appended_to_what_is_there() {
    let mut a = Mux::new();
    let channel = a.open(&protocol(1), b"");
    a.send(channel, 1, b"x").unwrap();
    let mut out = vec![9; 3];
    assert!(a.poll_frame(&mut out));
    assert_eq!(out[..6], [9, 9, 9, 0, 0, 0]);
    assert!(!a.poll_frame(&mut out));
}

#[test]
fn a_message_that_no_frame_can_carry_is_refused() {
    let mut a = Mux::new();
    let channel = a.open(&protocol(1), b"");
    let queued = a.queued_bytes();
    let large = Bytes::from(vec![0; 1 << 24]);
    let sent = a.send_around(channel, 0, large, |_| (), |_| ());
    assert!(matches!(sent, Err(SendError::TooLong { bytes, .. }) if bytes == (1 << 24) + 1), "{sent:?}");
    assert_eq!(a.queued_bytes(), queued);
}

#[test]
fn a_message_is_a_slice_of_its_frame() {
    let (mut a, mut b, on_a, _) = pair();
    a.send(on_a, 0, b"one").unwrap();
    a.send(on_a, 0, b"two").unwrap();
    let frame = frame(&mut a).unwrap();
    b.handle_frame(frame.clone());
    for event in events(&mut b) {
        let Event::Message { body, .. } = event else { panic!("{event:?}") };
        assert!(frame.as_ptr_range().contains(&body.as_ptr()));
    }
}

#[test]
fn reading_stops_within_a_frame_until_an_offer_is_answered() {
    let (mut a, mut b) = (Mux::new(), Mux::new());
    let on_a = a.open(&protocol(1), b"");
    for number in 0..200u8 {
        a.send(on_a, 0, &[number]).unwrap();
    }
    a.open(&protocol(2), b"");
    let frame = frame(&mut a).unwrap();
    b.handle_frame(frame);
    assert_eq!(events(&mut b), [offered(1)], "the second open lies behind the messages");
    assert!(b.wants_pause());
    let on_b = b.open(&protocol(1), b"");
    let told = events(&mut b);
    assert_eq!(told.len(), 202);
    assert_eq!(told[0], opened(on_b, b""));
    assert!((0..200u8).all(|number| told[1 + usize::from(number)] == message(on_b, 0, &[number])));
    assert_eq!(told[201], offered(2));
    assert!(!b.wants_pause());
}

#[test]
fn keep_alives_unknown_controls_and_closed_channels_are_ignored() {
    let (mut a, ..) = pair();
    for frame in [&b""[..], b"\x00\x09whatever", b"\x07\x00late", b"\x00\x03\x07", b"\x00\x00\x07"] {
        a.handle_frame(Bytes::copy_from_slice(frame));
    }
    assert_eq!(events(&mut a), []);
    assert!(!a.wants_pause());
    a.handle_frame(Bytes::from_static(b"\x00\x01\x00\x04test\x00"));
    assert_eq!(events(&mut a), []);
    assert_eq!(frame(&mut a).unwrap(), b"\x00\x02\x00"[..], "the control channel cannot be opened");
}

#[test]
fn breaking_the_rules_ends_the_mux_for_ever() {
    let open = b"\x00\x01\x01\x04test\x00";
    let long = [&b"\x00\x01\x01\xfd\x01\x04"[..], &[b'x'; 1025], &[0]].concat();
    let cases: [(&[&[u8]], Misbehaviour); 7] = [
        (&[b"\x00\x01\x02\x04test\x00"], Misbehaviour::InvalidOpen { id: 2 }),
        (&[open, open], Misbehaviour::InvalidOpen { id: 1 }),
        (&[b"\x00\x02\x01"], Misbehaviour::InvalidReject { id: 1 }),
        (&[b"\x00\x02\x00"], Misbehaviour::InvalidReject { id: 0 }),
        (&[&batch(&[b"\x00\x01\x01\x00"])], Misbehaviour::NestedBatch),
        (&[&long], Misbehaviour::LongName { bytes: 1025, bytes_max: 1024 }),
        (&[b"\x00\x00\x01\x05\x00"], anypath_wire::DecodeError::Short.into()),
    ];
    for (frames, misbehaviour) in cases {
        let mut mux = Mux::new();
        for frame in frames {
            mux.handle_frame(Bytes::copy_from_slice(frame));
        }
        let failed = (0..frames.len()).find_map(|_| mux.poll_event().err());
        assert_eq!(failed, Some(MuxError::Misbehaved(misbehaviour)));
        mux.handle_frame(Bytes::new());
        assert_eq!(mux.poll_event(), Err(MuxError::Misbehaved(misbehaviour)));
    }
}

#[test]
fn a_peer_can_neither_pile_up_offers_nor_answers() {
    let mut mux = Mux::new();
    let name = [b'x'; 1000];
    let offers = (1..).find_map(|id: u32| {
        let frame = [&[0, 1, 0xfe][..], &id.to_le_bytes(), &[0xfd, 0xe8, 3], &name, &[0]].concat();
        mux.handle_frame(frame.into());
        mux.poll_event().err().map(|error| (id, error))
    });
    assert_eq!(offers, Some((11_097, Misbehaviour::TooManyOffers { bytes_max: 1 << 24 }.into())));

    let mut mux = Mux::new();
    let open = Bytes::from([&[0, 1, 1, 0xfd, 0xe8, 3][..], &name, &[0]].concat());
    let answers = (0..100_000).find_map(|_| {
        mux.handle_frame(open.clone());
        mux.handle_frame(Bytes::from_static(b"\x00\x03\x01"));
        let failed = mux.poll_event().err();
        mux.open(&Protocol::new("x".repeat(1000), []), b"");
        while let Ok(Some(_)) = mux.poll_event() {}
        failed
    });
    assert_eq!(answers, Some(Misbehaviour::NotReading.into()));
    assert!(mux.queued_bytes() < 32 << 20);
}

fn protocol(id: u8) -> Protocol {
    Protocol::new("test", [id])
}

fn offered(id: u8) -> Event {
    Event::Offered { protocol: "test".into(), id: vec![id] }
}

fn opened(channel: Channel, handshake: &[u8]) -> Event {
    Event::Opened { channel, handshake: Bytes::copy_from_slice(handshake) }
}

fn message(channel: Channel, kind: u64, body: &[u8]) -> Event {
    Event::Message { channel, kind, body: Bytes::copy_from_slice(body) }
}

fn closed(channel: Channel) -> Event {
    Event::Closed { channel, why: CloseReason::Closed }
}

/// Returns two ends with one channel open between them.
fn pair() -> (Mux, Mux, Channel, Channel) {
    let (mut a, mut b) = (Mux::new(), Mux::new());
    let (on_a, on_b) = pair_again(&mut a, &mut b);
    (a, b, on_a, on_b)
}

fn pair_again(a: &mut Mux, b: &mut Mux) -> (Channel, Channel) {
    let (on_a, on_b) = (a.open(&protocol(9), b""), b.open(&protocol(9), b""));
    deliver(a, b);
    deliver(b, a);
    assert_eq!(events(a), [opened(on_a, b"")]);
    assert_eq!(events(b), [opened(on_b, b"")]);
    (on_a, on_b)
}

fn deliver(from: &mut Mux, to: &mut Mux) {
    while let Some(frame) = frame(from) {
        to.handle_frame(frame);
    }
}

fn frame(mux: &mut Mux) -> Option<Bytes> {
    let mut out = Vec::new();
    mux.poll_frame(&mut out).then(|| out.into())
}

fn events(mux: &mut Mux) -> Vec<Event> {
    std::iter::from_fn(|| mux.poll_event().unwrap()).collect()
}

/// A batch of short control messages.
fn batch(items: &[&[u8]]) -> Bytes {
    let items = items.iter().flat_map(|item| [&[item.len() as u8], *item].concat());
    [0, 0, 0].into_iter().chain(items).collect()
}
