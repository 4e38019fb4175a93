//! Single rules of the session that chaos does not tell apart.

use std::time::Duration;

use anypath_transports::https::session::{CircuitId, Closed, Command, Config, Learnt, Server, Style};
use anypath_wire::Time;

use crate::app::App;
use crate::world::{Line, World};

#[test]
fn a_cut_hold_is_learnt_at_the_first_cut() {
    let line = Line { cut: Some(Duration::from_secs(10)), ..slow() };
    let mut world = open(line);
    world.run(Time::from_micros(12_000_000), |_| false);
    assert_eq!(world.client.learnt().hold_ms, 8_000);
    let posts = world.posts;
    world.run(Time::from_micros(92_000_000), |_| false);
    assert!(world.client_app.closed.is_none() && world.client.learnt().hold_ms == 8_000);
    assert!(world.posts - posts < 25, "{} requests in 80 s of silence", world.posts - posts);
}

#[test]
fn holds_that_are_never_cut_grow_to_fifty_seconds() {
    let mut world = open(slow());
    world.run(Time::from_micros(1_500_000_000), |_| false);
    assert_eq!(world.client.learnt().hold_ms, 50_000);
}

#[test]
fn a_limit_on_bodies_is_learnt_and_nothing_is_lost() {
    let line = Line { body_bytes_max: Some(40_000), ..slow() };
    let mut world = open(line);
    let done = transfer(&mut world, [3_000_000, 0]);
    assert!(done && world.client.learnt().bodies.bytes_max <= 40_000, "{:?}", world.client.learnt());
}

#[test]
fn a_relay_that_has_forgotten_ends_the_session_at_once() {
    let mut world = open(slow());
    transfer(&mut world, [1_000, 1_000]);
    world.relay.clear();
    let now = world.now;
    let next = world.client.next_circuit().unwrap();
    world.client.handle_command(
        now,
        Command::Open { circuit: next, style: Style::default(), target: vec![1].into(), first: bytes::Bytes::new() },
    );
    world.pump();
    assert!(world.run(now + Duration::from_millis(100), |world| world.client_app.closed.is_some()));
    assert_eq!(world.client_app.closed, Some(Closed::Forgotten));
}

#[test]
fn silence_ends_the_session_at_both_ends_and_nothing_sooner() {
    let mut world = open(slow());
    transfer(&mut world, [1_000, 1_000]);
    world.line.silent_drop = 1_000;
    let now = world.now;
    assert!(!world.run(now + Duration::from_secs(90), |world| world.client_app.closed.is_some()));
    assert!(world.run(now + Duration::from_secs(150), |world| world.client_app.closed.is_some()));
    assert_eq!(world.client_app.closed, Some(Closed::Silent));
    world.run(now + Duration::from_secs(200), |_| false);
    assert_eq!(world.relay.values().next().unwrap().1.closed, Some(Closed::Silent));
}

/// The relay's aim is 16 KiB for an idle session with its request held, buffers of TLS and HTTP apart.
#[test]
fn an_idle_session_is_small() {
    let server = std::mem::size_of::<Server>();
    assert!(server <= 3 << 10, "{server} bytes");
    let mut world = open(slow());
    transfer(&mut world, [300_000, 300_000]);
    world.run(world.now + Duration::from_secs(60), |_| false);
    let server = &world.relay.values().next().unwrap().0;
    assert_eq!((server.kept_bytes(), server.carriers()), ((0, 0), 1));
}

#[test]
fn a_farewell_reaches_the_other_end() {
    let mut world = open(slow());
    transfer(&mut world, [1_000, 1_000]);
    let now = world.now;
    world.client.handle_command(now, Command::Close { reason: 77 });
    world.pump();
    world.run(now + Duration::from_millis(100), |_| false);
    assert_eq!(world.relay.values().next().unwrap().1.closed, Some(Closed::ByPeer { reason: 77 }));
}

#[test]
fn a_session_outlives_thousands_of_requests() {
    let mut world = open(Line { drop: 50, silent_drop: 2, ..slow() });
    while world.posts < 3_000 {
        assert!(transfer(&mut world, [3_000, 3_000]), "after {} requests", world.posts);
    }
    assert!(world.client_app.closed.is_none());
}

#[test]
fn more_circuits_than_a_session_may_have_at_once_come_and_go() {
    let mut world = open(Line { drop: 100, delayed: 100, ..slow() });
    for _ in 0..100 {
        let now = world.now;
        for seed in 0..64 {
            world.client_app.open(now, &mut world.client, seed, [500, 500], Style::default());
        }
        world.pump();
        world.run(now + Duration::from_millis(400), |_| false);
    }
    assert!(world.run(world.now + Duration::from_secs(60), |world| world.client_app.is_done()));
    let opened = world.client_app.streams.len();
    assert!(opened > 2_000 && world.client_app.closed.is_none(), "{opened} circuits, {:?}", world.client_app.closed);
}

