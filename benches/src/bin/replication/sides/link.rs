//! A slow and distant line between two ends of this machine: a relay that delays and paces each direction of a stream.
//!
//! Each direction is a pipe of fixed rate with a short queue before it and a fixed delay behind it. The queue is the
//! socket's receive buffer: what does not fit waits at the sender, as before any full line. Nothing is lost and nothing
//! reordered, and the kernel's own congestion control sees a local peer; so whatever goes through meets the same line,
//! whoever sends it, without the chance of a lossy one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// What the line is like, in each direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// From one end to the other.
    pub(crate) delay: Duration,
    /// In bytes.
    pub(crate) bytes_per_second: f64,
}

/// Opens a line to a port of this machine; whoever dials the returned one is at its other end. Lasts as long as this
/// process.
pub(crate) fn lay(line: Line, to: u16) -> io::Result<u16> {
    let listener = socket()?;
    listener.bind(&local(0).into())?;
    listener.listen(8)?;
    let listener = TcpListener::from(listener);
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            if let Err(error) = join(line, &near, to) {
                drop((near.shutdown(Shutdown::Both), error));
            }
        }
    });
    Ok(port)
}

fn join(line: Line, near: &TcpStream, to: u16) -> io::Result<()> {
    let far = socket()?;
    far.connect(&local(to).into())?;
    let far = TcpStream::from(far);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near.try_clone()?)] {
        let (sender, receiver) = channel();
        thread::spawn(move || drop(pace(line, from, &sender)));
        thread::spawn(move || drop(deliver(to, &receiver)));
    }
    Ok(())
}

/// Puts bytes onto the line as fast as it takes them. What is on the line is bounded by rate times delay.
fn pace(line: Line, mut from: TcpStream, onto: &Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
    let mut piece = [0; PIECE_BYTES];
    let mut free_at = Instant::now();
    loop {
        let bytes = from.read(&mut piece)?;
        if bytes == 0 {
            return Ok(());
        }
        // A thread wakes up a little late; that little is made good, no more.
        let earliest = Instant::now().checked_sub(LATENESS).unwrap_or(free_at);
        free_at = free_at.max(earliest) + Duration::from_secs_f64(bytes as f64 / line.bytes_per_second);
        sleep_until(free_at);
        if onto.send((free_at + line.delay, piece[..bytes].to_vec())).is_err() {
            return Ok(());
        }
    }
}

fn deliver(mut to: TcpStream, from: &Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    while let Ok((due, bytes)) = from.recv() {
        sleep_until(due);
        to.write_all(&bytes)?;
    }
    to.shutdown(Shutdown::Write)
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Before it connects: the window that is offered follows from it.
    socket.set_recv_buffer_size(QUEUE_BYTES)?;
    Ok(socket)
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What waits before the line: some 20 ms at 100 Mbit/s, as in a router that is not bloated.
const QUEUE_BYTES: usize = 256 << 10;
/// What is put onto the line at once: 1.3 ms at 100 Mbit/s.
const PIECE_BYTES: usize = 16 << 10;
const LATENESS: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_delivers_all_bytes_late_and_paced() {
        let server = TcpListener::bind(local(0)).unwrap();
        let line = Line { delay: Duration::from_millis(30), bytes_per_second: 4e6 };
        let port = lay(line, server.local_addr().unwrap().port()).unwrap();
        let sent: Vec<u8> = (0..400_000u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let echo = thread::spawn(move || {
            let mut peer = server.accept().unwrap().0;
            let mut question = [0; 1];
            peer.read_exact(&mut question).unwrap();
            peer.write_all(&sent).unwrap();
        });
        let mut peer = TcpStream::connect(local(port)).unwrap();
        let begun = Instant::now();
        peer.write_all(&[1]).unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        echo.join().unwrap();
        // There and back, and 400 kB at 4 MB/s less what the lateness forgives: a line is never faster.
        assert!(begun.elapsed() >= Duration::from_millis(30 + 30 + 100 - 2), "{:?}", begun.elapsed());
        assert!(got == expected);
    }
}
