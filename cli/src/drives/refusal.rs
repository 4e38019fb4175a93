//! What a person is told whose link names something that cannot be read.

use std::error::Error;

use anyhow::anyhow;
use anypath_replicate::bee::BeeError;
use anypath_replicate::core::DecryptError;
use anypath_replicate::drive::DriveError;

use crate::Failure;

/// Returns why entries cannot be read: what the key names is no drive, is encrypted otherwise, or is damaged.
pub(super) fn no_drive(error: DriveError) -> anyhow::Error {
    match (decrypting(&error), &error) {
        (Some(DecryptError::WrongKey { index: 0 } | DecryptError::TooShort { index: 0 }), _) => {
            let message = "the link's encryption key is not the one this drive was encrypted with, if it was at all: \
                check the part of the link behind the #";
            Failure::new("wrong_key", message).into()
        }
        (None, DriveError::Bee(BeeError::Header) | DriveError::ContentKey) => {
            let message = "this key belongs to something that is not a shared folder (a Hyperdrive): check the link";
            Failure::new("not_a_drive", message).into()
        }
        _ => anyhow!(error).context("the drive is damaged"),
    }
}

/// Returns why an encrypted drive is not cloned without its encryption key.
pub(super) fn encrypted() -> anyhow::Error {
    let message = "this drive is encrypted, and the link lacks the key to read it: use the whole link that `share` \
        printed, with its part #encryption=…";
    Failure::new("encrypted", message).into()
}

/// Returns why an encrypted drive cannot be kept without its encryption key: where its contents are, only its header says.
pub(super) fn not_kept_blindly() -> anyhow::Error {
    let message = "this drive is encrypted and of an old kind, which cannot be kept without its key: use the whole link, \
        with its part #encryption=…";
    Failure::new("encrypted", message).into()
}

/// Returns the reason if an error comes from decrypting a block.
pub(super) fn decrypting<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DecryptError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
