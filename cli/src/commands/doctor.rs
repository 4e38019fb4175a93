//! `anypath doctor`: what the network lets through on the way to a relay, why not, and what to tell whom.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_transports::https::echo::Echoes;
use anypath_transports::https::{Admits, Descriptor, Rung, Surveyor};
use anypath_wire::Address;
use tokio::runtime::Runtime;

use crate::args::Doctor as Args;
use crate::diagnosis::{Cause, for_it};
use crate::relays::{ProxyChoice, RELAY_SCHEME};
use crate::{Event, Exit, Failure, Report, USAGE};

/// Examines the way to each relay that was named.
///
/// # Errors
/// If what was named is no relay, or a file cannot be read.
pub(super) fn doctor(args: &Args, report: &Report) -> Result<Exit> {
    if let Some(other) = args.via.iter().find(|address| address.scheme != RELAY_SCHEME) {
        return Err(Failure::new(USAGE, format!("{other} is no relay: https://NAME is")).into());
    }
    let runtime = Runtime::new().context("cannot start threads")?;
    if args.via.is_empty() {
        let proxies = args.relays.proxies()?;
        let proxy = proxies.for_host("relay.example").map(ToString::to_string);
        tell(report, "proxy", None, &proxy_found(args, proxy.as_deref()));
        tell(report, "relay", None, "none named: give one by --via https://NAME to see what gets through to it");
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    for relay in &args.via {
        let examination = Examination::new(args, relay, report)?;
        if runtime.block_on(examination.run())?.is_none() {
            exit = Exit::Nobody;
        }
    }
    runtime.shutdown_background();
    Ok(exit)
}

/// One relay's.
struct Examination<'a> {
    args: &'a Args,
    relay: &'a Address,
    report: &'a Report,
    surveyor: Surveyor,
    proxy: Option<String>,
    causes: Vec<Cause>,
}

impl<'a> Examination<'a> {
    fn new(args: &'a Args, relay: &'a Address, report: &'a Report) -> Result<Self> {
        let surveyor = Surveyor::new(args.relays.dialer()?, &relay.host, relay.port);
        let proxy = args.relays.proxies()?.for_host(&relay.host).map(ToString::to_string);
        Ok(Self { args, relay, report, surveyor, proxy, causes: Vec::new() })
    }

