//! Everything that was ever seen of a proxy, and some of what was not.

use anypath_transports::https::{ProxyError, ReachError};

use crate::scripted::{Act, Asked, Authority, dialer, proxy, reaches, relay};

const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const NAME: &str = "relay.example";

struct Lab {
    authority: Authority,
    relay: u16,
}

async fn lab() -> Lab {
    let authority = Authority::new("Lab");
    let relay = relay(authority.certify(NAME).0).await;
    Lab { authority, relay }
}

impl Lab {
    /// Runs a script; returns what was asked, by connection, and whether the relay was reached.
    async fn play(&self, credentials: &str, script: Vec<Act>) -> (Vec<Vec<String>>, Result<(), ProxyError>) {
        let (port, asked) = proxy(script, self.relay, None).await;
        let dialer = dialer(&format!("http://{credentials}127.0.0.1:{port}"), &self.authority);
        let outcome = match reaches(&dialer, NAME).await {
            Ok(_) => Ok(()),
            Err(ReachError::Proxy(error)) => Err(error),
            Err(error) => panic!("{error}"),
        };
        (taken(&asked), outcome)
    }
}

fn taken(asked: &Asked) -> Vec<Vec<String>> {
    asked.lock().unwrap().clone()
}

fn connect(head: &str) -> Act {
    Act::Connect(head.into(), usize::MAX)
}

