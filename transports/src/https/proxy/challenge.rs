//! What a proxy asks for: the challenges in `Proxy-Authenticate`.

use std::collections::BTreeMap;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower case: `basic`, `digest`, `ntlm`, `negotiate`.
    pub(super) scheme: String,
    /// By lower-case name; of one that comes twice, the first.
    pub(super) parameters: BTreeMap<String, String>,
}

/// Reads the challenges of one header; what cannot be read is passed over. Source: RFC 9110, section 11.6.1.
pub(super) fn challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for part in parts(header) {
        let (word, rest) = part.split_once([' ', '\t']).unwrap_or((part, ""));
        // Between a parameter's name and `=` there may be space: that does not make it a scheme.
        let begins = is_token(word) && !rest.trim_start().starts_with('=');
        if begins {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
        }
        let parameter = if begins { rest } else { part };
        if let Some((name, value)) = parameter.split_once('=')
            && let Some(challenge) = challenges.last_mut()
            && is_token(name.trim())
        {
            challenge.parameters.entry(name.trim().to_ascii_lowercase()).or_insert_with(|| unquote(value.trim()));
        }
    }
    challenges
}

/// Cuts at the commas that stand outside quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = |c: char| {
        let cut = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        cut
    };
    text.split(outside).map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn is_token(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

fn unquote(text: &str) -> String {
    let Some(inside) = text.strip_prefix('"') else { return text.to_owned() };
    let mut escaped = false;
    let mut plain = String::with_capacity(inside.len());
    for c in inside.strip_suffix('"').unwrap_or(inside).chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        challenges(header).into_iter().map(|it| (it.scheme, it.parameters.into_iter().collect())).collect()
    }

    fn of(scheme: &str, parameters: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        (scheme.to_owned(), parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn several_challenges_in_one_header_are_told_apart() {
        let header = r#"Negotiate, NTLM TlRMTVNTUAACAA==, Basic realm="a, \"b\" = c", charset="UTF-8", Digest qop="auth,auth-int",nonce = "x" , algorithm=MD5"#;
        assert_eq!(
            read(header),
            [
                of("negotiate", &[]),
                of("ntlm", &[("tlrmtvntuaacaa", "=")]),
                of("basic", &[("charset", "UTF-8"), ("realm", "a, \"b\" = c")]),
                of("digest", &[("algorithm", "MD5"), ("nonce", "x"), ("qop", "auth,auth-int")]),
            ]
        );
    }

    #[test]
    fn nonsense_is_passed_over() {
        for header in ["", ",,,", "=x", "a=b", "\"", "Basic realm=\"open", "Basic \\", "ü=\"x\"", "Basic ,realm"] {
            challenges(header);
        }
        assert_eq!(read("x=1, Basic realm=\"r\", realm=\"s\""), [of("basic", &[("realm", "r")])]);
        assert_eq!(read("Basic realm=\"open"), [of("basic", &[("realm", "open")])]);
    }
}
