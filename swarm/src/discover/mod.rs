//! Finds the peers of topics by several sources at once, and dials them: found twice, or by two sources, a peer is one.
//!
//! ```text
//! source ─► errand, one a topic ─┐
//! source ─► errand               ├─► acquaintances: merges, dials ─► Node
//! source ─► errand               ┘                  └─► News, for whoever reports
//! ```

mod acquaintances;
mod errand;
mod kind;
mod record;
mod source;

use std::sync::Arc;
use std::time::Duration;

use anypath_wire::{Address, Hash};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use kind::{InvalidPlace, Place, SourceKind, UnknownSource};
pub use source::{ANNOUNCE_INTERVAL, BIND_DEFAULT, Serves, Source, SourceConfig, SourceError, Standing};

use crate::Node;
use acquaintances::Acquaintances;
use errand::{Errand, Heard};

/// Sources that look for peers on behalf of a node. Dropped, they end at once, and what they announced stays until it is old.
pub struct Discover {
    node: Arc<Node>,
    sources: Vec<watch::Receiver<Option<Arc<Source>>>>,
    starting: JoinSet<()>,
    heard: mpsc::Sender<Heard>,
    errands: JoinSet<()>,
    leave: watch::Sender<bool>,
}

/// What sources tell.
#[derive(Debug, Clone)]
pub enum News {
    /// How a source fares with a topic, when that is another way than before.
    Status {
        /// The source.
        source: SourceKind,
        /// The topic.
        topic: Hash,
        /// How.
        status: Status,
    },
    /// A source did not start.
    Failed {
        /// The source.
        source: SourceKind,
        /// Why not.
        error: Arc<SourceError>,
    },
    /// A peer was found that was not known before, and is dialled.
    Found {
        /// The source that was first.
        source: SourceKind,
        /// The topic.
        topic: Hash,
        /// Where it takes connections.
        address: Address,
    },
}

/// How a source fares with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nobody it knows answers.
    Unanswered,
    /// So many nodes were asked and answered.
    Asked {
        /// How many.
        nodes: usize,
    },
    /// So many nodes tell others of us.
    Announced {
        /// How many.
        nodes: usize,
    },
    /// So many nodes tell nobody of us any more.
    Forgotten {
        /// How many.
        nodes: usize,
    },
    /// The source ended.
    Ended,
}

impl Discover {
    /// Begins without topics, within the runtime of the caller. The news must be read.
    pub fn new(node: Arc<Node>, sources: Vec<SourceConfig>) -> (Self, mpsc::Receiver<News>) {
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        let (news, told) = mpsc::channel(HEARD_MAX);
        tokio::spawn(Acquaintances::new(node.clone(), news).run(hearing));
        let mut discover = Self {
            node,
            sources: Vec::new(),
            starting: JoinSet::new(),
            heard,
            errands: JoinSet::new(),
            leave: watch::Sender::new(false),
        };
        sources.into_iter().for_each(|source| discover.start(source));
        (discover, told)
    }

    /// Starts a source. No other waits until its names are resolved.
    fn start(&mut self, config: SourceConfig) {
        let (started, source) = watch::channel(None);
        let (kind, heard) = (config.kind, self.heard.clone());
        self.sources.push(source);
        self.starting.spawn(async move {
            match Source::start(config).await {
                Ok(source) => drop(started.send(Some(Arc::new(source)))),
                Err(error) => drop(heard.send(Heard::Failed(kind, Arc::new(error))).await),
            }
        });
    }

    /// Looks for the peers of a topic from now on, and lets them find us if we listen somewhere: by TCP, at the addresses as
    /// they were bound.
    pub fn join(&mut self, topic: Hash, listens: &[Address]) {
        for source in &self.sources {
            let errand = Errand {
                topic,
                identity: self.node.identity().clone(),
                listens: listens.iter().filter(|address| address.scheme == "tcp").cloned().collect(),
                heard: self.heard.clone(),
            };
            let (mut source, mut leave) = (source.clone(), self.leave.subscribe());
            self.errands.spawn(async move {
                let started = tokio::select! {
                    started = source.wait_for(Option::is_some) => started.ok().and_then(|source| source.clone()),
                    _ = leave.changed() => None,
                };
                if let Some(source) = started {
                    errand.run(source, leave).await;
                }
            });
        }
    }

    /// Takes back what was announced, for at most some seconds, and ends.
    pub async fn leave(mut self) {
        self.starting.abort_all();
        self.leave.send_replace(true);
        let all_left = async { while self.errands.join_next().await.is_some() {} };
        drop(timeout(LEAVING_TIME_MAX, all_left).await);
    }
}

/// What is heard and not taken in yet; sources wait then.
const HEARD_MAX: usize = 64;
/// How long leaving may take, all sources together.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(8);
