//! The answer to a Digest challenge. Source: RFC 7616.

use data_encoding::HEXLOWER;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::challenge::Challenge;
use super::url::Credentials;

/// A challenge that can be answered, any number of times.
#[derive(Debug, Clone)]
pub(super) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// The hash is bound to the first nonce as well (`-sess`).
    session: bool,
    /// The proxy knows `qop=auth`; the oldest know none.
    counted: bool,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Digest {
    /// Reads a challenge; nothing if it asks for what is not known here.
    pub(super) fn read(challenge: &Challenge) -> Option<Self> {
        let value = |name| challenge.parameters.get(name);
        let name = value("algorithm").map_or("md5".to_owned(), |name| name.to_ascii_lowercase());
        let session = name.ends_with("-sess");
        let algorithm = match name.trim_end_matches("-sess") {
            "md5" => Algorithm::Md5,
            "sha-256" => Algorithm::Sha256,
            _ => return None,
        };
        let counted = match value("qop") {
            Some(qop) if qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
            None => false,
        };
        let (realm, nonce, opaque) = (value("realm")?.clone(), value("nonce")?.clone(), value("opaque").cloned());
        Some(Self { realm, nonce, opaque, algorithm, session, counted, count: 0 })
    }

    /// Returns the better of two challenges: the one with the stronger hash.
    pub(super) fn better(self, other: Self) -> Self {
        if other.algorithm > self.algorithm { other } else { self }
    }

    /// Returns the header's value that answers for one more request. `client_nonce` is new for each.
    pub(super) fn answer(&mut self, who: &Credentials, method: &str, uri: &str, client_nonce: &str) -> String {
        self.count += 1;
        let count = format!("{:08x}", self.count);
        let hash = |text: String| self.algorithm.hash(&text);
        let Self { realm, nonce, .. } = &*self;
        let mut secret = hash(format!("{}:{realm}:{}", who.user, who.password));
        if self.session {
            secret = hash(format!("{secret}:{nonce}:{client_nonce}"));
        }
        let request = hash(format!("{method}:{uri}"));
        let response = if self.counted {
            hash(format!("{secret}:{nonce}:{count}:{client_nonce}:auth:{request}"))
        } else {
            hash(format!("{secret}:{nonce}:{request}"))
        };
        let mut answer = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}{}",
            quote(&who.user),
            quote(realm),
            quote(nonce),
            quote(uri),
            self.algorithm.name(),
            if self.session { "-sess" } else { "" },
        );
        if self.counted {
            answer += &format!(", qop=auth, nc={count}, cnonce={}", quote(client_nonce));
        } else if self.session {
            answer += &format!(", cnonce={}", quote(client_nonce));
        }
        if let Some(opaque) = &self.opaque {
            answer += &format!(", opaque={}", quote(opaque));
        }
        answer
    }
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => HEXLOWER.encode(&Md5::digest(text)),
            Self::Sha256 => HEXLOWER.encode(&Sha256::digest(text)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

/// Writes a quoted string; what could end a line is left out.
fn quote(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::challenge::challenges;
    use super::*;

    fn answer(challenge: &str, user: &str, password: &str, method: &str, uri: &str, nonce: &str) -> String {
        let who = Credentials { user: user.to_owned(), password: password.to_owned() };
        Digest::read(&challenges(challenge)[0]).unwrap().answer(&who, method, uri, nonce)
    }

    /// RFC 7616, section 3.9.1.
    #[test]
    fn the_examples_of_the_specification_come_out() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let answer = answer(&challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", nonce);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
            assert!(answer.contains("qop=auth, nc=00000001") && answer.contains("opaque=\"FQhe"), "{answer}");
        }
    }

    /// RFC 2069's own example, with the response corrected by its errata.
    #[test]
    fn the_oldest_proxies_are_answered_without_a_count() {
        let challenge = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let answer = answer(challenge, "Mufasa", "CircleOfLife", "GET", "/dir/index.html", "x");
        assert!(answer.contains("response=\"1949323746fe6a43ef61f9606e7febea\""), "{answer}");
        assert!(!answer.contains("qop") && !answer.contains("cnonce"), "{answer}");
    }

    #[test]
    fn names_with_quotes_cannot_break_out() {
        let answer = answer("Digest realm=\"r\", nonce=\"n\"", "a\", uri=\"x\\", "p", "CONNECT", "h:443", "c");
        assert!(answer.starts_with(r#"Digest username="a\", uri=\"x\\", realm="r""#), "{answer}");
    }

    #[test]
    fn what_is_not_known_is_not_answered() {
        for challenge in [
            "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256",
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"r\"",
        ] {
            assert!(Digest::read(&challenges(challenge)[0]).is_none(), "{challenge}");
        }
    }
}
