//! Hyperdrives of a JavaScript peer, for the tests of the command line.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::JsPeer;
use crate::folder::{Entry, Listing};

/// The state of a drive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveInfo {
    /// Hexadecimal.
    pub key: String,
    /// The blobs core's key in hexadecimal, once known.
    pub content_key: Option<String>,
    /// The metadata core's length.
    pub version: u64,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    executable: bool,
    link: Option<String>,
    bytes: u64,
    sha256: String,
}

/// `drive` is the handle; the drive's cores go by `HANDLE/db` and `HANDLE/blobs`.
impl JsPeer {
    /// Opens somebody's drive by its key in hexadecimal, or the peer's own of that handle.
    pub fn drive_open(&mut self, drive: &str, key: Option<&str>) -> Result<DriveInfo> {
        self.call("drive.open", json!({ "drive": drive, "key": key }))
    }

    /// The same, encrypted with a key in hexadecimal.
    pub fn drive_open_encrypted(&mut self, drive: &str, key: Option<&str>, encryption: &str) -> Result<DriveInfo> {
        self.call("drive.open", json!({ "drive": drive, "key": key, "encryption": encryption }))
    }

    /// Opens a drive, dials the port and fetches everything of the version found there.
    pub fn drive_fetch(&mut self, drive: &str, key: &str, port: u16) -> Result<DriveInfo> {
        self.drive_open(drive, Some(key))?;
        self.drive_pull(drive, port)
    }

    /// Dials the port and fetches everything of the version found there.
    pub fn drive_pull(&mut self, drive: &str, port: u16) -> Result<DriveInfo> {
        self.ask("dial", json!({ "port": port }))?;
        self.call::<Value>("core.wait", json!({ "core": format!("{drive}/db"), "length": 1, "peers": 1 }))?;
        let version = self.call::<DriveInfo>("drive.update", json!({ "drive": drive }))?.version;
        // Older tree nodes too, which the drive's own download leaves out.
        self.ask("core.download", json!({ "core": format!("{drive}/db"), "start": 0, "end": version }))?;
        self.call("drive.download", json!({ "drive": drive }))
    }

    /// Puts everything in a folder.
    pub fn drive_import(&mut self, drive: &str, folder: &Path) -> Result<DriveInfo> {
        self.ask("drive.import", json!({ "drive": drive, "folder": folder }))?;
        self.call("drive.info", json!({ "drive": drive }))
    }

    /// Writes everything into a folder.
    pub fn drive_export(&mut self, drive: &str, folder: &Path) -> Result<()> {
        self.ask("drive.export", json!({ "drive": drive, "folder": folder })).map(drop)
    }

    /// Puts a file of text.
    pub fn drive_put(&mut self, drive: &str, path: &str, text: &str) -> Result<DriveInfo> {
        self.call("drive.put", json!({ "drive": drive, "path": path, "text": text }))
    }

    /// Deletes an entry.
    pub fn drive_del(&mut self, drive: &str, path: &str) -> Result<DriveInfo> {
        self.call("drive.del", json!({ "drive": drive, "path": path }))
    }

    /// Writes entries under keys as they are, however hostile; `js/drives.js` says what an entry holds.
    pub fn drive_raw(&mut self, drive: &str, entries: &Value) -> Result<DriveInfo> {
        self.call("drive.raw", json!({ "drive": drive, "entries": entries }))
    }

    /// Waits for a version.
    pub fn drive_wait(&mut self, drive: &str, version: u64) -> Result<DriveInfo> {
        self.call("drive.wait", json!({ "drive": drive, "version": version }))
    }

    /// Reads every entry and every byte, of an older version if one is given.
    pub fn drive_list(&mut self, drive: &str, version: Option<u64>) -> Result<Listing> {
        let mut fields = json!({ "drive": drive, "hash": true });
        if let Some(version) = version {
            fields["version"] = version.into();
        }
        let listed: Vec<Listed> = self.call("drive.list", fields)?;
        Ok(listed.into_iter().map(|listed| (listed.path.trim_start_matches('/').to_owned(), entry(listed))).collect())
    }
}

fn entry(Listed { executable, link, bytes, sha256, .. }: Listed) -> Entry {
    match link {
        Some(target) => Entry::Link(target),
        None => Entry::File { executable, bytes, sha256 },
    }
}