/// The relay holds requests and has nothing to say, for it waits for what the two that failed should have brought.
#[test]
fn two_failures_in_a_row_do_not_wait_for_a_held_request() {
    let mut world = open(slow());
    transfer(&mut world, [1_000, 1_000]);
    world.run(world.now + Duration::from_secs(3), |_| false);
    world.line.drop = 1_000;
    let now = world.now;
    assert!(world.client_app.open(now, &mut world.client, 5, [10_000, 0], Style::default()));
    world.pump();
    world.run(now + Duration::from_millis(300), |_| false);
    world.line.drop = 0;
    assert!(world.run(now + Duration::from_secs(2), |world| world.client_app.is_done()));
}

/// What was under way on it is sent again elsewhere, and it takes no place among those that live.
#[test]
fn a_stream_that_died_at_one_end_only_carries_nothing_more() {
    let mut world = open(Line { streams: Some(Duration::from_secs(2)), half_open: true, rate: 1_000_000, ..slow() });
    for _ in 0..4 {
        assert!(transfer(&mut world, [1_000_000, 10_000_000]), "stuck at {:?}", world.now);
    }
    let server = &world.relay.values().next().unwrap().0;
    assert!(server.carriers() < 8, "{} carriers", server.carriers());
}

/// A relay has come back, and who comes now is led to it.
#[test]
fn a_session_on_a_stream_notices_that_its_tag_leads_elsewhere() {
    let long = Some(Duration::from_secs(1_000_000));
    for (is_reset, seconds_max) in [(false, 62), (true, 3)] {
        let mut world = open(Line { streams: long, ..slow() });
        transfer(&mut world, [1_000, 1_000]);
        assert!(world.run(world.now + Duration::from_secs(10), |world| world.client.is_on_stream()));
        world.line.streams = None;
        world.run(world.now + Duration::from_secs(200), |_| false);
        let posts = world.posts;
        world.run(world.now + Duration::from_secs(3_600), |_| false);
        assert!((50..70).contains(&(world.posts - posts)), "{} requests in an hour", world.posts - posts);
        assert!(world.client.is_on_stream() && world.client_app.closed.is_none());
        world.line.elsewhere = true;
        let now = world.now;
        if is_reset {
            assert!(world.client_app.open(now, &mut world.client, 6, [1 << 30, 1 << 30], Style::default()));
            world.pump();
            world.run(now + Duration::from_millis(40), |_| false);
            let server = &mut world.relay.values_mut().next().unwrap().0;
            server.handle_command(world.now, Command::Reset { circuit: CircuitId(2), reason: 1 });
            world.pump();
        }
        world.run(now + Duration::from_secs(seconds_max), |world| world.client_app.closed.is_some());
        assert_eq!(world.client_app.closed, Some(Closed::Forgotten), "reset: {is_reset}");
    }
}

#[test]
fn answers_that_come_in_pieces_are_found_out() {
    for (buffers, drop) in [(false, 0), (true, 0), (false, 300), (true, 300)] {
        let mut world = open(Line { buffers, drop, ..slow() });
        world.run(Time::from_micros(5_000_000 + drop * 300_000), |_| false);
        assert_eq!(world.client.learnt().streams_down, Some(!buffers), "{buffers} {drop}");
        assert!(transfer(&mut world, [3_000_000, 3_000_000]));
    }
}

/// What was learnt may be of another network.
#[test]
fn answers_that_are_kept_back_from_some_day_on_are_noticed() {
    let mut world = open(slow());
    world.run(Time::from_micros(6_000_000), |_| false);
    assert_eq!(world.client.learnt().streams_down, Some(true));
    world.line.buffers = true;
    for _ in 0..3 {
        assert!(transfer(&mut world, [1_000_000, 1_000_000]), "stuck at {:?}", world.now);
    }
    world.run(world.now + Duration::from_secs(60), |_| false);
    assert_eq!(world.client.learnt().streams_down, Some(false));
}

/// A busy proxy is not a dead one, and one that comes back is found again without haste.
#[test]
fn an_outage_costs_few_requests_and_no_bytes() {
    let mut world = open(slow());
    world.line.drop = 1_000;
    let posts = world.posts;
    let now = world.now;
    assert!(world.client_app.open(now, &mut world.client, 5, [100_000, 100_000], Style::default()));
    world.pump();
    world.run(now + Duration::from_secs(60), |_| false);
    assert!(world.posts - posts < 40, "{} requests in a minute", world.posts - posts);
    world.line.drop = 0;
    let back = world.now;
    assert!(world.run(back + Duration::from_secs(6), |world| world.client_app.is_done()));
}

fn slow() -> Line {
    Line { delay: Duration::from_millis(25), ..Line::default() }
}

fn open(line: Line) -> World {
    let mut world = World::new(3, line, Config::default(), Learnt::default());
    world.client_app = App { checks: true, ..App::default() };
    assert!(world.run(Time::from_micros(1_000_000), |world| world.client_app.opened));
    world
}

/// Opens a circuit and moves so many bytes each way; returns whether all came within a minute.
fn transfer(world: &mut World, bytes: [u64; 2]) -> bool {
    let now = world.now;
    assert!(world.client_app.open(now, &mut world.client, 5, bytes, Style::default()));
    world.pump();
    world.run(now + Duration::from_secs(60), |world| {
        world.client_app.is_done() && world.relay.values().all(|(_, app)| app.is_done())
    })
}
