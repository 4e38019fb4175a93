//! What a relay counts, for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use anypath_transports::https::reason;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// What a relay counts; clones count together. Nothing in it names a peer, a key or an address.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Counted>);

struct Counted {
    registry: Registry,
    opened: Counter,
    refused: Family<Label, Counter>,
    over: Family<Label, Counter>,
    circuits_refused: Family<Label, Counter>,
    passed_bytes: Counter,
    sent_again: Counter,
    requests: Family<[(&'static str, String); 2], Counter>,
    connections: Gauge,
    connections_refused: Counter,
    handshakes_failed: Counter,
    sockets: Gauge,
    duplexes: Gauge,
    held: Histogram,
    /// What there is now, read when somebody asks.
    size: [Gauge; 4],
    memory: Gauge,
}

/// One label, with what it says.
type Label = [(&'static str, &'static str); 1];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("anypath_relay");
        let mut of = Names(&mut registry);
        Self(Arc::new(Counted {
            opened: of.count("sessions_opened", "Sessions opened"),
            refused: of.count("sessions_refused", "Sessions refused, by reason"),
            over: of.count("sessions_over", "Sessions that are over, by what ended them"),
            circuits_refused: of.count("circuits_refused", "Circuits refused, by reason"),
            passed_bytes: of.sum("passed", "What was passed on from one peer to another", Unit::Bytes),
            sent_again: of.count("segments_sent_again", "Segments sent more than once, in sessions that are over"),
            requests: of.count("requests", "Requests, by route and status"),
            connections: of.count("connections", "Connections that are open"),
            connections_refused: of.count("connections_refused", "Connections of addresses that had too many"),
            handshakes_failed: of.count("tls_handshakes_failed", "TLS handshakes that came to nothing"),
            sockets: of.count("sockets", "WebSockets that carry a session"),
            duplexes: of.count("duplexes", "Requests open both ways that carry a session"),
            held: of.sum_of(Histogram::new(HELD_SECONDS), "held", "For how long requests were held", Unit::Seconds),
            size: [
                of.count("sessions", "Sessions"),
                of.count("keys", "Keys that are registered"),
                of.count("topics", "Topics that are announced"),
                of.count("circuits", "Pairs of circuits that are joined"),
            ],
            memory: of.sum("memory_resident", "Memory of the process that is in RAM", Unit::Bytes),
            registry,
        }))
    }
}

impl Metrics {
    /// Counts a connection until what is returned is dropped.
    pub(crate) fn connection(&self) -> Present {
        Present::new(&self.0.connections)
    }

    /// Counts a connection of an address that has too many.
    pub(crate) fn connection_refused(&self) {
        self.0.connections_refused.inc();
    }

    /// Counts a TLS handshake that came to nothing.
    pub(crate) fn handshake_failed(&self) {
        self.0.handshakes_failed.inc();
    }

    /// Counts a WebSocket until what is returned is dropped.
    pub(crate) fn socket(&self) -> Present {
        Present::new(&self.0.sockets)
    }

    /// Counts a request that is open both ways until what is returned is dropped.
    pub(crate) fn duplex(&self) -> Present {
        Present::new(&self.0.duplexes)
    }

    /// Counts a session that was opened.
    pub(crate) fn opened(&self) {
        self.0.opened.inc();
    }

    /// Counts a session that was not, for one of the protocol's reasons.
    pub(crate) fn refused(&self, reason: u64) {
        self.0.refused.get_or_create(&[("reason", word(reason))]).inc();
    }

    /// Counts a session that is over, and the segments that it had to send again.
    pub(crate) fn over(&self, by: &'static str, sent_again: u64) {
        self.0.over.get_or_create(&[("by", by)]).inc();
        self.0.sent_again.inc_by(sent_again);
    }

    /// Counts a circuit that was not granted, for one of the protocol's reasons.
    pub(crate) fn circuit_refused(&self, reason: u64) {
        self.0.circuits_refused.get_or_create(&[("reason", word(reason))]).inc();
    }

    /// Counts bytes that went from one peer to another.
    pub(crate) fn passed(&self, bytes: usize) {
        self.0.passed_bytes.inc_by(bytes as u64);
    }

    /// Counts a request that is answered.
    pub(crate) fn request(&self, route: &'static str, status: u16) {
        self.0.requests.get_or_create(&[("route", route.to_owned()), ("status", status.to_string())]).inc();
    }

    /// Notes for how long a request of a session was held.
    pub(crate) fn held(&self, time: Duration) {
        self.0.held.observe(time.as_secs_f64());
    }

    /// Returns all of them in the text format of OpenMetrics; `size` is what there is now.
    pub(crate) fn text(&self, size: [usize; 4]) -> String {
        for (gauge, count) in self.0.size.iter().zip(size) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.memory.set(resident_bytes().unwrap_or_default());
        let mut text = String::new();
        // It fails only if what it writes to does, which is memory.
        encode(&mut text, &self.0.registry).ok();
        text
    }
}

/// Something that is counted as long as it is there.
pub(crate) struct Present(Gauge);

impl Present {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a reason is called.
fn word(reason: u64) -> &'static str {
    match reason {
        reason::UNKNOWN => "unknown",
        reason::NOBODY => "nobody",
        reason::UNPROVEN => "unproven",
        reason::FULL => "full",
        reason::NOT_ADMITTED => "not_admitted",
        reason::RETIRING => "retiring",
        _ => "other",
    }
}

/// Registers metrics as they are made.
struct Names<'a>(&'a mut Registry);

impl Names<'_> {
    fn count<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn sum<M: Metric + Clone + Default>(&mut self, name: &str, help: &str, unit: Unit) -> M {
        self.sum_of(M::default(), name, help, unit)
    }

    fn sum_of<M: Metric + Clone>(&mut self, metric: M, name: &str, help: &str, unit: Unit) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

/// Returns what of this process is in RAM, in bytes, where the system tells.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<i64>().ok()? << 10)
}

/// Where the classes of holding times end, in seconds: round trips, then what proxies are known to cut at.
const HELD_SECONDS: [f64; 9] = [0.01, 0.1, 1.0, 5.0, 10.0, 25.0, 30.0, 40.0, 50.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_counted_is_told() {
        let metrics = Metrics::default();
        metrics.refused(reason::FULL);
        metrics.held(Duration::from_millis(50));
        metrics.passed(9);
        let socket = metrics.socket();
        let text = metrics.text([3, 2, 1, 0]);
        for line in [
            "anypath_relay_sessions_refused_total{reason=\"full\"} 1",
            "anypath_relay_held_seconds_bucket{le=\"0.1\"} 1",
            "anypath_relay_passed_bytes_total 9",
            "anypath_relay_sessions 3",
            "anypath_relay_sockets 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        drop(socket);
        assert!(metrics.text([0; 4]).contains("anypath_relay_sockets 0\n"));
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().unwrap() > 1 << 20);
        }
    }
}
