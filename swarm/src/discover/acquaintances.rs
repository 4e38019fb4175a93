//! The peers that were found, each once however many sources name it: dialled, given up, and dialled again when found anew.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Arc;

use anypath_wire::{Address, Hash};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::errand::Heard;
use super::{News, SourceKind, Status};
use crate::Node;

/// Who was found, and what was told of it.
pub(super) struct Acquaintances {
    node: Arc<Node>,
    news: mpsc::Sender<News>,
    dialled: BTreeMap<Address, AbortHandle>,
    told: BTreeMap<(SourceKind, Hash), Status>,
}

impl Acquaintances {
    /// Begins without any.
    pub(super) fn new(node: Arc<Node>, news: mpsc::Sender<News>) -> Self {
        Self { node, news, dialled: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Takes in what sources bring until they end.
    pub(super) async fn run(mut self, mut hearing: mpsc::Receiver<Heard>) {
        while let Some(heard) = hearing.recv().await {
            let news = match heard {
                Heard::Failed(source, error) => Some(News::Failed { source, error }),
                Heard::Status(source, topic, status) => self.fares(source, topic, status),
                Heard::Found(source, topic, address) => self.met(source, topic, address),
            };
            if let Some(news) = news {
                drop(self.news.send(news).await);
            }
        }
    }

    /// Returns what is new in how a source fares; that other nodes answered this time is no news.
    fn fares(&mut self, source: SourceKind, topic: Hash, status: Status) -> Option<News> {
        let before = self.told.insert((source, topic), status);
        let is_same = before.is_some_and(|before| discriminant(&before) == discriminant(&status));
        (!is_same).then_some(News::Status { source, topic, status })
    }

    /// Dials an address unless that is under way already; tells of it if it was not known.
    fn met(&mut self, source: SourceKind, topic: Hash, address: Address) -> Option<News> {
        if self.dialled.len() >= DIALLED_MAX {
            self.dialled.retain(|_, dialling| !dialling.is_finished());
        }
        if self.dialled.len() >= DIALLED_MAX || self.dialled.get(&address).is_some_and(|known| !known.is_finished()) {
            return None;
        }
        let dialling = self.node.try_connect(address.clone(), TRIES);
        let is_new = self.dialled.insert(address.clone(), dialling).is_none();
        is_new.then_some(News::Found { source, topic, address })
    }
}

/// Addresses that are dialled at once: anybody may name any number of them.
const DIALLED_MAX: usize = 128;
/// How often an address fails in a row until it is given up; it is dialled anew if it is found anew.
const TRIES: u32 = 4;
