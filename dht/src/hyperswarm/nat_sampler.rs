//! What a node believes its own address to be, from what others say they see.

use std::net::Ipv4Addr;

/// The last 32 half-samples: each address counts once with its port and once without.
///
/// With n samples (at most 16 count), the address seen oftenest is believed if it was seen at least n - 0, 1, 2 or 3 times,
/// for n below 4, 8, 12 or not. Source: npm nat-sampler 1.0.1.
#[derive(Debug, Clone, Default)]
pub struct NatSampler {
    samples: Vec<usize>,
    counted: Vec<Counted>,
    top: usize,
    size: usize,
    best: [Option<usize>; 2],
    believed: Option<(Ipv4Addr, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    host: Ipv4Addr,
    port: u16,
    hits: usize,
    in_use: usize,
}

impl NatSampler {
    /// Takes a sample.
    pub fn add(&mut self, host: Ipv4Addr, port: u16) {
        let with = self.bump(host, port, 2);
        let without = self.bump(host, 0, 1);
        if self.samples.len() < SAMPLES {
            self.size += 1;
            self.samples.extend([with, without]);
            self.top += 2;
        } else {
            self.top %= SAMPLES;
            for counted in [with, without] {
                let old = std::mem::replace(&mut self.samples[self.top], counted);
                self.top += 1;
                self.counted[old].hits -= 1;
                self.counted[old].in_use -= 1;
            }
        }
        for (best, counted) in self.best.iter_mut().zip([with, without]) {
            if best.is_none_or(|best| self.counted[best].hits < self.counted[counted].hits) {
                *best = Some(counted);
            }
        }
        let reaches = |counted: &Counted| counted.hits >= self.threshold();
        let best = self.best.iter().flatten().map(|at| self.counted[*at]).find(reaches);
        self.believed = best.map(|best| (best.host, best.port));
    }

    /// Returns the host most agree on.
    pub fn host(&self) -> Option<Ipv4Addr> {
        self.believed.map(|(host, _)| host)
    }

    /// Returns the port they agree on; 0 if they do not.
    pub fn port(&self) -> u16 {
        self.believed.map_or(0, |(_, port)| port)
    }

    /// Returns how many samples count.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns how many must agree.
    pub fn threshold(&self) -> usize {
        self.size - (self.size / 4).min(3)
    }

    /// Counts a half-sample with one of the last four like it, or by itself.
    fn bump(&mut self, host: Ipv4Addr, port: u16, back: usize) -> usize {
        for step in 0..4 {
            let at = (SAMPLES + self.top).wrapping_sub(back + 2 * step) % SAMPLES;
            let Some(known) = self.samples.get(at) else { break };
            let counted = &mut self.counted[*known];
            if (counted.host, counted.port) == (host, port) {
                counted.hits += 1;
                counted.in_use += 1;
                return *known;
            }
        }
        let new = Counted { host, port, hits: 1, in_use: 1 };
        // The best so far is remembered although its samples may be gone.
        let is_free = |at: &usize| self.counted[*at].in_use == 0 && !self.best.contains(&Some(*at));
        match (0..self.counted.len()).find(is_free) {
            Some(free) => {
                self.counted[free] = new;
                free
            }
            None => {
                self.counted.push(new);
                self.counted.len() - 1
            }
        }
    }
}

/// Half-samples remembered.
const SAMPLES: usize = 32;
