//! Whether a file already holds what a drive does.

use std::io::{self, Read};
use std::ops::ControlFlow;

use anyhow::Result;
use bytes::Bytes;

use super::drive::{self, BlobId, DriveSource};
use crate::Interrupt;

/// Returns whether the rest of `file` is byte for byte the blob; `false` if the drive has no such bytes.
///
/// The inner error is the file's own, which is a matter of this file alone.
pub(super) fn same(
    file: &mut impl Read,
    drive: &mut dyn DriveSource,
    blob: &BlobId,
    interrupt: &Interrupt,
) -> Result<io::Result<bool>> {
    let mut here = Vec::new();
    let mut outcome = Ok(true);
    let read = drive.read(blob, &mut |there| {
        outcome = begins_with(file, there, &mut here);
        let go_on = matches!(outcome, Ok(true)) && !interrupt.is_asked();
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    interrupt.check()?;
    if matches!(outcome, Ok(true)) && read == drive::Read::Whole {
        outcome = file.read(&mut [0]).map(|beyond| beyond == 0);
    } else if outcome.is_ok() {
        outcome = Ok(false);
    }
    Ok(outcome)
}

fn begins_with(file: &mut impl Read, there: &Bytes, here: &mut Vec<u8>) -> io::Result<bool> {
    here.clear();
    file.take(there.len() as u64).read_to_end(here)?;
    Ok(here == there)
}
