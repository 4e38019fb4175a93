//! How much of a line strict long-poll uses, and how soon it pushes; in simulated time, so that it is the same everywhere.
//!
//! The line has 25 ms each way and a rate; bodies queue behind each other as in one bottleneck. Connections are there
//! already and there is no slow start, so this shows what the pattern of requests allows, not what TCP makes of it.

use std::time::Duration;

use anypath_transports::https::session::{Command, Config, Learnt, Lesson, Style};
use anypath_wire::Time;

use crate::app::App;
use crate::world::{Line, World};

#[test]
fn long_poll_uses_most_of_a_line_in_each_direction() {
    let mut failed = Vec::new();
    for (mbit, buffers, share_min) in [
        (2, false, 80),
        (10, false, 80),
        (100, false, 80),
        (400, false, 80),
        (10, true, 75),
        (100, true, 75),
        (400, true, 75),
    ] {
        for direction in ["up", "down"] {
            let share = share(mbit, buffers, direction, &Learnt::default());
            println!("{mbit} Mbit/s, buffering {buffers}, {direction}: {share} %");
            failed.extend((share < share_min).then_some((mbit, buffers, direction, share)));
        }
    }
    assert!(failed.is_empty(), "too little: {failed:?}");
}

#[test]
fn streaming_answers_and_streams_use_more() {
    for mbit in [10, 100, 400] {
        let learnt = Learnt { streams_down: Some(true), ..Learnt::default() };
        let (down, up) = (share(mbit, false, "down", &learnt), share(mbit, false, "up", &learnt));
        println!("{mbit} Mbit/s, streaming answers: {down} % down, {up} % up");
        assert!(down >= 90 && up >= 80, "{mbit} Mbit/s: {down} % down, {up} % up");
    }
}

/// The figures behind the limits in `learnt.rs` and `lanes`.
#[test]
fn more_lanes_and_longer_bodies_carry_more() {
    let learnt = |lanes_max, body_bytes| {
        let lesson = Lesson { body_bytes, body_bytes_max: body_bytes, ..Learnt::default().lesson() };
        Learnt { lanes_max, ..Learnt::recall(&lesson) }
    };
    for (lanes, kib) in [(2, 1020), (4, 1020), (6, 256), (6, 1020)] {
        let of = |direction| share(400, false, direction, &learnt(lanes, kib << 10));
        println!("400 Mbit/s, {lanes} lanes of {kib} KiB: {} % up, {} % down", of("up"), of("down"));
    }
    assert!(share(400, false, "down", &learnt(6, 1020 << 10)) > share(400, false, "down", &learnt(2, 256 << 10)));
}

#[test]
fn a_push_arrives_as_soon_as_the_line_allows() {
    for buffers in [false, true] {
        let idle = latencies(buffers, [0, 0]);
        println!("buffering {buffers}: push p50 {:?} p95 {:?} max {:?}", idle.0[0], idle.0[1], idle.0[2]);
        println!("buffering {buffers}: sending p50 {:?} p95 {:?} max {:?}", idle.1[0], idle.1[1], idle.1[2]);
        assert!(idle.0[1] <= ONE_WAY + Duration::from_millis(10), "{idle:?}");
        for bulk in [[0, 60_000_000], [60_000_000, 0]] {
            let busy = latencies(buffers, bulk);
            println!("  under bulk {bulk:?}: push {:?}, sending {:?}", busy.0, busy.1);
            let (there, back) = (busy.1[1], busy.0[1]);
            assert!(there + back <= 3 * (idle.1[1] + idle.0[1]), "{busy:?}");
        }
    }
}

/// On a short line the session's own pauses (batches, acknowledgements that wait for company) are longer than the round
/// trip, and what is under way must cover them too. A bad second in the beginning must not last.
#[test]
fn a_short_line_is_used_as_well_and_found_again_after_losses() {
    for (mbit, drop) in [(100, 0), (400, 0), (400, 100), (400, 300)] {
        for direction in ["up", "down"] {
            let line = Line { delay: Duration::from_micros(300), rate: mbit * 1_000_000 / 8, drop, ..Line::default() };
            let share = share_of(line, direction, &Learnt::default());
            println!("{mbit} Mbit/s, 0.6 ms, {drop} permille dropped in the first second, {direction}: {share} %");
            assert!(share >= 60, "{mbit} Mbit/s, {drop}, {direction}: {share} %");
        }
    }
}

