//! A thousand simulated nodes of Hyperswarm's DHT: they find each other, and what was announced and stored.

use std::collections::BTreeSet;
use std::time::Duration;

use anypath_dht::hyperswarm::{Config, Node};
use anypath_dht::kademlia::{Patience, RequestRules};
use anypath_dht::world::World;
use anypath_dht::{Announcement, Ask, Command, Event, Outcome, Socket};
use anypath_wire::{Hash, KeyPair, hash};

const MINUTE: Duration = Duration::from_secs(60);

/// Makes a network of `count` nodes that others can reach, one after the other, and lets them settle.
fn network(seed: u8, count: usize) -> World<Node> {
    let mut world = World::new(&[seed; 32], 0);
    for index in 0..count {
        add(&mut world, Some(false), false, index == 0);
        world.run(Duration::from_millis(20));
    }
    world.run(MINUTE / 2);
    let bootstrapped = world.take_events().into_iter().filter(|(_, event)| *event == Event::Bootstrapped).count();
    assert_eq!(bootstrapped, count);
    world
}

fn add(world: &mut World<Node>, ephemeral: Option<bool>, firewalled: bool, first: bool) -> usize {
    let bootstrap = if first { Vec::new() } else { vec![World::<Node>::address(0, Socket::Server)] };
    let public_address = first.then(|| World::<Node>::address(0, Socket::Server));
    // Those that are meant to be persistent know that they can be reached.
    let config =
        Config { bootstrap, ephemeral, public_address, firewalled: ephemeral != Some(false), ..Config::default() };
    world.add(firewalled, |now, seed| Node::new(now, Config { seed, ..config }))
}

fn topic(number: u64) -> Hash {
    hash(&number.to_le_bytes())
}

fn pair(number: u64) -> KeyPair {
    KeyPair::from_seed(&hash(&[&b"pair"[..], &number.to_le_bytes()].concat()))
}

/// Lets a node do something and waits until it is done: what it found, and what it took.
fn ask(world: &mut World<Node>, index: usize, ask: Ask) -> (Vec<Event>, Outcome) {
    world.take_events();
    world.command(index, Command { query: 1, ask });
    let done = world.run_until(MINUTE, |node, event| node == index && matches!(event, Event::Done { query: 1, .. }));
    let Some((_, Event::Done { outcome, .. })) = done else { panic!("it is never done") };
    (world.take_events().into_iter().filter(|(node, _)| *node == index).map(|(_, event)| event).collect(), outcome)
}

fn keys(events: &[Event]) -> BTreeSet<[u8; 32]> {
    let key = |event: &Event| match event {
        Event::Peer { key, .. } => Some(key.0),
        _ => None,
    };
    events.iter().filter_map(key).collect()
}

fn announce(world: &mut World<Node>, index: usize, number: u64, peer: u64) -> Outcome {
    let ask_for = Ask::Announce(Announcement::new(topic(number), pair(peer)));
    ask(world, index, ask_for).1
}

