//! The routing table, the walk and the requests, held against models so plain that one sees they are right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anypath_dht::kademlia::{
    Candidate, Contact, Expired, Order, Patience, Query, QueryRules, RequestRules, Requests, Row, Table, shared_bits,
};
use anypath_wire::{Time, hash};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Ids of two bytes, so that rows fill and ids meet.
type Id = [u8; 2];

fn distance(a: &Id, b: &Id) -> u16 {
    u16::from_be_bytes(*a) ^ u16::from_be_bytes(*b)
}

#[derive(Debug, Clone)]
enum Step {
    Add(Id),
    Remove(Id),
    Rebuild(Id),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<Id>().prop_map(Step::Add),
        2 => any::<Id>().prop_map(Step::Remove),
        1 => any::<Id>().prop_map(Step::Rebuild),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_a_set_with_at_most_k_of_each_prefix(own: Id, k in 1_usize..5, steps in steps(), target: Id, count in 0_usize..30) {
        let mut table: Table<2, u16> = Table::new(own, k);
        let (mut own, mut model): (Id, BTreeSet<Id>) = (own, BTreeSet::new());
        for step in steps {
            match step {
                Step::Add(id) => {
                    let row = model.iter().filter(|known| shared_bits(known, &own) == shared_bits(&id, &own)).count();
                    let expected = if id == own || model.contains(&id) { Row::Known } else if row >= k { Row::Full } else { Row::Added };
                    if expected == Row::Added {
                        model.insert(id);
                    }
                    prop_assert_eq!(table.add(Contact::new(id, 1, Time::ZERO)), expected);
                }
                Step::Remove(id) => prop_assert_eq!(table.remove(&id).is_some(), model.remove(&id)),
                Step::Rebuild(id) => {
                    let before: Vec<Id> = table.iter().map(|contact| contact.id).collect();
                    (own, model) = (id, BTreeSet::new());
                    for id in before.into_iter().filter(|known| *known != own) {
                        let row = model.iter().filter(|known| shared_bits(known, &own) == shared_bits(&id, &own)).count();
                        if row < k {
                            model.insert(id);
                        }
                    }
                    table.rebuild(own);
                }
            }
        }
        prop_assert_eq!(table.iter().map(|contact| contact.id).collect::<BTreeSet<_>>(), model.clone());
        prop_assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
        let mut nearest: Vec<Id> = model.iter().copied().collect();
        nearest.sort_by_key(|id| distance(id, &target));
        nearest.truncate(count);
        prop_assert_eq!(table.closest(&target, count).iter().map(|contact| contact.id).collect::<Vec<_>>(), nearest);
        for id in &model {
            prop_assert!(table.find(id).is_some() && table.find_mut(id).is_some());
        }
    }

    /// Every node of a network knows a few others and those nearest to it. Whatever answers are lost or slow and in
    /// whatever order they come, a walk ends, and if nothing is lost it ends with the nearest there are.
    #[test]
    fn a_walk_ends_and_finds_the_nearest(seed: u64, nodes in 2_usize..120, loss in 0_u8..100, nearest_first: bool) {
        let network = Network::new(seed, nodes);
        let lossless = loss < 50;
        let (found, asked) = network.walk(seed, if lossless { 0 } else { loss }, nearest_first);
        prop_assert!(asked <= nodes);
        if lossless {
            let mut nearest: Vec<u16> = (0..nodes as u16).collect();
            nearest.sort_by_key(|node| distance(&network.ids[usize::from(*node)], &network.target));
            nearest.truncate(K);
            prop_assert_eq!(found, nearest);
        }
    }
}

const K: usize = 8;

struct Network {
    ids: Vec<Id>,
    knows: Vec<Vec<u16>>,
    target: Id,
}

impl Network {
    fn new(seed: u64, count: usize) -> Self {
        let draw = |what: u64, of: u64| {
            let bytes = hash(&[seed.to_le_bytes(), what.to_le_bytes(), of.to_le_bytes()].concat());
            [bytes[0], bytes[1]]
        };
        let mut ids: Vec<Id> = Vec::new();
        for at in 0.. {
            let id = draw(0, at);
            if !ids.contains(&id) {
                ids.push(id);
            }
            if ids.len() == count {
                break;
            }
        }
        // What a routing table of K contacts a row would hold: so every node can lead nearer to anything.
        let knows = (0..count as u16).map(|node| {
            let mut table = Table::new(ids[usize::from(node)], K);
            for at in 0..count as u16 {
                table.add(Contact::new(ids[usize::from(at)], at, Time::ZERO));
            }
            table.iter().map(|contact| contact.address).collect()
        });
        Self { knows: knows.collect(), target: draw(1, 0), ids }
    }

    fn candidate(&self, node: u16) -> Candidate<2, u16> {
        Candidate { id: self.ids[usize::from(node)], address: node }
    }

