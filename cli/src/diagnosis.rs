//! What a network's behaviour is called, and what to ask of those who run it.

use std::time::Duration;

use serde::Serialize;

/// Something about the network that is in the way of peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The word scripts know it by.
    pub code: &'static str,
    /// In words, without a full stop.
    pub detail: String,
    /// What would remove it, as a request, if there is anything to ask for.
    #[serde(skip)]
    pub request: Option<&'static str>,
}

impl Cause {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), request: None }
    }

    fn asking(self, request: &'static str) -> Self {
        Self { request: Some(request), ..self }
    }

    /// No datagram comes back.
    pub(crate) fn udp_blocked() -> Self {
        Self::new("udp_blocked", "UDP does not get through").asking("let UDP through to it, and back, as well")
    }

    /// TCP goes to a few ports alone.
    pub(crate) fn ports_blocked(port: u16) -> Self {
        Self::new("ports_blocked", format!("TCP gets through to port {port}, and not to others"))
    }

    /// Nothing leads there but a proxy.
    pub(crate) fn proxy_only(proxy: &str) -> Self {
        Self::new("proxy_only", format!("nothing leads out but the proxy {proxy}"))
    }

    /// The proxy wants to know who asks.
    pub(crate) fn proxy_asks(scheme: &str) -> Self {
        let code = if scheme == "digest" { "proxy_digest" } else { "proxy_basic" };
        Self::new(
            code,
            format!("the proxy wants a name and a password ({scheme}), and was content with those it was given"),
        )
    }

    /// The certificate is not the relay's own.
    pub(crate) fn tls_opened(issuer: &str) -> Self {
        Self::new(
            "tls_opened",
            format!("TLS is opened on the way, by {issuer}; what peers send stays encrypted inside"),
        )
        .asking("exempt it from TLS inspection: there is nothing to be read inside, and everything gets slower")
    }

    /// Requests for a WebSocket come without what makes them such.
    pub(crate) fn upgrades_stripped() -> Self {
        Self::new("upgrades_stripped", "WebSockets do not get through: the upgrade is taken out of requests")
            .asking("let WebSocket upgrades to it pass")
    }

    /// Answers arrive when they are complete.
    pub(crate) fn answers_kept() -> Self {
        Self::new("answers_buffered", "answers are kept back on the way until they are complete")
            .asking("pass answers from it on as they come, without buffering or scanning them")
    }

    /// Long bodies are refused.
    pub(crate) fn bodies_refused(bytes: usize) -> Self {
        Self::new("bodies_refused", format!("requests are refused if they are longer than {} KiB", bytes >> 10))
    }

    /// Connections without a word on them are ended.
    pub(crate) fn silence_cut(after: Duration) -> Self {
        Self::new("silence_cut", format!("connections are ended after {} s of silence", after.as_secs()))
    }

    /// Connections are ended at an age.
    pub(crate) fn age_cut(after: Duration) -> Self {
        Self::new("age_cut", format!("connections are ended when they are {} s old", after.as_secs()))
    }

    /// The first connections are reset.
    pub(crate) fn first_refused(count: u32) -> Self {
        let detail =
            format!("the first {count} connections were reset, then one was let through, as captive networks do it");
        Self::new("first_refused", detail)
    }

    /// A NAT stands in between.
    pub(crate) fn nat(maps_apart: bool, uninvited: bool) -> Self {
        match (maps_apart, uninvited) {
            (true, _) => {
                Self::new("nat_symmetric", "a NAT gives every destination another port: peers cannot dial this machine")
            }
            (false, true) => Self::new("nat_fullcone", "a NAT lets everybody answer at the port that it gave"),
            (false, false) => Self::new("nat_cone", "a NAT lets only those answer who were written to"),
        }
    }
}

/// Returns what to send to the network's own people.
pub(crate) fn for_it(host: &str, port: u16, causes: &[Cause]) -> String {
    let requests: Vec<_> = causes.iter().filter_map(|cause| cause.request).collect();
    let wishes = match &requests[..] {
        [] => "Nothing more is needed.".to_owned(),
        some => format!("It would help, and is not needed, to {}.", some.join("; to ")),
    };
    let place = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
    format!(
        "Please allow HTTPS to {host}, port {port} (TCP). It is a relay of anypath, a program that replicates folders \
         between people who have agreed to share them; https://{place}/ says who runs it and whom to ask. All that the \
         program sends there are ordinary HTTPS requests. What they carry is encrypted from end to end and can be read by \
         nobody but the two who share; the relay keeps none of it. {wishes}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_for_is_asked_for() {
        let text = for_it("relay.example", 443, &[Cause::ports_blocked(443), Cause::udp_blocked()]);
        assert!(
            text.contains("relay.example, port 443") && text.ends_with("to let UDP through to it, and back, as well.")
        );
        assert!(for_it("relay.example", 443, &[]).ends_with("Nothing more is needed."));
        assert!(for_it("relay.example", 8443, &[]).contains("https://relay.example:8443/ says"));
    }
}
