//! The repository's own text files.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// A text file of the repository.
pub(crate) struct File {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Returns every text file that a person wrote, by path.
pub(crate) fn repository() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a room lies in the repository");
        let mut files = Vec::new();
        collect(root, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    })
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the repository can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, kind) = (format!("{prefix}{name}"), entry.file_type().expect("a kind of file"));
        if NOT_OURS.contains(&&*name) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() && entry.metadata().is_ok_and(|data| data.len() <= TEXT_BYTES_MAX) {
            // What is no UTF-8 is no text.
            files.extend(fs::read_to_string(entry.path()).ok().map(|text| File { path, text }));
        }
    }
}

/// What nobody writes by hand; a linked worktree has a file `.git`.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules", ".venv"];
/// Larger files are data, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
