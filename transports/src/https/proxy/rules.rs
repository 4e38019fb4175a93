//! Which proxy a host is reached through.

use super::no_proxy::NoProxy;
use super::url::{InvalidProxy, Proxy};

/// Says through which proxy a host is reached, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    proxy: Option<Proxy>,
    except: NoProxy,
}

impl Proxies {
    /// Reaches every host without a proxy.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reaches every host through one proxy.
    pub fn all(proxy: Proxy) -> Self {
        Self { proxy: Some(proxy), except: NoProxy::default() }
    }

    /// Does what the environment says, by curl's rules for `https://`: `https_proxy`, `HTTPS_PROXY`, `all_proxy`,
    /// `ALL_PROXY`, the first that is set and not empty; but nothing for hosts in `no_proxy`, or else `NO_PROXY`.
    /// `variable` gives the value of a variable.
    ///
    /// # Errors
    /// If the variable names no proxy that is spoken here.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidProxy> {
        let first = |names: &[&str]| names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
        let proxy = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        let except = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Ok(Self { proxy: proxy.map(|text| text.parse()).transpose()?, except: NoProxy::read(&except) })
    }

    /// Returns the proxy for a host, a name or an IP address without brackets.
    pub fn for_host(&self, host: &str) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.except.has(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(variables: &'static [(&str, &str)]) -> Result<Proxies, InvalidProxy> {
        Proxies::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn used(variables: &'static [(&str, &str)], host: &str) -> Option<String> {
        by(variables).unwrap().for_host(host).map(ToString::to_string)
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let proxy = |name: &str| Some(format!("http://{name}:1"));
        assert_eq!(used(&[], "a"), None);
        assert_eq!(used(&[("https_proxy", "x:1"), ("HTTPS_PROXY", "y:1")], "a"), proxy("x"));
        assert_eq!(used(&[("https_proxy", ""), ("HTTPS_PROXY", "y:1")], "a"), proxy("y"));
        assert_eq!(used(&[("ALL_PROXY", "z:1")], "a"), proxy("z"));
        assert_eq!(used(&[("http_proxy", "x:1"), ("HTTP_PROXY", "x:1")], "a"), None);
        let except = &[("https_proxy", "x:1"), ("NO_PROXY", "relay.lan,127.0.0.0/8")];
        assert_eq!(used(except, "relay.lan"), None);
        assert_eq!(used(except, "127.0.0.1"), None);
        assert_eq!(used(except, "relay.example"), proxy("x"));
        assert_eq!(by(&[("all_proxy", "socks5://x:1")]), Err(InvalidProxy::Scheme("socks5".into())));
    }
}