    /// Walks from node 0, which is not part of what it finds but by being told; `loss` of 100 requests are lost.
    fn walk(&self, seed: u64, loss: u8, nearest_first: bool) -> (Vec<u16>, usize) {
        let order = if nearest_first { Order::Nearest } else { Order::Newest };
        let rules = QueryRules { k: K, concurrency: 3, order };
        let mut query: Query<2, u16, ()> = Query::new(rules, [0; 2], self.target);
        query.add(&[self.candidate(0)]);
        let (mut flying, mut chance, mut asked) = (Vec::new(), seed, 0);
        loop {
            while let Some(next) = query.poll_candidate() {
                asked += 1;
                flying.push((next, false));
            }
            if query.is_at_end() {
                return (query.closest().iter().map(|replier| replier.address).collect(), asked);
            }
            assert!(!flying.is_empty(), "neither ended nor anything to wait for");
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (chance >> 33) as usize % flying.len();
            // A walk may end without those that are slow, be they the nearest.
            if loss > 0 && chance >> 60 == 0 && !flying[at].1 {
                flying[at].1 = true;
                query.slowed();
                continue;
            }
            let (node, slow) = flying.swap_remove(at);
            if (chance >> 40) % 100 < u64::from(loss) {
                query.failed(node.address, slow);
                continue;
            }
            let mut told: Vec<_> = self.knows[usize::from(node.address)].iter().map(|n| self.candidate(*n)).collect();
            told.sort_by_key(|node| distance(&node.id, &self.target));
            told.truncate(K);
            query.answered(node.address, Some(node.id), true, None, told, slow);
        }
    }
}

#[test]
fn those_who_told_of_a_dead_node_are_named() {
    let rules = QueryRules { k: K, concurrency: 8, order: Order::Newest };
    let mut query: Query<2, u16, ()> = Query::new(rules, [0; 2], [9; 2]);
    let node = |at: u16| Candidate { id: [at as u8; 2], address: at };
    query.add(&[node(1), node(2)]);
    assert_eq!(
        (query.poll_candidate(), query.poll_candidate(), query.poll_candidate()),
        (Some(node(1)), Some(node(2)), None)
    );
    query.answered(1, Some([1; 2]), true, None, [node(3)], false);
    query.answered(2, Some([2; 2]), true, None, [node(3)], false);
    assert_eq!(query.poll_candidate(), Some(node(3)));
    assert_eq!(query.failed(3, false), [1, 2]);
    assert!(query.is_at_end());
    assert_eq!(query.counts(), (3, 2, 1));
}

#[test]
fn a_request_is_sent_again_until_it_is_given_up_and_answered_by_whom_it_asked() {
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let rules = RequestRules { patience: Patience::Fixed(Duration::from_secs(1)), window: 80 };
    let mut requests: Requests<u8, &str> = Requests::new(rules);
    assert_eq!(requests.ask(at(0), 1, "one", 1, 7, |tid| vec![tid as u8]).ok(), Some(7));
    assert_eq!(requests.ask(at(0), 2, "two", 1, 7, |tid| vec![tid as u8]).ok(), Some(8));
    let sent = |requests: &mut Requests<u8, &str>| -> Vec<_> {
        std::iter::from_fn(|| requests.poll_transmit().map(|(to, _, datagram)| (to, datagram))).collect()
    };
    assert_eq!(sent(&mut requests), [(1, vec![7]), (2, vec![8])]);
    assert_eq!(requests.deadline(), Some(at(1000)));
    assert!(requests.expire(at(999)).is_none());
    assert!(requests.answer(at(999), 7, 2).is_none(), "somebody else answers");
    assert_eq!(requests.answer(at(999), 7, 1).map(|pending| pending.purpose), Some("one"));
    assert!(requests.answer(at(999), 7, 1).is_none(), "answered twice");
    assert!(matches!(requests.expire(at(1000)), Some(Expired::Slow(8))));
    assert!(requests.expire(at(1000)).is_none());
    assert_eq!(sent(&mut requests), [(2, vec![8])]);
    assert!(
        matches!(requests.expire(at(2000)), Some(Expired::Failed(pending)) if pending.slow && pending.purpose == "two")
    );
    assert!(requests.is_empty() && requests.deadline().is_none());
}

#[test]
fn a_full_window_holds_requests_back_until_it_turns() {
    let rules = RequestRules { patience: Patience::Fixed(Duration::from_secs(1)), window: 3 };
    let mut requests: Requests<u8, ()> = Requests::new(rules);
    let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
    for tid in 0..20 {
        assert!(requests.ask(Time::ZERO, 1, (), 0, tid, |_| Vec::new()).is_ok());
    }
    let mut now = Time::ZERO;
    loop {
        requests.drain(now);
        while requests.poll_transmit().is_some() {
            *sent.entry(now.as_micros() / 750_000).or_default() += 1;
        }
        while requests.expire(now).is_some() {}
        let Some(next) = requests.deadline() else { break };
        assert!(next > now, "a deadline that never passes");
        now = next;
    }
    assert_eq!(sent.values().sum::<usize>(), 20);
    assert!(sent.values().all(|slot| *slot <= 4), "{sent:?}");
}
