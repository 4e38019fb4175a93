//! What is stored for others: peers, and items of BEP 44.

use anypath_wire::hash;

use super::serving::Refusal;
use super::*;
use crate::classic::compact::encode_peer;

impl Node {
    /// Keeps a peer.
    pub(super) fn announced(
        &mut self,
        now: Time,
        from: SocketAddr,
        token: &[u8],
        info_hash: Id,
        port: u16,
    ) -> Result<(), Refusal> {
        if !self.is_token(now, &from.ip(), token) || port == 0 {
            return Err(Refusal::Protocol);
        }
        let peer = SocketAddr::new(from.ip(), port);
        let who = hash(&encode_peer(&peer));
        if !self.peers.is_fresh(now, &info_hash, &who) {
            self.peers.set(now, info_hash, who, peer, &mut self.chance);
        }
        Ok(())
    }

    /// Returns what is stored under a target; of what may change and is not newer than what the asker has, its number.
    pub(super) fn stored_item(&mut self, now: Time, target: &Id, has: Option<i64>) -> (Option<Item>, Option<i64>) {
        let Some(item) = self.items.renew(now, target) else { return (None, None) };
        match (&item.mutable, has) {
            (Some(mutable), Some(has)) if mutable.seq <= has => (None, Some(mutable.seq)),
            (Some(mutable), _) => {
                let mut told = item.clone();
                // The salt is for who stores; who asks has it.
                told.mutable = Some(crate::classic::Mutable { salt: Vec::new(), cas: None, ..mutable.clone() });
                (Some(told), None)
            }
            (None, _) => (Some(item.clone()), None),
        }
    }

    /// Stores an item.
    pub(super) fn put(&mut self, now: Time, from: &SocketAddr, token: &[u8], item: &Item) -> Result<(), Refusal> {
        if !self.is_token(now, &from.ip(), token) {
            return Err(Refusal::Protocol);
        }
        if item.value.len() > VALUE_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let target = item.target();
        if let Some(mutable) = &item.mutable {
            if mutable.salt.len() > SALT_BYTES_MAX {
                return Err(Refusal::Salt);
            }
            if !item.is_sound() {
                return Err(Refusal::Signature);
            }
            let stored = self.items.renew(now, &target);
            if let Some(Item { value, mutable: Some(stored) }) = stored {
                if mutable.cas.is_some_and(|cas| cas != stored.seq) {
                    return Err(Refusal::Cas);
                }
                if mutable.seq < stored.seq || (mutable.seq == stored.seq && *value != item.value) {
                    return Err(Refusal::Seq);
                }
            }
        }
        self.items.set(now, target, item.clone());
        Ok(())
    }
}

/// Bytes of a value, bencoded: BEP 44.
const VALUE_BYTES_MAX: usize = 1_000;
/// Bytes of a salt: BEP 44.
const SALT_BYTES_MAX: usize = 64;
