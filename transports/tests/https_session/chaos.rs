//! Whatever is done to requests and streams, all bytes arrive, once, in order, and nothing is stuck.

use std::time::Duration;

use anypath_transports::https::session::{Config, Learnt, Style};
use anypath_wire::Time;

use crate::app::App;
use crate::chance::Chance;
use crate::world::{Line, World};

#[test]
fn whatever_a_network_does_all_bytes_arrive_once_and_in_order() {
    #[allow(clippy::disallowed_methods, reason = "the long run is asked for by the environment")]
    let seeds = if std::env::var_os("ANYPATH_LONG").is_some() { 10_000 } else { 300 };
    let (mut foreign, mut again) = (0, 0);
    for seed in 0..seeds {
        let world = session_in_chaos(seed);
        foreign += world.client_app.foreign;
        again += world.client.sent_again() + world.relay.values().map(|(server, _)| server.sent_again()).sum::<u64>();
    }
    assert!(foreign > seeds / 2 && again > seeds, "too calm: {foreign} foreign answers, {again} sent again");
}

fn session_in_chaos(seed: u64) -> World {
    let mut chance = Chance::new(seed ^ 0xabcd);
    let line = any_line(&mut chance);
    let streams_down = (!line.buffers && chance.below(3) == 0).then_some(true);
    let learnt = Learnt { streams_down, ..Learnt::default() };
    let mut world = World::new(seed, line.clone(), Config::default(), learnt);
    world.client_app = App { lazy: true, checks: true, ..App::default() };
    assert!(world.run(Time::from_micros(100_000_000), |world| world.client_app.opened), "{seed}: not opened, {line:?}");
    for _ in 0..1 + chance.below(4) {
        let bytes = [chance.below(200_000), chance.below(200_000)];
        let style = any_style(&mut chance);
        let (now, seed) = (world.now, chance.next());
        assert!(world.client_app.open(now, &mut world.client, seed, bytes, style));
    }
    let heard = |world: &World| world.relay.values().any(|(_, app)| !app.streams.is_empty());
    assert!(world.run(world.now + LONG, heard), "{seed}: no circuit, {line:?}");
    for _ in 0..chance.below(3) {
        let bytes = [chance.below(200_000), chance.below(100_000)];
        let style = any_style(&mut chance);
        let (now, seed) = (world.now, chance.next());
        let used = world.relay.values_mut().find(|(_, app)| !app.streams.is_empty());
        let (server, app) = used.expect("one has a circuit");
        assert!(app.open(now, server, seed, bytes, style));
    }
    let end = world.now + LONG;
    let done = world.run(end, is_over);
    assert!(done, "{seed}: stuck in {line:?}: {:?}", world.client_app);
    check(&world, seed);
    world
}

fn is_over(world: &World) -> bool {
    let closed = world.client_app.closed.is_some();
    let count = |app: &App| app.streams.len();
    let relay = world.relay.values().map(|(_, app)| app);
    let same = relay.clone().map(count).sum::<usize>() == count(&world.client_app);
    closed || (same && world.client_app.is_done() && relay.clone().all(App::is_done))
}

fn check(world: &World, seed: u64) {
    let used = world.relay.values().filter(|(_, app)| !app.streams.is_empty());
    for app in used.map(|(_, app)| app).chain([&world.client_app]) {
        assert!(app.closed.is_none() && app.resets == 0, "{seed}: {:?}", app.closed);
    }
    let config = Config::default();
    let came_max = config.circuits_max * (128 << 10) + config.pool_bytes;
    let [sent, came, relay_sent, relay_came] = world.kept_max;
    assert!(sent.max(relay_sent) <= config.window_bytes_max + (64 << 10), "{seed}: {:?}", world.kept_max);
    assert!(came.max(relay_came) <= came_max, "{seed}: {:?}", world.kept_max);
    assert!(world.steps < 200_000, "{seed}: {} steps", world.steps);
}

fn any_style(chance: &mut Chance) -> Style {
    Style { urgent: chance.below(4) == 0, ciphertext: chance.below(2) == 0 }
}

/// A network that is ill in some ways, and now and then in all.
fn any_line(chance: &mut Chance) -> Line {
    let delay = Duration::from_millis(1 + chance.below(60));
    let mut some = |most: u64| if chance.below(2) == 0 { chance.below(most) } else { 0 };
    Line {
        delay,
        drop: some(150),
        silent_drop: some(60),
        truncate: some(100),
        duplicate: some(150),
        delayed: some(150),
        page: some(100),
        tamper: some(60),
        replay: some(80),
        jitter: Duration::from_millis(some(80)),
        buffers: some(2) == 1,
        rate: if some(2) == 1 { 300_000 } else { 0 },
        cut: (some(3) == 1).then_some(Duration::from_secs(6)),
        body_bytes_max: (some(3) == 1).then_some(64 << 10),
        streams: (some(3) > 0).then_some(Duration::from_secs(2)),
        half_open: some(2) == 1,
        elsewhere: false,
    }
}

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(600);