/// Returns which share of the line a long transfer uses in its second and third second, in percent.
fn share(mbit: u64, buffers: bool, direction: &str, learnt: &Learnt) -> u64 {
    let rate = mbit * 1_000_000 / 8;
    share_of(Line { delay: ONE_WAY, rate, buffers, ..Line::default() }, direction, learnt)
}

/// The same of any line; what it loses, it loses in the first second.
fn share_of(line: Line, direction: &str, learnt: &Learnt) -> u64 {
    let rate = line.rate;
    let mut world = World::new(7, line, Config::default(), learnt.clone());
    assert!(world.run(Time::from_micros(10_000_000), |world| world.client_app.opened));
    let bytes = 10 * rate;
    let bytes = if direction == "up" { [bytes, 0] } else { [0, bytes] };
    let style = Style { urgent: false, ciphertext: true };
    let now = world.now;
    assert!(world.client_app.open(now, &mut world.client, 1, bytes, style));
    world.pump();
    world.run(now + SECOND, |_| false);
    world.line.drop = 0;
    world.run(now + 3 * SECOND, |_| false);
    let app = if direction == "up" { &world.relay.values().next().unwrap().1 } else { &world.client_app };
    let came: u64 = app.arrivals.iter().filter(|(at, _)| *at > now + SECOND).map(|(_, bytes)| bytes).sum();
    came * 100 / (2 * rate)
}

type Spread = [Duration; 3];

/// Sends a hundred bytes each way each 20 ms beside bulk, and returns how long they took: down, then up.
fn latencies(buffers: bool, bulk: [u64; 2]) -> (Spread, Spread) {
    let line = Line { delay: ONE_WAY, rate: 12_500_000, buffers, ..Line::default() };
    let mut world = World::new(7, line, Config::default(), Learnt::default());
    assert!(world.run(Time::from_micros(10_000_000), |world| world.client_app.opened));
    let now = world.now;
    if bulk != [0, 0] {
        let style = Style { urgent: false, ciphertext: true };
        assert!(world.client_app.open(now, &mut world.client, 1, bulk, style));
    }
    let circuit = world.client.next_circuit().unwrap();
    let target = vec![0; 24].into();
    let style = Style { urgent: true, ciphertext: false };
    world.client.handle_command(now, Command::Open { circuit, style, target, first: bytes::Bytes::new() });
    world.pump();
    world.run(now + Duration::from_secs(1), |_| false);
    let (server, _) = world.relay.values_mut().next().unwrap();
    let mut sent = Vec::new();
    assert!(server.send_room(circuit) > 0);
    for round in 0..100_u64 {
        let now = world.now;
        sent.push(now);
        let bytes = || vec![round as u8; MESSAGE_BYTES as usize].into();
        world.client.handle_command(now, Command::Send { circuit, bytes: bytes() });
        let (server, _) = world.relay.values_mut().next().unwrap();
        server.handle_command(now, Command::Send { circuit, bytes: bytes() });
        world.pump();
        world.run(now + Duration::from_micros(20_000 + 137 * (round % 7)), |_| false);
    }
    world.run(world.now + Duration::from_secs(1), |_| false);
    let relay = &world.relay.values().next().unwrap().1;
    (spread(&sent, &world.client_app), spread(&sent, relay))
}

/// Returns the median, 95th percentile and maximum of what messages took; all other data comes in larger pieces.
fn spread(sent: &[Time], app: &App) -> Spread {
    let small = app.small.iter().flat_map(|(at, bytes)| std::iter::repeat_n(*at, (bytes / MESSAGE_BYTES) as usize));
    let mut took: Vec<_> = small.zip(sent).map(|(came, left)| came.since(*left)).collect();
    assert_eq!(took.len(), sent.len(), "all messages came");
    took.sort();
    [took[took.len() / 2], took[took.len() * 95 / 100], took[took.len() - 1]]
}

const SECOND: Duration = Duration::from_secs(1);
const ONE_WAY: Duration = Duration::from_millis(25);
const MESSAGE_BYTES: u64 = 100;
