//! How others see us by UDP: a relay answers who asks, at two ports, and so tells what a NAT on the way does.
//!
//! ```text
//! question  88 bytes   "anypath?" | 1 if the other port is to answer, else 0 | nonce, 16 bytes | zeros
//! answer    88 bytes   "anypath!" | 0 | nonce | the asker's address as text | zeros
//! ```
//!
//! An answer is as long as its question, so nobody gains by asking in another's name.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

/// What became of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echoes {
    /// How the relay sees us from its two ports: the same twice unless a NAT maps each destination apart.
    pub seen: [SocketAddr; 2],
    /// Whether that is an address of this machine.
    pub is_own: bool,
    /// Whether an answer came from the port that was not asked.
    pub uninvited: bool,
}

/// Returns the answer to a question from there, and whether the other port is to give it; nothing if it is none.
pub fn answer(question: &[u8], from: SocketAddr) -> Option<([u8; BYTES], bool)> {
    let question: &[u8; BYTES] = question.try_into().ok()?;
    if !question.starts_with(QUESTION) {
        return None;
    }
    let mut answer = [0; BYTES];
    answer[..8].copy_from_slice(ANSWER);
    answer[NONCE].copy_from_slice(&question[NONCE]);
    let text = from.to_string();
    answer[NONCE.end..].get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some((answer, question[8] == 1))
}

/// Asks a relay at both of its ports; nothing if no answer comes.
///
/// # Errors
/// If its name is not known here, or nothing can be sent at all.
pub async fn ask(host: &str, ports: [u16; 2]) -> io::Result<Option<Echoes>> {
    let ip = lookup_host((host, ports[0])).await?.next().ok_or(io::ErrorKind::NotFound)?.ip();
    let any: SocketAddr =
        if ip.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let (asking, waiting) = (UdpSocket::bind(any).await?, UdpSocket::bind(any).await?);
    let Some(first) = exchange(&asking, (ip, ports[0]).into(), false).await? else { return Ok(None) };
    let Some(second) = exchange(&asking, (ip, ports[1]).into(), false).await? else { return Ok(None) };
    let uninvited = exchange(&waiting, (ip, ports[0]).into(), true).await?.is_some();
    // What can be bound is ours.
    let is_own = UdpSocket::bind((first.ip(), 0)).await.is_ok();
    Ok(Some(Echoes { seen: [first, second], is_own, uninvited }))
}

/// Asks a few times, for datagrams are lost.
async fn exchange(socket: &UdpSocket, to: SocketAddr, other: bool) -> io::Result<Option<SocketAddr>> {
    let mut question = [0; BYTES];
    question[..8].copy_from_slice(QUESTION);
    question[8] = other.into();
    getrandom::fill(&mut question[NONCE]).map_err(io::Error::other)?;
    for _ in 0..ATTEMPTS {
        socket.send_to(&question, to).await?;
        if let Ok(seen) = timeout(PATIENCE, heard(socket, &question)).await {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// Waits for the answer to a question.
async fn heard(socket: &UdpSocket, question: &[u8; BYTES]) -> SocketAddr {
    let mut answer = [0; BYTES + 1];
    loop {
        // What else comes, errors of the network included, is no answer.
        let Ok((BYTES, _)) = socket.recv_from(&mut answer).await else { continue };
        if let Some(seen) = read(&answer[..BYTES], question) {
            return seen;
        }
    }
}

fn read(answer: &[u8], question: &[u8; BYTES]) -> Option<SocketAddr> {
    if !answer.starts_with(ANSWER) || answer[NONCE] != question[NONCE] {
        return None;
    }
    let text = std::str::from_utf8(&answer[NONCE.end..]).ok()?;
    text.trim_end_matches('\0').parse().ok()
}

/// The length of questions and answers, in bytes: the longest address fits.
pub const BYTES: usize = 88;
const QUESTION: &[u8; 8] = b"anypath?";
const ANSWER: &[u8; 8] = b"anypath!";
/// Where the nonce is.
const NONCE: std::ops::Range<usize> = 9..25;
/// How often is asked, and how long is waited each time: longer than a round trip around the world.
const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nothing_else() {
        let mut question = [3; BYTES];
        question[..8].copy_from_slice(QUESTION);
        for from in ["192.0.2.1:65535", "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535"] {
            let from: SocketAddr = from.parse().unwrap();
            let (answer, other) = answer(&question, from).unwrap();
            assert_eq!((read(&answer, &question), other), (Some(from), false));
            let mut another = question;
            another[NONCE.start] = 4;
            assert_eq!(read(&answer, &another), None);
        }
        assert_eq!(answer(&question[1..], "192.0.2.1:1".parse().unwrap()), None);
        assert_eq!(answer(&[0; BYTES], "192.0.2.1:1".parse().unwrap()), None);
        assert_eq!(read(&question, &question), None);
    }
}
