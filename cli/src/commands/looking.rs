//! Peers found by the key alone, on behalf of a session: sources started, what they tell told on, all of it taken back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use anypath_swarm::Node;
use anypath_swarm::discover::{Discover, News, SourceKind, Status};
use anypath_wire::{Address, Hash};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::drives::Reach;
use crate::{Event, Finding, Report};

/// Sources that look for peers, and what tells of them.
pub(super) struct Looking {
    discover: Discover,
    reporter: JoinHandle<()>,
}

impl Looking {
    /// Starts the sources that are named; `None` if none is. Why one does not start is told.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub(super) fn start(
        runtime: &Runtime,
        node: &Arc<Node>,
        finding: &Finding,
        reach: &Reach,
        report: &Arc<Report>,
    ) -> Result<Option<Self>> {
        let sources = finding.sources().into_iter().map(|kind| finding.config(kind)).collect::<Result<Vec<_>>>()?;
        if sources.is_empty() {
            return Ok(None);
        }
        let _inside = runtime.enter();
        let (discover, news) = Discover::new(node.clone(), sources);
        let reporter = runtime.spawn(tell_all(news, reach.clone(), report.clone()));
        Ok(Some(Self { discover, reporter }))
    }

    /// Looks for the peers of a topic too.
    pub(super) fn join(&mut self, topic: Hash, listens: &[Address]) {
        self.discover.join(topic, listens);
    }

    /// Takes back what was announced, and ends once all is told.
    pub(super) async fn leave(self) {
        self.discover.leave().await;
        drop(timeout(TELLING_TIME_MAX, self.reporter).await);
    }
}

async fn tell_all(mut news: Receiver<News>, reach: Reach, report: Arc<Report>) {
    while let Some(news) = news.recv().await {
        match news {
            News::Status { source, status, .. } => fares(source, status, &reach, &report),
            News::Failed { source, error } => failed(source, &error.to_string(), &reach, &report),
            News::Found { source, address, .. } => {
                reach.dialling(&[address.clone()].into());
                report.event(&Event::Found { source: source.name(), address: &address.to_string() });
            }
        }
    }
}

fn fares(kind: SourceKind, status: Status, reach: &Reach, report: &Report) {
    let (state, nodes, words) = match status {
        Status::Unanswered => ("unanswered", Some(0), "nobody answers".to_owned()),
        Status::Asked { nodes } => ("asked", Some(nodes), format!("{nodes} nodes answered")),
        Status::Announced { nodes } => ("announced", Some(nodes), format!("{nodes} nodes tell of this one")),
        Status::Forgotten { nodes } => ("forgotten", Some(nodes), String::new()),
        _ => return failed(kind, "its node ended", reach, report),
    };
    reach.looking(kind.name(), words);
    report.event(&Event::Source { source: kind.name(), state, nodes, reason: None });
}

fn failed(kind: SourceKind, reason: &str, reach: &Reach, report: &Report) {
    reach.looking(kind.name(), reason.to_owned());
    report.event(&Event::Source { source: kind.name(), state: "failed", nodes: None, reason: Some(reason) });
}

/// How long what was done is still told: nothing is waited for but the output.
const TELLING_TIME_MAX: Duration = Duration::from_secs(1);
