//! Who we are, for proxies that ask: what was asked, what is answered, and when not to answer again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::{BASE64, HEXLOWER};
use tokio::sync::watch;

use super::challenge::{Challenge, challenges};
use super::digest::Digest;
use super::url::Credentials;

/// What is known of the one proxy in use, for all connections through it.
///
/// After the first challenge each further connection answers it unasked, which spares a round trip. Credentials that a
/// proxy refused are never shown to it again: many directories lock an account after a few wrong passwords, and redialling
/// goes on for ever.
#[derive(Debug, Default)]
pub(in super::super) struct Wallet {
    known: Mutex<Known>,
    /// Whether the proxy has let us through.
    welcome: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    scheme: Option<Scheme>,
    refused: bool,
}

#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Digest(Digest),
}

/// What becomes of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It can be answered.
    Answer,
    /// The proxy has refused what we have.
    Refused,
    /// It asks for something that is not known here.
    Unknown,
}

impl Wallet {
    /// Returns whether the proxy is known to refuse the credentials.
    pub(super) fn is_refused(&self) -> bool {
        self.known().refused
    }

    /// Returns the name of the scheme that was asked for.
    pub(in super::super) fn scheme(&self) -> Option<&'static str> {
        Some(match self.known().scheme.as_ref()? {
            Scheme::Basic => "basic",
            Scheme::Digest(_) => "digest",
        })
    }

    /// Notes that the proxy has let us through.
    pub(super) fn let_through(&self) {
        self.welcome.send_if_modified(|welcome| !std::mem::replace(welcome, true));
    }

    /// Waits until the proxy has let us through once.
    pub(in super::super) async fn welcome(&self) {
        // The sender is here, so this ends in no other way.
        drop(self.welcome.subscribe().wait_for(|welcome| *welcome).await);
    }

    /// Notes that the proxy refuses the credentials.
    pub(super) fn refuse(&self) {
        self.known().refused = true;
    }

    /// Returns the value of `Proxy-Authorization` for one more request, if any challenge is known.
    pub(super) fn answer(&self, who: &Credentials, method: &str, uri: &str) -> Option<String> {
        match self.known().scheme.as_mut()? {
            Scheme::Basic => {
                Some(format!("Basic {}", BASE64.encode(format!("{}:{}", who.user, who.password).as_bytes())))
            }
            Scheme::Digest(digest) => {
                let mut nonce = [0; 16];
                getrandom::fill(&mut nonce).ok()?;
                Some(digest.answer(who, method, uri, &HEXLOWER.encode(&nonce)))
            }
        }
    }

    /// Notes a challenge; `answered` says that the request had an answer to an earlier one.
    pub(super) fn note<'a>(&self, headers: impl Iterator<Item = &'a str>, answered: bool) -> Verdict {
        let asked: Vec<_> = headers.flat_map(challenges).take(CHALLENGES_MAX).collect();
        let mut known = self.known();
        // A nonce that has grown old is replaced; the credentials behind it were good.
        let stale =
            asked.iter().any(|one| one.parameters.get("stale").is_some_and(|it| it.eq_ignore_ascii_case("true")));
        if answered && !stale {
            known.refused = true;
            return Verdict::Refused;
        }
        known.scheme = best(&asked);
        if known.scheme.is_some() { Verdict::Answer } else { Verdict::Unknown }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chooses what to answer: Digest if it can be, for it does not show the password.
fn best(asked: &[Challenge]) -> Option<Scheme> {
    let digests = asked.iter().filter(|one| one.scheme == "digest").filter_map(Digest::read);
    let digest = digests.reduce(Digest::better).map(Scheme::Digest);
    digest.or_else(|| asked.iter().any(|one| one.scheme == "basic").then_some(Scheme::Basic))
}

/// Returns the names of what is asked for, for people.
pub(super) fn schemes<'a>(headers: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = headers.flat_map(challenges).map(|one| one.scheme).take(CHALLENGES_MAX).collect();
    names.dedup();
    if names.is_empty() { "nothing that can be read".to_owned() } else { names.join(", ") }
}

/// How many challenges are looked at: there are five schemes in use.
const CHALLENGES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Credentials {
        Credentials { user: "me".to_owned(), password: "??>>~~".to_owned() }
    }

    #[test]
    fn basic_is_in_the_ordinary_alphabet() {
        let wallet = Wallet::default();
        assert_eq!(wallet.answer(&who(), "CONNECT", "h:443"), None);
        assert_eq!(wallet.note(["Basic realm=\"x\""].into_iter(), false), Verdict::Answer);
        // The alphabet for URLs would have - and _ here, which no proxy takes.
        assert_eq!(wallet.answer(&who(), "CONNECT", "h:443").unwrap(), "Basic bWU6Pz8+Pn5+");
    }

    #[test]
    fn digest_goes_before_basic_and_the_stronger_before_the_weaker() {
        let wallet = Wallet::default();
        let headers = [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", nonce=\"1\"",
            "Digest realm=\"x\", nonce=\"2\", algorithm=SHA-256",
        ];
        assert_eq!(wallet.note(headers.into_iter(), false), Verdict::Answer);
        let answer = wallet.answer(&who(), "CONNECT", "h:443").unwrap();
        assert!(answer.starts_with("Digest ") && answer.contains("nonce=\"2\""), "{answer}");
    }

    #[test]
    fn a_refusal_is_remembered_and_an_old_nonce_is_none() {
        let wallet = Wallet::default();
        let digest = |nonce: &str, stale: &str| format!("Digest realm=\"x\", nonce=\"{nonce}\"{stale}");
        assert_eq!(wallet.note([digest("1", "").as_str()].into_iter(), false), Verdict::Answer);
        assert_eq!(wallet.note([digest("2", ", stale=TRUE").as_str()].into_iter(), true), Verdict::Answer);
        assert!(wallet.answer(&who(), "CONNECT", "h:443").unwrap().contains("nonce=\"2\"") && !wallet.is_refused());
        assert_eq!(wallet.note([digest("3", "").as_str()].into_iter(), true), Verdict::Refused);
        assert!(wallet.is_refused());
    }

    #[test]
    fn what_is_not_known_is_named() {
        let wallet = Wallet::default();
        assert_eq!(wallet.note(["Negotiate", "NTLM"].into_iter(), false), Verdict::Unknown);
        assert_eq!(schemes(["Negotiate", "NTLM"].into_iter()), "negotiate, ntlm");
    }
}