    /// Tries everything; returns what the program will use.
    async fn run(mut self) -> Result<Option<&'static str>> {
        self.tell("proxy", None, &proxy_found(self.args, self.proxy.as_deref()));
        let direct = self.direct().await;
        let secure = self.secure().await;
        let descriptor = if secure.is_some() { self.descriptor().await } else { None };
        let uses = match &descriptor {
            Some(descriptor) => {
                self.inspected(secure.as_ref(), descriptor);
                self.datagrams(descriptor, direct).await;
                let requests = self.requests(descriptor).await;
                let (pieces, duplex) = if requests { self.streams(descriptor).await } else { (false, false) };
                let sockets = self.sockets().await;
                self.patience().await;
                let passes = |rung| match rung {
                    Rung::Poll => requests,
                    Rung::Stream => pieces,
                    Rung::Duplex => duplex,
                    Rung::Socket => requests && sockets,
                };
                self.args.relays.rungs().best(passes).map(Rung::name)
            }
            None => None,
        };
        let Self { relay, causes, .. } = &self;
        let for_it = for_it(&relay.host, relay.port, causes);
        self.report.event(&Event::Diagnosis { relay: &relay.to_string(), uses, causes, for_it: &for_it });
        Ok(uses)
    }

    fn tell(&self, check: &str, passes: Option<bool>, detail: &str) {
        tell(self.report, check, passes, detail);
    }

    /// TCP, past every proxy, to the relay's port and another one.
    async fn direct(&mut self) -> bool {
        let port = self.relay.port;
        let knocked = self.surveyor.knock(port).await;
        match &knocked {
            Ok(0) => self.tell("tcp", Some(true), &format!("port {port} is reached directly")),
            Ok(refused) => {
                self.tell("tcp", Some(true), &format!("port {port} is reached directly, after {refused} refusals"));
                self.causes.push(Cause::first_refused(*refused));
            }
            Err(error) => {
                self.tell("tcp", Some(false), &error.to_string());
                self.causes.extend(self.proxy.as_deref().map(Cause::proxy_only));
            }
        }
        if knocked.is_ok() {
            let other = self.surveyor.is_let_through(OTHER_PORT).await;
            let detail = if other { "is reached" } else { "is not reached" };
            self.tell("tcp_other", Some(other), &format!("port {OTHER_PORT} of the same host {detail}"));
            self.causes.extend((!other).then(|| Cause::ports_blocked(port)));
        }
        knocked.is_ok()
    }

    /// TLS, as the program would open it; returns who was seen to have issued the certificate, and its key.
    async fn secure(&mut self) -> Option<(String, Option<[u8; 32]>)> {
        match self.surveyor.line().await {
            Ok(dialled) => {
                let through = dialled.through.map_or(String::new(), |proxy| format!(", through the proxy {proxy}"));
                self.tell("tls", Some(true), &format!("certificate issued by {}{through}", dialled.seen.issuer));
                self.causes.extend(self.surveyor.scheme().map(Cause::proxy_asks));
                Some((dialled.seen.issuer, dialled.seen.key))
            }
            Err(error) => {
                self.tell("tls", Some(false), &error.to_string());
                None
            }
        }
    }

    async fn descriptor(&self) -> Option<Descriptor> {
        match self.surveyor.descriptor(self.relay.key).await {
            Ok(descriptor) => {
                let Descriptor { key, hold_ms_max, body_bytes_max, admits, .. } = &descriptor;
                let access = match admits {
                    Admits::All => "open to all",
                    Admits::Token => "for who has a token",
                    Admits::Keys => "for keys that it was told",
                };
                let limits = format!("holds requests {} s, takes {} KiB", hold_ms_max / 1000, body_bytes_max >> 10);
                self.tell("relay", Some(true), &format!("{key}, {access}, {limits}"));
                Some(descriptor)
            }
            Err(error) => {
                self.tell("relay", Some(false), &error.to_string());
                None
            }
        }
    }

    /// Whether the certificate is the one that the relay says it has.
    fn inspected(&mut self, seen: Option<&(String, Option<[u8; 32]>)>, descriptor: &Descriptor) {
        let Some((issuer, key)) = seen else { return };
        if descriptor.tls_key.is_some() && descriptor.tls_key != *key {
            self.causes.push(Cause::tls_opened(issuer));
        }
    }

    async fn datagrams(&mut self, descriptor: &Descriptor, direct: bool) {
        let Some(ports) = descriptor.echo else {
            return self.tell("udp", None, "the relay does not answer by UDP: not known");
        };
        match self.surveyor.echoes(ports).await {
            Ok(Some(Echoes { seen, is_own, uninvited })) => {
                self.tell("udp", Some(true), &format!("seen as {} and {}", seen[0], seen[1]));
                self.causes.extend((!is_own).then(|| Cause::nat(seen[0] != seen[1], uninvited)));
            }
            Ok(None) => {
                self.tell("udp", Some(false), "no answer");
                self.causes.push(Cause::udp_blocked());
            }
            Err(error) => {
                self.tell("udp", Some(false), &error.to_string());
                self.causes.extend(direct.then(Cause::udp_blocked));
            }
        }
    }

    /// A session by requests that are whole, and how long they may be.
    async fn requests(&mut self, descriptor: &Descriptor) -> bool {
        let token = self.args.relays.token().unwrap_or_default();
        let opened = self.surveyor.requests(descriptor.key, token).await;
        match &opened {
            Ok(took) => self.tell("requests", Some(true), &format!("a session in {} ms", took.as_millis())),
            Err(error) => self.tell("requests", Some(false), &error.to_string()),
        }
        if opened.is_ok()
            && let Ok(bytes) = self.surveyor.body().await
        {
            self.tell("body", Some(true), &format!("requests of {} KiB", bytes >> 10));
            let usual = usize::try_from(descriptor.body_bytes_max).unwrap_or(usize::MAX).min(BODY_BYTES_USUAL);
            self.causes.extend((bytes < usual).then(|| Cause::bodies_refused(bytes)));
        }
        opened.is_ok()
    }

    /// Answers as they are made, and not only when they are complete; and a request over HTTP/2 that is open both ways.
    async fn streams(&mut self, descriptor: &Descriptor) -> (bool, bool) {
        let token = || self.args.relays.token().unwrap_or_default();
        let (surveyor, key) = (&self.surveyor, descriptor.key);
        let (pieces, duplex) = tokio::join!(surveyor.pieces(key, token()), surveyor.duplex(key, token()));
        let pieces = pieces.unwrap_or(false);
        self.tell("stream", Some(pieces), if pieces { "answers come in pieces" } else { "answers come whole" });
        let open = if duplex { "a request may be open both ways" } else { "no request may be open both ways" };
        self.tell("http2", Some(duplex), open);
        self.causes.extend((!pieces).then(Cause::answers_kept));
        (pieces, duplex)
    }

    async fn sockets(&mut self) -> bool {
        let opened = self.surveyor.socket().await;
        self.tell("websocket", Some(opened.is_ok()), opened.as_ref().err().map_or("opens", |why| why));
        self.causes.extend(opened.is_err().then(Cause::upgrades_stripped));
        opened.is_ok()
    }

    /// How connections end, watched for as long as the person wants to wait.
    async fn patience(&mut self) {
        let Some(limit) = self.args.patient else { return };
        let (silence, age) = tokio::join!(self.surveyor.silence(limit), self.surveyor.age(limit));
        let detail = |cut: Option<Duration>| {
            cut.map_or_else(
                || format!("not ended in {} s", limit.as_secs()),
                |cut| format!("ended after {} s", cut.as_secs()),
            )
        };
        for (check, cut, cause) in [
            ("silence", silence.map_err(|error| error.to_string()), Cause::silence_cut as fn(Duration) -> Cause),
            ("age", age.map_err(|error| error.to_string()), Cause::age_cut),
        ] {
            match cut {
                Ok(cut) => {
                    self.tell(check, Some(cut.is_none()), &detail(cut));
                    self.causes.extend(cut.map(cause));
                }
                Err(error) => self.tell(check, None, &error),
            }
        }
    }
}

fn tell(report: &Report, check: &str, passes: Option<bool>, detail: &str) {
    report.event(&Event::Check { check, passes, detail });
}

/// Says which proxy is used, and where that was said.
fn proxy_found(args: &Args, proxy: Option<&str>) -> String {
    let variable = || {
        ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter().find(|name| env::var_os(name).is_some())
    };
    match (&args.relays.proxy, proxy) {
        (None | Some(ProxyChoice::Auto), Some(proxy)) => {
            format!("{proxy}, from the environment ({})", variable().unwrap_or_default())
        }
        (None | Some(ProxyChoice::Auto), None) => "none in the environment for this host".to_owned(),
        (Some(ProxyChoice::None), _) => "none, as it was said".to_owned(),
        (Some(ProxyChoice::This(_)), proxy) => format!("{}, as it was said", proxy.unwrap_or_default()),
    }
}

/// Another port of the relay's host, to see whether others pass: where peers listen. Whether anything does there does not
/// matter.
const OTHER_PORT: u16 = 3282;
/// What requests are as long as if nothing is in the way, in bytes.
const BODY_BYTES_USUAL: usize = 1020 << 10;
