//! Requests to plugins of storing nodes.

use anypath_wire::{DecodeError, Decoder, Encode};

/// A request: `string` plugin, `uint` version, `uint` command, `uint` flags, and a `buffer` value if 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRequest {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: u64,
    /// What it shall do.
    pub command: u64,
    /// With what.
    pub value: Option<Vec<u8>>,
}

impl PluginRequest {
    /// Returns the value of the request.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.string(&self.plugin);
        [self.version, self.command, u64::from(self.value.is_some())].into_iter().for_each(|number| out.uint(number));
        if let Some(value) = &self.value {
            out.buffer(value);
        }
        out
    }

    /// Reads the value of a request.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(value);
        let (plugin, version, command) = (from.string()?.to_owned(), from.uint()?, from.uint()?);
        let value = if from.uint()? & 1 != 0 { Some(from.buffer()?.to_vec()) } else { None };
        Ok(Self { plugin, version, command, value })
    }
}
