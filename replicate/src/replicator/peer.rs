//! What is known of one peer with respect to one core.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::ranges::Ranges;
use super::remote_blocks::RemoteBlocks;
use super::wants::RemoteWants;
use super::window::Window;
use crate::messages::{Message, Range as RangeMessage, RequestMessage, SyncState};
use crate::{Node, Proof, Request};

/// One peer's end of one core's channel.
#[derive(Debug)]
pub(super) struct Peer {
    /// What its last sync said.
    pub(super) remote: SyncState,
    /// Whether a sync has come at all.
    pub(super) synced: bool,
    /// Which blocks it says it holds.
    pub(super) blocks: RemoteBlocks,
    /// Which regions it wants to hear about.
    pub(super) wants: RemoteWants,
    /// The length of ours that it has confirmed; an upgrade may start only there.
    pub(super) length_acked: u64,
    /// Whether we can prove our longer tree from its length on.
    pub(super) can_upgrade: bool,
    /// The last fork and length of its from which we could.
    pub(super) last_upgradable: Option<(u64, u64)>,
    /// Our requests it has not answered.
    pub(super) window: Window<Pending>,
    /// Tree nodes that the answers in flight will bring.
    pub(super) expected: BTreeSet<u64>,
    /// Answers that rely on others which have not come.
    pub(super) early: Vec<Early>,
    /// Whether requests may rely on `expected`; ends when the peer answers out of order.
    pub(super) predicts: bool,
    /// No block below this one is worth asking this peer for.
    pub(super) cursor: u64,
    /// Whether the search for a block stopped half way.
    pub(super) searching: bool,
    /// Regions for which we sent a want, by number.
    pub(super) regions_wanted: BTreeSet<u64>,
    /// How often the driver has said that time passed.
    pub(super) ticks: u32,
    /// It let a request for a longer tree lapse, and is asked for none before it answers that.
    pub(super) upgrade_lapsed: bool,
    /// Whether `can_upgrade` is to be found out anew.
    pub(super) unjudged: bool,
    /// Whether the manifest alone was asked for.
    pub(super) manifest_asked: bool,
    /// The peer sent wrong data: it is served, but asked nothing more.
    pub(super) paused: bool,
    /// Answers in a row that were no data, since its head changed.
    pub(super) no_data: u32,
    /// What it has not been told yet.
    pub(super) news: News,
    /// Requests and cancels that wait to be sent.
    pub(super) out: VecDeque<Message>,
    /// Regions it asked about, first block and length, that wait for an answer.
    pub(super) regions: VecDeque<(u64, u64)>,
    /// Its requests that wait for an answer.
    pub(super) serving: VecDeque<Asked>,
    /// The name its next extension messages go by, if it is one that is listened for.
    pub(super) extension_heard: Option<Bytes>,
    /// How many of its requests could not be answered by anyone.
    pub(super) requests_invalid: u32,
    /// The length up to which it was told that we hold everything.
    pub(super) announced_whole: u64,
}

/// News for a peer, merged while they wait, so that a peer which reads slowly costs no more than one which reads.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Blocks that we hold no more; told first.
    pub(super) dropped: Ranges,
    /// Blocks that we hold now.
    pub(super) gained: Ranges,
    /// Whether our head, or whether we download, has changed; told last.
    pub(super) sync: bool,
}

impl News {
    /// Says that blocks are gone.
    pub(super) fn drop(&mut self, run: Range<u64>) {
        self.gained.remove(run.clone());
        self.dropped.add(run);
    }

    /// Returns the next piece of news about blocks.
    pub(super) fn next_range(&mut self) -> Option<Message> {
        let dropped = self.dropped.pop_first().map(|run| (true, run));
        let (drop, run) = dropped.or_else(|| self.gained.pop_first().map(|run| (false, run)))?;
        Some(Message::Range(RangeMessage { drop, start: run.start, length: run.end - run.start }))
    }
}

/// One of our requests in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    /// The fork it was made for.
    pub(super) fork: u64,
    /// What was asked.
    pub(super) request: Request,
    /// Whether it relies on another answer in flight.
    pub(super) predicted: bool,
    /// The peer's tick at which it was asked.
    pub(super) asked_at: u32,
    /// Whether others may be asked for it too, since it took too long.
    pub(super) lapsed: bool,
}

impl Pending {
    /// Makes a request that relies on no other.
    pub(super) fn new(fork: u64, request: Request) -> Self {
        Self { fork, request, predicted: false, asked_at: 0, lapsed: false }
    }

    /// Returns whether it has waited too long at that tick.
    pub(super) fn is_late(&self, ticks: u32) -> bool {
        ticks - self.asked_at >= TICKS_MAX
    }
}

/// An answer that cannot be verified yet.
#[derive(Debug)]
pub(super) struct Early {
    /// The request.
    pub(super) pending: Pending,
    /// Its answer.
    pub(super) proof: Proof,
}

impl Early {
    /// Keeps an answer; its block is copied, since a slice would keep the whole frame in memory.
    pub(super) fn new(pending: Pending, mut proof: Proof) -> Self {
        if let Some(block) = &mut proof.block {
            block.value = Bytes::copy_from_slice(&block.value);
        }
        Self { pending, proof }
    }

    /// Returns how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let block = self.proof.block.as_ref();
        block.map_or(0, |block| block.value.len() + block.nodes.len() * size_of::<Node>())
    }
}

/// One of the peer's requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The id it chose.
    pub(super) id: u64,
    /// The fork it means.
    pub(super) fork: u64,
    /// What it asks.
    pub(super) request: Request,
    /// Whether it was taken back.
    pub(super) cancelled: bool,
}

impl Peer {
    /// Makes the state of a channel that has just opened.
    pub(super) fn new() -> Self {
        Self {
            remote: SyncState { uploading: true, downloading: true, ..SyncState::default() },
            synced: false,
            blocks: RemoteBlocks::default(),
            wants: RemoteWants::default(),
            length_acked: 0,
            can_upgrade: true,
            last_upgradable: None,
            window: Window::default(),
            expected: BTreeSet::new(),
            early: Vec::new(),
            predicts: true,
            cursor: 0,
            searching: false,
            regions_wanted: BTreeSet::new(),
            ticks: 0,
            upgrade_lapsed: false,
            unjudged: false,
            manifest_asked: false,
            paused: false,
            no_data: 0,
            news: News::default(),
            out: VecDeque::new(),
            regions: VecDeque::new(),
            serving: VecDeque::new(),
            extension_heard: None,
            requests_invalid: 0,
            announced_whole: 0,
        }
    }

    /// Returns whether it may be asked anything.
    pub(super) fn answers(&self) -> bool {
        self.synced && self.remote.uploading && !self.paused && self.no_data < NO_DATA_MAX
    }

    /// Puts a request into the window and the outbox.
    pub(super) fn ask(&mut self, pending: Pending) {
        let id = self.window.add(Pending { asked_at: self.ticks, ..pending });
        self.out.push_back(Message::Request(RequestMessage {
            id,
            fork: pending.fork,
            priority: 0,
            request: pending.request,
        }));
    }

    /// Looks again at blocks from `index` on.
    pub(super) fn reconsider(&mut self, index: u64) {
        self.cursor = self.cursor.min(index);
    }
}

/// Answers in a row without data after which a peer is asked nothing before its head changes; the reference's figure.
const NO_DATA_MAX: u32 = 32;
/// Ticks after which an unanswered request lapses.
const TICKS_MAX: u32 = 2;
