//! What the machine's sockets do without us: bytes from one thread to another, or through a line, by std alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use anypath_benches::thread_cpu_seconds;

use super::link::local;
use super::stages::Cost;

/// A listener that sends so many bytes, in pieces of that size, to whoever dials; ends with its one peer.
pub(crate) struct Sender {
    thread: thread::JoinHandle<Result<f64>>,
    pub(crate) port: u16,
}

impl Sender {
    /// Begins to listen.
    pub(crate) fn start(bytes: u64, piece_bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind(local(0))?;
        let port = listener.local_addr()?.port();
        let thread = thread::spawn(move || {
            let mut peer = listener.accept()?.0;
            peer.set_nodelay(true)?;
            let (piece, before) = (vec![7; piece_bytes], thread_cpu_seconds());
            let mut left = bytes;
            while left > 0 {
                let now = left.min(piece_bytes as u64);
                peer.write_all(&piece[..now as usize])?;
                left -= now;
            }
            Ok(thread_cpu_seconds() - before)
        });
        Ok(Self { thread, port })
    }

    /// Dials `port`, where the sender is or where a line to it begins, and takes in everything; returns what it took on
    /// either end, sending first.
    pub(crate) fn receive(self, port: u16, bytes: u64) -> Result<(Cost, Cost)> {
        let (begun, before) = (Instant::now(), thread_cpu_seconds());
        let mut peer = TcpStream::connect(local(port))?;
        let mut buffer = vec![0; READ_BYTES];
        let mut got = 0;
        loop {
            match peer.read(&mut buffer)? {
                0 => break,
                count => got += count as u64,
            }
        }
        let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), thread_cpu_seconds() - before);
        ensure!(got == bytes, "{got} of {bytes} bytes came through");
        let sent = self.thread.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        Ok((Cost { seconds, cpu_seconds: sent }, Cost { seconds, cpu_seconds }))
    }
}

/// How much is read at once, as a connection of ours does (`swarm/src/connection.rs`).
const READ_BYTES: usize = 256 << 10;
