//! A proxy, as people write it: `http://user:password@proxy.example:3128`.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// A proxy that is asked by CONNECT. Neither `{}` nor `{:?}` shows its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The way to it is TLS as well.
    pub secure: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// What to show it if it asks who is there.
    pub credentials: Option<Credentials>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Text that names no proxy. The text is not repeated, for it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// A kind of proxy that is not spoken here.
    #[error("a proxy of the kind {0}:// is not spoken here: name an http:// or https:// one")]
    Scheme(String),
    /// No host, or a port that is none.
    #[error("this is no proxy: expected http://host:port or http://user:password@host:port")]
    Place,
}

impl FromStr for Proxy {
    type Err = InvalidProxy;

    /// Reads what curl reads: without a scheme it is `http://`, without a port 1080, or 443 behind `https://`; name and
    /// password are percent-decoded; a path says nothing.
    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(InvalidProxy::Scheme(other.chars().filter(char::is_ascii_alphanumeric).collect())),
        };
        // A password may hold an `@`, a host may not; nor may either hold a `/` that is not encoded.
        let rest = rest.split('/').next().unwrap_or("");
        let (credentials, place) = rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place));
        let (host, port) = place_of(place, if secure { 443 } else { 1080 }).ok_or(InvalidProxy::Place)?;
        Ok(Self { secure, host, port, credentials: credentials.map(Credentials::read) })
    }
}

fn place_of(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some("") => port,
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if rest.is_empty() => port,
        None => return None,
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    (!host.is_empty() && host.chars().all(fits)).then(|| (host.to_owned(), port))
}

impl Credentials {
    fn read(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self { user: decoded(user), password: decoded(password) }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secure, host, port, .. } = self;
        let scheme = if *secure { "https" } else { "http" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self}, credentials: {})", if self.credentials.is_some() { "some" } else { "none" })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_reads_is_read() {
        let read = |text: &str| text.parse::<Proxy>().unwrap();
        for (text, shown) in [
            ("proxy.example", "http://proxy.example:1080"),
            ("proxy.example:3128/", "http://proxy.example:3128"),
            ("HTTP://proxy.example:3128/path", "http://proxy.example:3128"),
            ("https://proxy.example", "https://proxy.example:443"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("[fe80::1%25eth0]", "http://[fe80::1%25eth0]:1080"),
        ] {
            assert_eq!(read(text).to_string(), shown, "{text}");
        }
        let Credentials { user, password } = read("http://DOM%5Cme:p%40s:s@w@proxy:1").credentials.unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("DOM\\me", "p@s:s@w"));
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_repeated() {
        for text in
            ["", "http://", "http://me:secret@", "http://me:secret@host:0", "http://me:secret@host:port", "[::1"]
        {
            let error = text.parse::<Proxy>().unwrap_err();
            assert_eq!(error, InvalidProxy::Place, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!("socks5://host:1".parse::<Proxy>(), Err(InvalidProxy::Scheme("socks5".into())));
    }

    #[test]
    fn credentials_are_shown_nowhere() {
        let proxy = "http://me:secret@host:1".parse::<Proxy>().unwrap();
        assert!(!format!("{proxy} {proxy:?} {:?}", proxy.credentials).contains("secret"));
    }
}
