//! How long it takes from the start of a program to its first block, where nothing but HTTPS passes.

use anyhow::Result;
use anypath_benches::{Figures, Page, Plan, Section, Table, Target};
use anypath_interop::lab::Profile;

use crate::first::Reached;
use crate::place::Place;

pub(crate) struct Start;

impl Section for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        for (profile, name) in CASES {
            let place = Place::build(profile)?;
            let (plain, _other) = (place.lab.plain()?, place.start("hold", &[])?);
            for round in plan.rounds(ROUNDS_MAX) {
                // The machines on the way ask each other for their hardware addresses the first time.
                plain.connect(&place.site)?;
                let Reached { peer, block } = place.ask("fetch", &[])?;
                let (secure, trip) = plain.connect(&place.site)?;
                let (secure, trip) = (secure * 1e3, trip * 1e3);
                let trips = (block - secure) / trip;
                for (what, figure) in [(SECURE, secure), (TRIP, trip), (PEER, peer), (BLOCK, block), (TRIPS, trips)] {
                    figures.add(name, what, figure);
                }
                plan.say(&format!("start, {name}, round {round}: {block:.0} ms, {trips:.1} round trips"));
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("From the start to the first block");
        page.text(INTRODUCTION);
        let mut table =
            Table::new(&["behind", "curl: TLS, ms", "a request, ms", "a peer, ms", "a block, ms", "round trips"]);
        for (_, name) in CASES {
            let of = |what| figures.of(name, what);
            table.row([
                name,
                &of(SECURE)?.text(),
                &of(TRIP)?.text(),
                &of(PEER)?.text(),
                &of(BLOCK)?.text(),
                &of(TRIPS)?.text(),
            ]);
            let target = format!("{name}: round trips from TLS to the first block");
            page.targets.push(Target::at_most(&target, TRIPS_MAX, of(TRIPS)?, ""));
        }
        page.table(&table);
        Ok(page)
    }
}

const CASES: [(Profile, &str); 2] =
    [(Profile::UdpBlocked443, "no proxy"), (Profile::ProxyAuth, "squid, CONNECT, Basic")];
const SECURE: &str = "curl, TLS, ms";
const TRIP: &str = "curl, a request, ms";
const PEER: &str = "a peer, ms";
const BLOCK: &str = "a block, ms";
const TRIPS: &str = "round trips";
const ROUNDS_MAX: usize = 9;
const TRIPS_MAX: f64 = 4.0;

const INTRODUCTION: &str = "\
A program that knows a core's key, and a relay's address and key, fetches a block of 7 bytes from a peer that waits at the
relay, both ends' proof of their keys and the block's verification included. What curl takes for a secure connection to a host
as far away is subtracted, and the rest divided by what a request on that takes. The round trips are: the request that opens
the session; the one that asks for a peer, with the first message of the peers' handshake; the last message of it, with what
is wanted; the request for the block.";