/// A refusal with a page of so many bytes.
fn who(challenge: &str, extra: &str, page: usize) -> Act {
    let head = format!(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: {challenge}\r\n{extra}Content-Length: {page}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.extend(std::iter::repeat_n(b'x', page));
    Act::Say(bytes, usize::MAX)
}

/// Returns the value of a header in a head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

const BASIC: &str = "Basic realm=\"x\"";
const DIGEST: &str = "Digest realm=\"x\", nonce=\"one\", qop=\"auth\", algorithm=MD5";

#[tokio::test]
async fn the_host_is_named_and_never_resolved_here() {
    let (asked, outcome) = lab().await.play("", vec![connect(OK)]).await;
    outcome.unwrap();
    let head = &asked[0][0];
    assert!(head.starts_with("CONNECT relay.example:443 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "host"), Some("relay.example:443"));
    assert!(header(head, "user-agent").unwrap().starts_with("anypath/") && !head.contains("uthorization"), "{head}");
}

#[tokio::test]
async fn an_ipv6_literal_stands_in_brackets() {
    let lab = lab().await;
    let relay = relay(lab.authority.certify("::1").0).await;
    let (port, asked) = proxy(vec![connect(OK)], relay, None).await;
    reaches(&dialer(&format!("http://127.0.0.1:{port}"), &lab.authority), "::1").await.unwrap();
    assert!(taken(&asked)[0][0].starts_with("CONNECT [::1]:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn any_kind_of_yes_is_one() {
    let lab = lab().await;
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 201 Made\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
        "HTTP/1.1 200 Only\nLines: end\n\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nProxy-Agent: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        lab.play("", vec![connect(head)]).await.1.unwrap_or_else(|error| panic!("{head:?}: {error}"));
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "y".repeat(500));
    lab().await.play("", vec![Act::Connect(head.into(), 1)]).await.1.unwrap();
}

/// What follows the head in the same packet is the tunnel's: here a hello of TLS 1.3 that makes no sense to the client,
/// which it can only have noticed if it got it.
#[tokio::test]
async fn what_follows_the_head_belongs_to_the_tunnel() {
    let lab = lab().await;
    let (port, _) = proxy(vec![connect(&format!("{OK}nonsense"))], lab.relay, None).await;
    let dialer = dialer(&format!("http://127.0.0.1:{port}"), &lab.authority);
    let error = reaches(&dialer, NAME).await.err().unwrap();
    assert!(matches!(&error, ReachError::Tls(_)) && error.to_string().contains("corrupt"), "{error}");
}

#[tokio::test]
async fn basic_is_answered_on_the_same_connection_and_unasked_from_then_on() {
    let lab = lab().await;
    // The password gives + and / in base64.
    let (port, asked) = proxy(vec![who(BASIC, "", 3_058), connect(OK), connect(OK)], lab.relay, None).await;
    let dialer = dialer(&format!("http://me:%3F%3F%3E%3E~~@127.0.0.1:{port}"), &lab.authority);
    reaches(&dialer, NAME).await.unwrap();
    reaches(&dialer, NAME).await.unwrap();
    let asked = taken(&asked);
    let shown: Vec<Vec<_>> =
        asked.iter().map(|heads| heads.iter().map(|head| header(head, "proxy-authorization")).collect()).collect();
    let answer = Some("Basic bWU6Pz8+Pn5+");
    assert_eq!(shown, [vec![None, answer], vec![answer]]);
}

#[tokio::test]
async fn a_long_page_behind_a_refusal_is_passed_over() {
    for page in [64 << 10, 300 << 10] {
        let (asked, outcome) = lab().await.play("me:pw@", vec![who(BASIC, "", page), connect(OK)]).await;
        outcome.unwrap();
        // The connection is worth some reading, not any amount.
        assert_eq!(asked.len(), if page < 256 << 10 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_up_after_asking_is_called_again() {
    let lab = lab().await;
    let refusal = |extra: &str| format!("HTTP/1.1 407 Who\r\nProxy-Authenticate: {BASIC}\r\n{extra}\r\n");
    for first in [
        who(BASIC, "Connection: close\r\n", 100),
        who(BASIC, "Proxy-Connection: close\r\n", 100),
        Act::HangUp(refusal("").into()),
        Act::HangUp(refusal("Content-Length: 100\r\n").into()),
        Act::HangUp(refusal("").replace("HTTP/1.1", "HTTP/1.0").into()),
    ] {
        let (asked, outcome) = lab.play("me:pw@", vec![first, connect(OK)]).await;
        outcome.unwrap();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(header(&asked[1][0], "proxy-authorization").is_some(), "{asked:?}");
    }
}

#[tokio::test]
async fn a_refusal_in_chunks_keeps_the_connection() {
    let chunked = format!(
        "HTTP/1.1 407 Who\r\nProxy-Authenticate: {BASIC}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let (asked, outcome) = lab().await.play("me:pw@", vec![Act::Say(chunked.into(), 3), connect(OK)]).await;
    outcome.unwrap();
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn digest_is_answered_counted_and_renewed() {
    let lab = lab().await;
    let stale = "Digest realm=\"x\", nonce=\"two\", qop=\"auth\", stale=true";
    let script = vec![who(DIGEST, "", 10), connect(OK), who(stale, "", 10), connect(OK)];
    let (port, asked) = proxy(script, lab.relay, None).await;
    let dialer = dialer(&format!("http://me:pw@127.0.0.1:{port}"), &lab.authority);
    reaches(&dialer, NAME).await.unwrap();
    reaches(&dialer, NAME).await.unwrap();
    let asked = taken(&asked);
    let answer = |connection: usize, at: usize| header(&asked[connection][at], "proxy-authorization").unwrap();
    assert!(answer(0, 1).contains("nonce=\"one\"") && answer(0, 1).contains("nc=00000001"), "{asked:?}");
    assert!(answer(0, 1).contains("uri=\"relay.example:443\""), "{asked:?}");
    assert!(answer(1, 0).contains("nonce=\"one\"") && answer(1, 0).contains("nc=00000002"), "{asked:?}");
    assert!(answer(1, 1).contains("nonce=\"two\"") && answer(1, 1).contains("nc=00000001"), "{asked:?}");
}

#[tokio::test]
async fn credentials_that_were_refused_are_never_shown_again() {
    let lab = lab().await;
    let unauthorized = || Act::HangUp(b"HTTP/1.0 401 Unauthorized\r\n\r\n".to_vec());
    for (challenge, again) in [(BASIC, who(BASIC, "", 10)), (DIGEST, who(DIGEST, "", 10)), (BASIC, unauthorized())] {
        let script = vec![who(challenge, "", 10), again];
        let (port, asked) = proxy(script, lab.relay, None).await;
        let dialer = dialer(&format!("http://me:wrong@127.0.0.1:{port}"), &lab.authority);
        for _ in 0..3 {
            let error = reaches(&dialer, NAME).await.err().unwrap();
            assert!(matches!(&error, ReachError::Proxy(ProxyError::CredentialsRefused { .. })), "{error}");
            assert!(!error.to_string().contains("wrong"));
        }
        let asked = taken(&asked);
        let shown = asked.iter().flatten().filter(|head| header(head, "proxy-authorization").is_some()).count();
        assert_eq!(shown, 1, "{asked:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_calls_every_nonce_old_is_left_soon() {
    let stale = || who("Digest realm=\"x\", nonce=\"n\", qop=\"auth\", stale=true", "", 10);
    let (asked, outcome) = lab().await.play("me:pw@", vec![stale(), stale(), stale()]).await;
    assert!(matches!(outcome, Err(ProxyError::CredentialsRefused { .. })), "{outcome:?}");
    assert_eq!(asked.iter().flatten().count(), 3);
}

#[tokio::test]
async fn who_has_no_credentials_is_told_what_is_missing() {
    let lab = lab().await;
    let outcome = lab.play("", vec![who(BASIC, "", 10)]).await.1;
    assert!(matches!(outcome, Err(ProxyError::AsksWho { schemes, .. }) if schemes == "basic"));
    let outcome = lab.play("me:pw@", vec![who("NTLM", "Proxy-Authenticate: Negotiate\r\n", 10)]).await.1;
    assert!(matches!(outcome, Err(ProxyError::SchemeUnknown { schemes, .. }) if schemes == "ntlm, negotiate"));
    let outcome =
        lab.play("me:pw@", vec![Act::Say(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n".to_vec(), 99)]).await.1;
    assert!(matches!(outcome, Err(ProxyError::SchemeUnknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_no_is_a_no_with_its_status() {
    for status in [302, 403, 502, 503] {
        let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nnono");
        let outcome = lab().await.play("", vec![Act::Say(head.into(), usize::MAX)]).await.1;
        assert!(matches!(outcome, Err(ProxyError::Refused { status: got, .. }) if got == status), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    let lab = lab().await;
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(2_000));
    for act in [
        Act::HangUp(Vec::new()),
        Act::HangUp(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
        Act::HangUp(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        Act::HangUp(b"\0\xff\0".to_vec()),
        Act::HangUp(b"HTTP/9.9 200 OK\r\n\r\n".to_vec()),
        Act::HangUp(long.into()),
        Act::HangUp(many.into()),
        Act::Endless(b"X: y\r\n".to_vec()),
        Act::Endless(b"HTTP/1.1 100 Continue\r\nX: y".to_vec()),
    ] {
        let outcome = lab.play("", vec![act]).await.1;
        assert!(matches!(outcome, Err(ProxyError::Garbled { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn silence_ends_when_the_time_is_over() {
    let lab = lab().await;
    let (port, _) = proxy(vec![Act::Silence], lab.relay, None).await;
    let dialer = dialer(&format!("http://127.0.0.1:{port}"), &lab.authority);
    let error = reaches(&dialer, NAME).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("relay.example:443 was not reached within 3000 ms through the proxy http://127.0.0.1:{port}")
    );
}

#[tokio::test]
async fn a_proxy_may_itself_be_reached_by_tls() {
    let lab = lab().await;
    let (acceptor, _) = lab.authority.certify("localhost");
    let (port, asked) = proxy(vec![who(BASIC, "", 10), connect(OK)], lab.relay, Some(acceptor)).await;
    let dialled = reaches(&dialer(&format!("https://me:pw@localhost:{port}"), &lab.authority), NAME).await.unwrap();
    assert_eq!(dialled.through.as_deref(), Some(format!("https://localhost:{port}").as_str()));
    assert_eq!(taken(&asked).len(), 1);
}
