//! What is sent beside a core's requests and answers: blocks unasked, and extension messages.

use anyhow::{Context, Result, ensure};
use anypath_replicate::replicator::Event as CoreEvent;
use anypath_swarm::Event;
use bytes::Bytes;
use tokio::time::timeout;

use super::{HANG_GUARD, RustPeer};

impl RustPeer {
    pub(super) fn take_pushes(&self, core: &str) -> Result<()> {
        self.call(core, |replicator, core| {
            replicator.allow_push(core, true);
            anyhow::Ok(())
        })
    }

    pub(super) fn send_push(&self, core: &str, index: u64) -> Result<()> {
        self.call(core, move |replicator, core| {
            replicator.push(core, &(index..index + 1));
            anyhow::Ok(())
        })
    }

    pub(super) fn listen_to(&mut self, core: &str, name: &str) -> Result<()> {
        let events = self.opened(core)?.node.subscribe();
        self.heard.entry(core.to_owned()).or_insert(events);
        let name = name.to_owned();
        self.call(core, move |replicator, core| {
            replicator.hear(core, &name);
            anyhow::Ok(())
        })
    }

    pub(super) fn say_to_all(&self, core: &str, name: &str, text: &str) -> Result<()> {
        let (name, text) = (name.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        self.call(core, move |replicator, core| {
            let peers: Vec<_> = replicator.remotes(core).map(|remote| remote.peer).collect();
            let said = peers.iter().all(|peer| replicator.say(core, *peer, &name, text.clone()));
            ensure!(said, "somebody does not listen");
            Ok(())
        })
    }

    pub(super) fn next_heard(&mut self, core: &str) -> Result<(String, String)> {
        let id = self.opened(core)?.core;
        let events = self.heard.get_mut(core).context("nobody listens")?;
        let next = async {
            loop {
                match events.recv().await? {
                    Event::Core(CoreEvent::Extension { core, name, message, .. }) if core == id => {
                        return anyhow::Ok((String::from_utf8(name.to_vec())?, String::from_utf8(message.to_vec())?));
                    }
                    _ => {}
                }
            }
        };
        self.runtime.block_on(async { timeout(HANG_GUARD, next).await })?
    }
}
