//! Whether a file already holds what a drive does.

use std::io::{self, Read};

use anyhow::Result;

use super::drive::{Blob, DriveSource};
use crate::Interrupt;

/// Returns whether the rest of `file` is byte for byte the blob; `false` if the drive has no such bytes.
///
/// The inner error is the file's own, which is a matter of this file alone.
pub(super) fn same(
    file: &mut impl Read,
    drive: &mut dyn DriveSource,
    blob: &Blob,
    interrupt: &Interrupt,
) -> Result<io::Result<bool>> {
    let mut offset = 0;
    let mut here = Vec::new();
    while offset < blob.byte_length {
        interrupt.check()?;
        let Some(there) = drive.read(blob, offset)?.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Ok(false));
        };
        here.clear();
        match file.take(there.len() as u64).read_to_end(&mut here) {
            Ok(_) if here == there => offset += there.len() as u64,
            Ok(_) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(file.read(&mut [0]).map(|beyond| beyond == 0))
}
