//! What is known of one peer with respect to one core.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::ranges::Ranges;
use super::remote_blocks::RemoteBlocks;
use super::serving::Serving;
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
    /// No block below these is worth asking this peer for: of all that is wanted, and of what is urgent.
    pub(super) cursors: [u64; 2],
    /// Where the search for a block on its way from others goes on, if it stopped half way.
    pub(super) swap_cursor: u64,
    /// The latest of its requests for blocks that it has answered, by [`Pending::order`].
    pub(super) answered: u64,
    /// Whether the search for a block stopped half way.
    pub(super) searching: bool,
    /// Regions for which we sent a want, by number.
    pub(super) regions_wanted: BTreeSet<u64>,
    /// How often the driver has said that time passed.
    pub(super) ticks: u32,
    /// It let a request for a longer tree lapse, and is asked for none before it answers that.
    pub(super) upgrade_lapsed: bool,
    /// It had no answer to a request for a longer tree and a block, and is asked for the tree alone.
    pub(super) upgrade_alone: bool,
    /// Whether `can_upgrade` is to be found out anew.
    pub(super) unjudged: bool,
    /// Whether it was asked for its whole head, to compare it with ours.
    pub(super) conflict_asked: bool,
    /// How many whole heads it sent.
    pub(super) heads_seen: u32,
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
    pub(super) serving: Serving,
    /// The name its next extension messages go by, unless it was too long.
    pub(super) extension_heard: Bytes,
    /// Blocks that it is to be sent unasked.
    pub(super) pushes: Ranges,
    /// The length to which the proofs lead that it was sent.
    pub(super) pushed_length: u64,
    /// The length to which the proofs led that it sent.
    pub(super) proven_length: u64,
    /// How many blocks in a row it sent unasked and in vain.
    pub(super) pushes_vain: u32,
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
    /// Whether somebody here waits for it.
    pub(super) urgent: bool,
    /// If it is for a block, how many requests for blocks were made before it, of any peer.
    pub(super) order: u64,
    /// The peer's tick at which it was asked.
    pub(super) asked_at: u32,
    /// Whether others may be asked for it too, since it took too long.
    pub(super) lapsed: bool,
}

impl Pending {
    /// Makes a request that relies on no other.
    pub(super) fn new(fork: u64, request: Request) -> Self {
        Self { fork, request, predicted: false, urgent: false, order: 0, asked_at: 0, lapsed: false }
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

/// Returns whether what was asked at one tick of a peer has waited too long at another.
pub(super) fn is_late(asked_at: u32, ticks: u32) -> bool {
    ticks - asked_at >= TICKS_MAX
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
            cursors: [0; 2],
            swap_cursor: 0,
            answered: 0,
            searching: false,
            regions_wanted: BTreeSet::new(),
            ticks: 0,
            upgrade_lapsed: false,
            upgrade_alone: false,
            unjudged: false,
            conflict_asked: false,
            heads_seen: 0,
            manifest_asked: false,
            paused: false,
            no_data: 0,
            news: News::default(),
            out: VecDeque::new(),
            regions: VecDeque::new(),
            serving: Serving::default(),
            extension_heard: Bytes::new(),
            pushes: Ranges::default(),
            pushed_length: 0,
            proven_length: 0,
            pushes_vain: 0,
            requests_invalid: 0,
            announced_whole: 0,
        }
    }

    /// Returns whether it may be asked anything.
    pub(super) fn answers(&self) -> bool {
        self.synced && self.remote.uploading && !self.paused && self.no_data < NO_DATA_MAX
    }

    /// Returns whether it takes in what it is sent, so that it may be asked for more.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < MESSAGES_WAITING_MAX
    }

    /// Puts a request into the window and the outbox; returns its id.
    pub(super) fn ask(&mut self, pending: Pending) -> u64 {
        let id = self.window.add(Pending { asked_at: self.ticks, ..pending });
        self.out.push_back(Message::Request(RequestMessage {
            id,
            fork: pending.fork,
            priority: pending.urgent.into(),
            request: pending.request,
        }));
        id
    }

    /// Looks again at blocks from `index` on.
    pub(super) fn reconsider(&mut self, index: u64) {
        self.cursors = self.cursors.map(|cursor| cursor.min(index));
    }
}

/// Answers in a row without data after which a peer is asked nothing before its head changes; the reference's figure.
const NO_DATA_MAX: u32 = 32;
/// Ticks after which an unanswered request lapses.
const TICKS_MAX: u32 = 2;
/// Messages that may wait for a peer before it is asked for nothing more: more than a full window of requests.
pub(super) const MESSAGES_WAITING_MAX: usize = 8192;
