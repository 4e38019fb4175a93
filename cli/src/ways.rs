//! Which transports may be used.

use std::fmt;
use std::str::FromStr;

/// The transports that may be used; what is not in it never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways(Vec<String>);

/// What there is.
const KNOWN: [&str; 2] = ["tcp", "https"];

impl Ways {
    /// Returns whether a transport may be used.
    pub(crate) fn allow(&self, transport: &str) -> bool {
        self.0.iter().any(|way| way == transport)
    }
}

impl Default for Ways {
    fn default() -> Self {
        Self(KNOWN.map(str::to_owned).into())
    }
}

impl FromStr for Ways {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        match names.iter().find(|name| !KNOWN.contains(&name.as_str())) {
            Some(name) => Err(format!("{name:?} is no transport: there are {}", KNOWN.join(" and "))),
            None => Ok(Self(names)),
        }
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}
