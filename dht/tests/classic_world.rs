//! Hundreds of simulated nodes of BitTorrent's DHT: they find each other, and what was announced and stored.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anypath_dht::classic::{Config, Item, Mapping, Node};
use anypath_dht::world::World;
use anypath_dht::{Announcement, Ask, Command, Event, Outcome, Socket};
use anypath_wire::{Hash, KeyPair, hash};

const MINUTE: Duration = Duration::from_secs(60);

fn network(seed: u8, count: usize) -> World<Node> {
    let mut world = World::new(&[seed; 32], 0);
    for index in 0..count {
        add(&mut world, index == 0, vec![Mapping::Truncated]);
        world.run(Duration::from_millis(20));
    }
    world.run(MINUTE);
    let bootstrapped = world.take_events().into_iter().filter(|(_, event)| *event == Event::Bootstrapped).count();
    assert_eq!(bootstrapped, count);
    world
}

fn add(world: &mut World<Node>, first: bool, mappings: Vec<Mapping>) -> usize {
    let bootstrap = if first { Vec::new() } else { vec![World::<Node>::address(0, Socket::Server).into()] };
    let config = Config { bootstrap, mappings, ..Config::default() };
    world.add(false, |now, seed| Node::new(now, Config { seed, ..config }))
}

fn topic(number: u64) -> Hash {
    hash(&number.to_le_bytes())
}

fn pair() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn ask(world: &mut World<Node>, index: usize, ask: Ask) -> (Vec<Event>, Outcome) {
    world.take_events();
    world.command(index, Command { query: 1, ask });
    let done = world.run_until(MINUTE, |node, event| node == index && matches!(event, Event::Done { .. }));
    let Some((_, Event::Done { outcome, .. })) = done else { panic!("it is never done") };
    (world.take_events().into_iter().filter(|(node, _)| *node == index).map(|(_, event)| event).collect(), outcome)
}

fn announce(world: &mut World<Node>, index: usize, number: u64, port: Option<u16>) -> Outcome {
    ask(world, index, Ask::Announce(Announcement { port, ..Announcement::new(topic(number), pair()) })).1
}

fn lookup(world: &mut World<Node>, index: usize, number: u64) -> BTreeSet<SocketAddr> {
    let address = |event: Event| match event {
        Event::Address { address, .. } => Some(address),
        _ => None,
    };
    ask(world, index, Ask::Lookup { topic: topic(number) }).0.into_iter().filter_map(address).collect()
}

fn place(index: usize, port: u16) -> SocketAddr {
    SocketAddr::new((*World::<Node>::address(index, Socket::Server).ip()).into(), port)
}

#[test]
fn hundreds_of_nodes_find_what_was_announced_and_stored() {
    let mut world = network(1, 400);
    for number in 0..20 {
        let announcer = 17 * number as usize % 400;
        let outcome = announce(&mut world, announcer, number, Some(3_282));
        assert_eq!(outcome.stored, 8, "{outcome:?}");
        assert!(outcome.asked < 60, "{outcome:?}");
        announce(&mut world, (announcer + 200) % 400, number, None);
        let found = lookup(&mut world, (announcer + 100) % 400, number);
        let seen_at = World::<Node>::address((announcer + 200) % 400, Socket::Server).into();
        assert_eq!(found, BTreeSet::from([place(announcer, 3_282), seen_at]));
    }
    assert_eq!(lookup(&mut world, 5, 999), BTreeSet::new());

    let value = b"immutable".to_vec();
    assert_eq!(ask(&mut world, 3, Ask::PutImmutable { value: value.clone() }).1.stored, 8);
    let mut target = [0; 32];
    target[..20].copy_from_slice(&Item::of_bytes(&value).target());
    let found = ask(&mut world, 303, Ask::GetImmutable { target }).0;
    assert_eq!(found, [Event::Value { query: 1, seq: 0, value }]);
    for seq in [1, 2] {
        let put = Ask::PutMutable { key_pair: pair(), seq, value: vec![seq as u8] };
        assert_eq!(ask(&mut world, 4, put).1.stored, 8);
    }
    let get = |seq| Ask::GetMutable { key: pair().public(), seq };
    assert_eq!(ask(&mut world, 304, get(0)).0, [Event::Value { query: 1, seq: 2, value: vec![2] }]);
    assert_eq!(ask(&mut world, 304, get(3)).0, []);
    assert_eq!(ask(&mut world, 304, Ask::FindPeer { key: pair().public() }).1, Outcome::default());
}

#[test]
fn each_mapping_is_a_place_of_its_own_and_both_together_are_both() {
    let mut world = network(2, 40);
    let hashed = add(&mut world, false, vec![Mapping::Hashed]);
    let both = add(&mut world, false, vec![Mapping::Truncated, Mapping::Hashed]);
    world.run(MINUTE);
    announce(&mut world, 3, 1, Some(1));
    announce(&mut world, hashed, 1, Some(2));
    let [truncated_peer, hashed_peer] = [place(3, 1), place(hashed, 2)];
    assert_eq!(lookup(&mut world, 5, 1), BTreeSet::from([truncated_peer]));
    assert_eq!(lookup(&mut world, hashed, 1), BTreeSet::from([hashed_peer]));
    assert_eq!(lookup(&mut world, both, 1), BTreeSet::from([truncated_peer, hashed_peer]));
    assert_eq!(announce(&mut world, both, 2, Some(3)).stored, 16);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut world = network(seed, 60);
        world.set_loss(100);
        announce(&mut world, 7, 1, None);
        world.run(20 * MINUTE);
        (world.trace(), world.traffic())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn lost_datagrams_and_vanished_nodes_lose_nothing_else() {
    let mut world = network(3, 300);
    world.set_loss(200);
    for number in 0..10 {
        let outcome = announce(&mut world, 10 + number as usize, number, Some(1));
        assert!(outcome.stored >= 5, "{outcome:?}");
        assert_eq!(lookup(&mut world, 200 + number as usize, number), BTreeSet::from([place(10 + number as usize, 1)]));
    }
    world.set_loss(0);
    let gone: Vec<usize> = (100..200).collect();
    gone.iter().for_each(|index| world.remove(*index));
    for number in 0..10 {
        assert_eq!(lookup(&mut world, 200 + number as usize, number).len(), 1);
    }
    world.run(60 * MINUTE);
    let dead: BTreeSet<SocketAddr> = gone.iter().map(|at| World::<Node>::address(*at, Socket::Server).into()).collect();
    let nodes: Vec<&Node> = world.indices().filter_map(|index| world.node(index)).collect();
    let all: usize = nodes.iter().map(|node| node.neighbours().count()).sum();
    let kept: usize = nodes.iter().map(|node| node.neighbours().filter(|at| dead.contains(at)).count()).sum();
    assert!(all > 1_000 && kept * 100 < all, "{kept} of {all} contacts are dead an hour later");
}
