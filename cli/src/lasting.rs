//! Files of our own that are written whole or not at all, and outlive a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IntoInnerError};
use std::path::Path;

/// Writes a file that only its owner can read, in place of one that may be there. Once it returns the file outlives a
/// power cut; until then the old one does.
///
/// # Errors
/// Those of writing and renaming.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = BufWriter::new(options.open(&fresh)?);
    write(&mut out)?;
    out.into_inner().map_err(IntoInnerError::into_error)?.sync_all()?;
    fs::rename(fresh, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names of the folders on the way to a file outlive a power cut, as far as they are ours to sync.
pub(crate) fn sync_way(path: &Path) {
    path.ancestors().skip(1).take_while(|folder| sync_folder(folder).is_ok()).for_each(drop);
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A folder cannot be opened as a file here, and needs no sync of its own.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace(&path, |out| out.write_all(b"first")).unwrap();
        // What a run that was cut short left behind is no hindrance.
        fs::write(dir.path().join("state.new"), "torn").unwrap();
        let failed = replace(&path, |out| out.write_all(b"half").and(Err(io::Error::other("no"))));
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, |out| out.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        sync_way(&path);
    }
}
