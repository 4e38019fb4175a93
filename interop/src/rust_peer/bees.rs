//! Bees of our peer: utf-8 keys, JSON values; what is missing of one is fetched and waited for.

use anyhow::{Context, Result, bail};
use anypath_replicate::bee::{Bee, BeeError, Change, Entry, Need, Range};
use anypath_replicate::core::Core;
use anypath_replicate::replicator::Replicator;
use anypath_replicate::{Blocks, Plaintext};
use bytes::Bytes;
use serde_json::Value;

use super::RustPeer;
use crate::{CoreInfo, Peer};

impl RustPeer {
    /// Writes the header of a bee that we may write and that has none.
    pub(super) fn begin_bee(&mut self, bee: &str) -> Result<CoreInfo> {
        if self.info(bee)?.writable {
            let key = self.opened(bee)?.encryption;
            let create = move |replicator: &mut Replicator, core| {
                Bee::default().create(&mut replicator.plaintext_writer(core, key.as_ref()))
            };
            self.call(bee, create)?;
        }
        self.info(bee)
    }

    pub(super) fn change_bee(&mut self, bee: &str, changes: &[(String, Option<Value>)]) -> Result<u64> {
        let change = |(key, value): &(String, Option<Value>)| {
            let key = Bytes::from(key.clone());
            match value {
                Some(value) => Change::Put { key, value: value.to_string().into() },
                None => Change::Delete { key },
            }
        };
        let changes: Vec<Change> = changes.iter().map(change).collect();
        let mut state = self.bees.remove(bee).with_context(|| format!("no bee opened as {bee}"))?;
        let key = self.opened(bee)?.encryption;
        let (state, outcome) = self.call(bee, move |replicator, core| {
            let outcome = state.apply(&mut replicator.plaintext_writer(core, key.as_ref()), &changes);
            anyhow::Ok((state, outcome))
        })?;
        self.bees.insert(bee.to_owned(), state);
        match outcome? {
            Need::Ready(version) => Ok(version),
            Need::Missing(blocks) => bail!("our own bee lacks blocks {blocks:?}"),
        }
    }

    pub(super) fn look_up_in_bee(&mut self, bee: &str, key: &str) -> Result<Option<Value>> {
        let key = key.to_owned();
        let entry = self.ask_bee(bee, move |bee, core| bee.get(core, core.length(), key.as_bytes()))?;
        entry.map(|entry| Ok(pair(entry)?.1)).transpose()
    }

    pub(super) fn list_bee(&mut self, bee: &str, version: Option<u64>) -> Result<Vec<(String, Value)>> {
        let list = move |bee: &mut Bee, core: &Plain<'_>| {
            bee.range(core, version.unwrap_or_else(|| core.length()), Range::all())
        };
        self.ask_bee(bee, list)?.into_iter().map(pair).collect()
    }

    /// Asks until no block is missing for the answer.
    fn ask_bee<T, F>(&mut self, bee: &str, ask: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Bee, &Plain<'_>) -> Result<Need<T>, BeeError> + Clone + Send + 'static,
    {
        loop {
            let mut state = self.bees.remove(bee).with_context(|| format!("no bee opened as {bee}"))?;
            let ask = ask.clone();
            let (state, need) = self.read_plaintext(bee, move |core| {
                let need = ask(&mut state, core);
                (state, need)
            })?;
            self.bees.insert(bee.to_owned(), state);
            match need? {
                Need::Ready(answer) => return Ok(answer),
                Need::Missing(blocks) => blocks.into_iter().try_for_each(|seq| self.download(bee, seq, seq + 1))?,
            }
        }
    }
}

/// A core of ours as a bee sees it.
type Plain<'a> = Plaintext<&'a Core>;

fn pair(entry: Entry) -> Result<(String, Value)> {
    let key = String::from_utf8(entry.key.to_vec())?;
    let value = entry.value.with_context(|| format!("{key} has no value"))?;
    Ok((key, serde_json::from_slice(&value)?))
}