#[test]
fn a_thousand_nodes_find_what_was_announced_and_stored() {
    let mut world = network(1, 1000);
    let persistent = world.indices().filter(|index| world.node(*index).is_some_and(|node| node.id().is_some())).count();
    assert_eq!(persistent, 1000);
    let (mut asked, mut lookups) = (0, 0);
    for number in 0..20 {
        let announcer = 37 * number as usize % 1000;
        let outcome = announce(&mut world, announcer, number, number);
        assert_eq!(outcome.stored, 20, "{outcome:?}");
        announce(&mut world, (announcer + 500) % 1000, number, number + 100);
        let (found, outcome) = ask(&mut world, (announcer + 250) % 1000, Ask::Lookup { topic: topic(number) });
        assert_eq!(keys(&found), BTreeSet::from([pair(number).public().0, pair(number + 100).public().0]));
        (asked, lookups) = (asked + outcome.asked, lookups + 1);
    }
    // Twenty nodes must say that they are the nearest, and it takes few more to come to them.
    assert!((20 * lookups..80 * lookups).contains(&asked), "{asked} requests for {lookups} lookups");
    let (nothing, _) = ask(&mut world, 5, Ask::Lookup { topic: topic(999) });
    assert_eq!(nothing, []);

    let value = b"immutable".to_vec();
    assert_eq!(ask(&mut world, 3, Ask::PutImmutable { value: value.clone() }).1.stored, 20);
    let (found, outcome) = ask(&mut world, 903, Ask::GetImmutable { target: hash(&value) });
    assert_eq!(found, [Event::Value { query: 1, seq: 0, value }]);
    assert!(outcome.asked < 40, "it ends with the first that has it: {outcome:?}");

    for seq in [1, 2] {
        let value = vec![seq as u8];
        assert_eq!(ask(&mut world, 4, Ask::PutMutable { key_pair: pair(7), seq, value }).1.stored, 20);
    }
    let stale = Ask::PutMutable { key_pair: pair(7), seq: 1, value: vec![9] };
    assert_eq!(ask(&mut world, 4, stale).1.stored, 0, "an older one");
    let (found, _) = ask(&mut world, 904, Ask::GetMutable { key: pair(7).public(), seq: 0 });
    assert_eq!(found, [Event::Value { query: 1, seq: 2, value: vec![2] }]);
    assert_eq!(ask(&mut world, 904, Ask::GetMutable { key: pair(7).public(), seq: 3 }).0, []);

    let forgotten = ask(&mut world, 9, Ask::Unannounce { topic: topic(0), key_pair: pair(0) }).1;
    assert_eq!(forgotten.stored, 20);
    assert_eq!(keys(&ask(&mut world, 8, Ask::Lookup { topic: topic(0) }).0), BTreeSet::from([pair(100).public().0]));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut world = network(seed, 60);
        world.set_loss(100);
        announce(&mut world, 7, 1, 1);
        world.run(10 * MINUTE);
        (world.trace(), world.traffic())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn thirty_of_a_hundred_datagrams_lost_lose_nothing_else() {
    let mut world = network(2, 300);
    world.set_loss(300);
    for number in 0..10 {
        let outcome = announce(&mut world, 10 + number as usize, number, number);
        assert!(outcome.stored >= 15, "{outcome:?}");
        let (found, _) = ask(&mut world, 200 + number as usize, Ask::Lookup { topic: topic(number) });
        assert_eq!(keys(&found), BTreeSet::from([pair(number).public().0]));
    }
}

#[test]
fn nodes_that_vanish_are_noticed_and_what_they_stored_is_elsewhere() {
    let mut world = network(3, 300);
    announce(&mut world, 1, 1, 1);
    let gone: Vec<usize> = (100..200).collect();
    gone.iter().for_each(|index| world.remove(*index));
    let (found, _) = ask(&mut world, 2, Ask::Lookup { topic: topic(1) });
    assert_eq!(keys(&found), BTreeSet::from([pair(1).public().0]));
    world.run(60 * MINUTE);
    let dead: BTreeSet<_> = gone.iter().map(|index| World::<Node>::address(*index, Socket::Server)).collect();
    let (mut kept, mut all) = (0, 0);
    for node in world.indices().filter_map(|index| world.node(index)) {
        all += node.neighbours().count();
        kept += node.neighbours().filter(|address| dead.contains(address)).count();
    }
    assert!(kept * 100 < all, "{kept} of {all} contacts are dead an hour later");
}

#[test]
fn a_peer_that_listens_is_found_whatever_becomes_of_the_nodes_that_forward_to_it() {
    let mut world = network(5, 100);
    let walled = add(&mut world, None, true, false);
    world.run(MINUTE / 2);
    world.take_events();
    world.command(walled, Command { query: 2, ask: Ask::Listen { key_pair: pair(1) } });
    let relays = |world: &mut World<Node>| {
        let told = world.run_until(10 * MINUTE, |_, event| matches!(event, Event::Listening { .. }));
        let Some((_, Event::Listening { query: 2, relays })) = told else { panic!("it does not listen") };
        assert!(relays.iter().all(|relay| relay.peer == World::<Node>::address(walled, Socket::Client)));
        relays.into_iter().map(|relay| relay.relay).collect::<Vec<_>>()
    };
    let first = relays(&mut world);
    assert_eq!(first.len(), 3);
    let find = Ask::FindPeer { key: pair(1).public() };
    assert_eq!(keys(&ask(&mut world, 7, find.clone()).0), BTreeSet::from([pair(1).public().0]));
    assert_eq!(keys(&ask(&mut world, 7, Ask::FindPeer { key: pair(2).public() }).0), BTreeSet::new());

    let gone = |index: &usize| first[1..].contains(&World::<Node>::address(*index, Socket::Server));
    for index in world.indices().filter(gone).collect::<Vec<_>>() {
        world.remove(index);
    }
    let second = relays(&mut world);
    assert_eq!((second.len(), second.contains(&first[1])), (3, false), "{first:?} {second:?}");
    // Records last half an hour at most: it is announced again and again.
    world.run(60 * MINUTE);
    assert_eq!(keys(&ask(&mut world, 7, find.clone()).0), BTreeSet::from([pair(1).public().0]));
    let outcome = ask(&mut world, walled, Ask::Unlisten { key: pair(1).public() }).1;
    assert_eq!((outcome.asked, outcome.stored), (3, 3), "{outcome:?}");
    assert_eq!(keys(&ask(&mut world, 7, find).0), BTreeSet::new());
}

#[test]
fn an_announcement_is_renewed_by_a_token_without_its_key() {
    let mut world = network(6, 60);
    let token = [7; 32];
    for (number, refresh) in [(1, Some(hash(&token))), (2, None)] {
        let announce = Ask::Announce(Announcement { refresh, ..Announcement::new(topic(1), pair(number)) });
        assert_eq!(ask(&mut world, 5, announce).1.stored, 20);
    }
    world.run(14 * MINUTE);
    assert!(ask(&mut world, 6, Ask::Refresh { topic: topic(1), token }).1.stored >= 15);
    assert_eq!(ask(&mut world, 6, Ask::Refresh { topic: topic(1), token: [8; 32] }).1.stored, 0);
    world.run(16 * MINUTE);
    assert_eq!(keys(&ask(&mut world, 9, Ask::Lookup { topic: topic(1) }).0), BTreeSet::from([pair(1).public().0]));
}

#[test]
fn a_node_that_waits_as_long_as_others_take_is_done_sooner_among_the_dead() {
    let time = |patience| {
        let mut world = network(7, 200);
        let bootstrap = vec![World::<Node>::address(0, Socket::Server)];
        let request = RequestRules { patience, ..Config::default().request };
        let config = Config { bootstrap, ephemeral: Some(true), request, ..Config::default() };
        let client = world.add(true, |now, seed| Node::new(now, Config { seed, ..config }));
        world.run(MINUTE);
        (1..200).step_by(5).for_each(|index| world.remove(index));
        let (start, before) = (world.now(), world.traffic().datagrams);
        for number in 0..20 {
            ask(&mut world, client, Ask::Lookup { topic: topic(number) });
        }
        (world.now().since(start), world.traffic().datagrams - before)
    };
    let (fixed, adaptive) = (time(Config::default().request.patience), time(Patience::Adaptive));
    assert!(adaptive.0 * 4 < fixed.0 * 3, "{adaptive:?} {fixed:?}");
    assert!(adaptive.1 * 3 < fixed.1 * 4, "{adaptive:?} {fixed:?}");
}

#[test]
fn a_node_becomes_persistent_when_it_can_be_reached_and_never_if_not() {
    let mut world = network(4, 40);
    let (open, walled) = (add(&mut world, None, false, false), add(&mut world, None, true, false));
    world.run(MINUTE);
    let state = |world: &World<Node>, index| world.node(index).map(|node| (node.is_firewalled(), node.id().is_some()));
    assert_eq!(state(&world, open), Some((false, false)), "reachable, but new");
    assert_eq!(state(&world, walled), Some((true, false)));
    let knows = |world: &World<Node>, index| {
        let address = World::<Node>::address(index, Socket::Server);
        world.indices().filter_map(|i| world.node(i)).any(|node| node.neighbours().any(|known| known == address))
    };
    assert!(!knows(&world, open) && !knows(&world, walled));
    world.run(120 * MINUTE);
    assert_eq!(state(&world, open), Some((false, true)));
    assert_eq!(state(&world, walled), Some((true, false)));
    assert!(knows(&world, open) && !knows(&world, walled));
    // Both find what others announced, and are found.
    announce(&mut world, walled, 1, 1);
    assert_eq!(keys(&ask(&mut world, open, Ask::Lookup { topic: topic(1) }).0), BTreeSet::from([pair(1).public().0]));
}
