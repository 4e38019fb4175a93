//! Replicators over lines that delay, break and come back, processes that crash, and strangers who lie, flood and
//! withhold: in the end all honest ones hold the same.
//!
//! `ANYPATH_LONG=1` runs 5,000 seeds instead of 200;
//! `ANYPATH_SEED=N` runs that one alone.
#![allow(
    clippy::disallowed_methods,
    clippy::single_range_in_vec_init,
    reason = "the long run is asked for by the environment; a goal is a range, one or more"
)]
#![allow(clippy::unwrap_used)]

#[path = "../hostile_peer/counting.rs"]
mod counting;
mod foe;
mod lies;
mod world;

use counting::held;
use world::World;

#[test]
fn whatever_happens_on_the_way_all_get_what_they_want() {
    let (mut forks, mut runs) = (0, 0);
    for seed in seeds() {
        let mut world = World::new(seed, 0);
        for _ in 0..400 {
            world.act();
        }
        world.heal();
        world.check();
        (forks, runs) = (forks + u64::from(world.has_forked()), runs + 1);
    }
    assert!(forks > runs / 4 || runs == 1, "only {forks} of {runs} runs had a fork");
}

/// Whatever the strangers do: the honest have the same in the end, or have said who kept them from it; books agree
/// throughout, nobody takes for ever, and memory stays small.
#[test]
fn whatever_strangers_do_the_honest_get_what_they_want() {
    let (mut refused, mut ended, mut conflicts, mut runs) = (0, 0, 0, 0);
    for seed in seeds() {
        let before = held();
        let foes = 1 + seed % 4;
        let mut world = World::new(seed, foes);
        for act in 0..2_000 {
            world.act();
            if act % 16 == 0 {
                world.check_books();
            }
            assert!(held() - before < BYTES_MAX, "seed {seed}: {} bytes", held() - before);
        }
        world.heal();
        world.check_books();
        world.check();
        refused += world.named.refused;
        ended += world.named.ended;
        conflicts += u64::from(world.named.conflicts > 0);
        runs += 1;
    }
    let named = refused > runs / 4 && ended > runs / 4 && conflicts > 0;
    assert!(named || runs == 1, "{refused} refused, {ended} ended, {conflicts} conflicts in {runs} runs");
}

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = std::env::var("ANYPATH_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return seed..seed + 1;
    }
    0..if std::env::var_os("ANYPATH_LONG").is_some() { 5_000 } else { 200 }
}

/// Most bytes all nodes of a world, and what its strangers have made them keep, may take: blocks are some 100 KiB.
const BYTES_MAX: isize = 32 << 20;
