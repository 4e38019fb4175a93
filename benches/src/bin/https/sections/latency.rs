//! How long small messages take, alone and beside bulk.

use anyhow::Result;
use anypath_benches::{Figures, Page, Plan, Section, Summary, Table, Target};
use anypath_interop::lab::Profile;

use crate::ends::Trips;
use crate::place::{LINE, Place};

pub(crate) struct Latency;

impl Section for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        for (profile, name) in CASES {
            let place = Place::build(profile)?;
            let _other = place.start("serve", &["any"])?;
            for round in plan.rounds(ROUNDS_MAX) {
                for bulk in BULK {
                    let Trips { up, down } = place.ask("ping", &["poll", bulk])?;
                    let both = up.iter().zip(&down).map(|(up, down)| up + down).collect();
                    for (what, times) in [(UP, up), (DOWN, down), (BOTH, both)] {
                        let [middle, late] = [50, 95].map(|percent| percentile(&times, percent));
                        figures.add(&case(name, bulk), &quantity(what, 50), middle);
                        figures.add(&case(name, bulk), &quantity(what, 95), late);
                    }
                    let late = figures.of(&case(name, bulk), &quantity(DOWN, 95))?.text();
                    plan.say(&format!("latency, {}, round {round}: down, 95 %: {late} ms", case(name, bulk)));
                }
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("How long small messages take by requests alone");
        page.text(INTRODUCTION);
        let mut table = Table::new(&["behind", "up, ms", "95 %", "down, ms", "95 %", "both, ms", "95 %"]);
        for (_, name) in CASES {
            for bulk in BULK {
                let of = |what, percent| figures.of(&case(name, bulk), &quantity(what, percent));
                let mut row = vec![case(name, bulk)];
                for what in [UP, DOWN, BOTH] {
                    row.push(of(what, 50)?.text());
                    row.push(of(what, 95)?.text());
                }
                table.row(row);
            }
            let late = figures.of(&case(name, "none"), &quantity(DOWN, 95))?;
            let asked = LINE.delay.as_secs_f64() * 1e3 + PUSH_MS;
            page.targets.push(Target::at_most(&format!("{name}: a push, 95 %"), asked, late, " ms"));
            let idle = figures.of(&case(name, "none"), &quantity(BOTH, 50))?.median;
            for bulk in &BULK[1..] {
                let ratio: Summary = figures.each(&case(name, bulk), &quantity(BOTH, 50), |busy| busy / idle)?;
                page.targets.push(Target::at_most(
                    &format!("{name}: a round trip beside bulk {bulk}, against the idle one"),
                    BUSY_RATIO,
                    ratio,
                    "",
                ));
            }
        }
        page.table(&table);
        Ok(page)
    }
}

fn case(name: &str, bulk: &str) -> String {
    if bulk == "none" { name.to_owned() } else { format!("{name}, beside bulk {bulk}") }
}

fn quantity(what: &str, percent: usize) -> String {
    format!("{what}, {percent} %, ms")
}

fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

const CASES: [(Profile, &str); 3] = [
    (Profile::UdpBlocked443, "no proxy"),
    (Profile::TlsInterceptNoWs, "squid, interception"),
    (Profile::ProxyBuffering, "mitmproxy, buffering"),
];
const BULK: [&str; 3] = ["none", "down", "up"];
const UP: &str = "up";
const DOWN: &str = "down";
const BOTH: &str = "both";
const ROUNDS_MAX: usize = 3;
/// What a push may take beyond the line's delay, in milliseconds.
const PUSH_MS: f64 = 10.0;
const BUSY_RATIO: f64 = 3.0;

const INTRODUCTION: &str = "\
Each 20 ms a message of 9 bytes goes up a circuit, and comes back from the peer with the time at which it was there; 300 of
them a round. Beside them, nothing or bulk goes through another circuit of the same session, as much as passes. Up is from
the site behind the proxy, down is a push to it: what waits for a held request. Medians and 95th percentiles of each round.";
