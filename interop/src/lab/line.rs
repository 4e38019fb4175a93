//! A line between two namespaces that is as slow and lossy as wanted: a pair of TAP devices, and a thread that carries
//! Ethernet frames from one to the other. Kernels do not always come with netem; this needs nothing but `/dev/net/tun`.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_tun::Tun;

use super::Namespace;

/// What a line is like, the same in both directions.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// From one end to the other: half a round trip.
    pub delay: Duration,
    /// How many of 10,000 frames are lost.
    pub lost_per_10_000: u64,
    /// In bytes a second.
    pub rate: u64,
}

/// A line at work; it ends when dropped.
#[derive(Debug)]
pub(super) struct Laid {
    /// Closed to end it.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Lays it: each namespace has a device of its name then, not yet up.
    pub(super) fn lay(self, ends: [(&Namespace, &str); 2]) -> Result<Laid> {
        let (ready, laid) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let ends = ends.map(|(namespace, device)| (namespace.entrance(), device.to_owned()));
        let thread = std::thread::spawn(move || {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            let inside = runtime.enter();
            match devices(ends) {
                Ok([a, b]) => {
                    drop(inside);
                    drop(ready.send(Ok(())));
                    runtime.block_on(async {
                        tokio::select! {
                            () = self.carry(&a, &b, 1) => {}
                            () = self.carry(&b, &a, 2) => {}
                            _ = ended => {}
                        }
                    });
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        laid.recv().context("the line's thread is gone")??;
        Ok(Laid { end: Some(end), thread: Some(thread) })
    }

    /// Carries frames one way until a device is gone.
    async fn carry(self, from: &Tun, to: &Tun, seed: u64) {
        let (mut frame, mut chance) = ([0; FRAME_BYTES_MAX], Chance(seed));
        let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        // When the last frame has left this end.
        let mut free = Instant::now();
        loop {
            let due = under_way.front().map(|(due, _)| *due);
            let arrival = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                read = from.recv(&mut frame) => {
                    let Ok(length) = read else { return };
                    let now = Instant::now();
                    if chance.below(10_000) < self.lost_per_10_000 || free > now + QUEUE_TIME_MAX {
                        continue;
                    }
                    free = free.max(now) + Duration::from_nanos(length as u64 * 1_000_000_000 / self.rate);
                    under_way.push_back((free + self.delay, frame[..length].to_vec()));
                }
                () = arrival => {
                    while under_way.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                        let Some((_, frame)) = under_way.pop_front() else { break };
                        // One that the device does not take is one more that is lost.
                        drop(to.send(&frame).await);
                    }
                }
            }
        }
    }
}

/// Makes the devices: each where the thread is that makes it.
fn devices(ends: [(Result<super::namespace::Entrance>, String); 2]) -> Result<[Tun; 2]> {
    let [a, b] = ends.map(|(entrance, name)| {
        entrance?.enter()?;
        let made = Tun::builder().name(&name).tap().build();
        made.context("no TAP device can be made: is there /dev/net/tun?")?.pop().context("no device")
    });
    Ok([a?, b?])
}

impl Drop for Laid {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Numbers that are the same in every run (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The longest frame: what Ethernet has, and its head.
const FRAME_BYTES_MAX: usize = 1_514;
/// How long frames may wait to be sent before further ones are lost, as in a router's queue.
const QUEUE_TIME_MAX: Duration = Duration::from_millis(100);
