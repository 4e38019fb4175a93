//! How much goes through a proxy, against what curl moves through the same one.

use anyhow::Result;
use anypath_benches::{Bars, Figures, Page, Plan, Section, Summary, Table, Target, Tone, figure};
use anypath_interop::lab::{Profile, Way};

use crate::ends::Moved;
use crate::place::Place;

pub(crate) struct Rate;

/// What is measured: behind which proxy, by what, and how much of curl's rate is asked for.
struct Case {
    profile: Profile,
    /// What the program is told, and what it must have used.
    rung: &'static str,
    carrier: &'static str,
    name: &'static str,
    asked: f64,
}

impl Section for Rate {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn measure(&self, plan: &Plan, figures: &mut Figures) -> Result<()> {
        let bytes = if plan.long { 256 << 20 } else { 64 << 20 };
        for case in CASES {
            let place = Place::build(case.profile)?;
            let (plain, _other) = (place.lab.plain()?, place.start("serve", &["any"])?);
            for round in plan.rounds(ROUNDS_MAX) {
                for (way, word) in WAYS {
                    let curl = plain.move_bytes(&place.site, way, bytes)?;
                    let ours: Moved = place.ask("move", &[case.rung, word, &bytes.to_string()])?;
                    anyhow::ensure!(ours.carrier.starts_with(case.carrier), "{}: {}", case.name, ours.carrier);
                    let rates = [curl, ours.seconds].map(|seconds| bytes as f64 / seconds / 125_000.0);
                    for (who, rate) in [CURL, OURS].into_iter().zip(rates) {
                        figures.add(&case.named(word), who, rate);
                    }
                    figures.add(&case.named(word), SHARE, 100.0 * rates[1] / rates[0]);
                    figures.note(&case.named(word), &ours.carrier);
                    plan.say(&format!("rate, {}, round {round}: {rates:.1?} Mbit/s", case.named(word)));
                }
            }
        }
        Ok(())
    }

    fn page(&self, figures: &Figures) -> Result<Page> {
        let mut page = Page::new("How much goes through");
        page.text(INTRODUCTION);
        let mut table = Table::new(&["behind, and which way", "carrier", "curl, Mbit/s", "ours, Mbit/s", "of curl's"]);
        let mut bars = Bars::new("Through a proxy, 50 ms, 100 Mbit/s", "% of curl's rate");
        bars.mark(100.0, "curl");
        for case in CASES {
            for (_, word) in WAYS {
                let name = case.named(word);
                let of = |who| figures.of(&name, who);
                let share: Summary = of(SHARE)?;
                let percent = format!("{} %", share.text());
                table.row([name.as_str(), figures.fact(&name), &of(CURL)?.text(), &of(OURS)?.text(), &percent]);
                bars.bar(&name, Tone::Ours, share, &format!("{} Mbit/s", figure(of(OURS)?.median)));
                page.targets.push(Target::at_least(&format!("{name}, against curl"), case.asked, share, " %"));
            }
        }
        page.table(&table);
        page.bars(bars);
        Ok(page)
    }
}

impl Case {
    fn named(&self, way: &str) -> String {
        format!("{}, {way}", self.name)
    }
}

const CASES: [Case; 5] = [
    Case {
        profile: Profile::ProxyAuth,
        rung: "poll",
        carrier: "https/poll",
        name: "squid, CONNECT, requests only",
        asked: 80.0,
    },
    Case {
        profile: Profile::TlsInterceptNoWs,
        rung: "poll",
        carrier: "https/poll",
        name: "squid, interception, requests only",
        asked: 80.0,
    },
    Case {
        profile: Profile::ProxyBuffering,
        rung: "poll",
        carrier: "https/poll",
        name: "mitmproxy, buffering",
        asked: 75.0,
    },
    Case {
        profile: Profile::ProxyAuth,
        rung: "any",
        carrier: "https/",
        name: "squid, CONNECT, what passes",
        asked: 90.0,
    },
    Case {
        profile: Profile::TlsInterceptNoWs,
        rung: "any",
        carrier: "https/",
        name: "squid, interception, what passes",
        asked: 90.0,
    },
];
const WAYS: [(Way, &str); 2] = [(Way::Down, "down"), (Way::Up, "up")];
const CURL: &str = "curl, Mbit/s";
const OURS: &str = "ours, Mbit/s";
const SHARE: &str = "percent of curl's";
const ROUNDS_MAX: usize = 3;

const INTRODUCTION: &str = "\
curl moves a file from or to nginx, with TLS 1.3 and HTTP/1.1, through the proxy of the site; ours moves as many bytes on
one circuit between a peer of the site and another one at the relay's side, which decides nothing about the proxy. Time is
that of the bytes alone, from the first request for them (down: from the first byte, for curl) to the last byte; opening
connections and sessions is not in it. What a circuit carries is encrypted and acknowledged a second time inside TLS.";
