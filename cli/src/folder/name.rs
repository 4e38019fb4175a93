//! Names of entries: which of those that a stranger's drive may hold can stand in a folder, and where links may point.

use std::fmt;
use std::path::{Path, PathBuf};

use anypath_wire::hash;
use data_encoding::HEXLOWER;
use thiserror::Error;

/// A name that stays inside the folder it is restored into: `/a/b`, each part a plain file name.
///
/// The same rule holds for what is shared, so that whatever one `anypath` shares another can clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// Why a name cannot stand in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadName {
    /// Not `/` first.
    #[error("the name does not start with a slash")]
    NotRooted,
    /// `//`, a slash at the end, or nothing at all.
    #[error("a part of the name is empty")]
    Empty,
    /// `.` or `..`.
    #[error("the name has a part \".\" or \"..\", which would lead elsewhere")]
    Dots,
    /// A backslash, which separates folders on Windows and in JavaScript drives.
    #[error("the name has a backslash, which other machines take for a folder")]
    Backslash,
    /// A control character, NUL among them.
    #[error("the name has a control character")]
    Control,
    /// A part that no file system takes.
    #[error("a part of the name is longer than {PART_BYTES_MAX} bytes")]
    PartTooLong,
    /// The whole name.
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Too many folders in one another.
    #[error("the name lies in more than {DEPTH_MAX} folders")]
    TooDeep,
    /// The names of this program's own unfinished files.
    #[error("the name is one that anypath gives to its own unfinished files")]
    Ours,
    /// A device or a character that Windows keeps for itself.
    #[error("Windows does not take this name")]
    Windows,
    /// Bytes that are not UTF-8, as a folder here may hold.
    #[error("the name is not valid UTF-8")]
    NotUtf8,
}

/// Why a symbolic link cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadLink {
    /// `/…`, or a drive letter.
    #[error("the link points to an absolute path")]
    Absolute,
    /// More `..` than there are folders above it.
    #[error("the link points outside the folder")]
    Outside,
    /// `..` behind a folder's name: where it leads depends on whether that folder is a link itself.
    #[error("the link goes down and up again, so that nobody can say where it leads")]
    Winding,
    /// Empty, with a control character or a backslash, or too long.
    #[error("the link's target is not a path")]
    NotAPath,
}

impl Name {
    /// Checks an entry's name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let parts = text.strip_prefix('/').ok_or(BadName::NotRooted)?;
        if text.len() > NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        if parts.split('/').count() > DEPTH_MAX {
            return Err(BadName::TooDeep);
        }
        parts.split('/').try_for_each(check_part)?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the text, which starts with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the folders on the way, outermost first, and the last part.
    pub fn split(&self) -> (Vec<&str>, &str) {
        let mut parts: Vec<&str> = self.0.split('/').skip(1).collect();
        let last = parts.pop();
        (parts, last.unwrap_or_default())
    }

    /// Returns where this name stands in a folder.
    pub fn under(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0[1..])
    }

    /// Returns the name, beside it, of its unfinished file: the same in each run, so that no rest is ever left over.
    pub fn unfinished(&self) -> String {
        format!("{UNFINISHED}{}", &HEXLOWER.encode(&hash(self.0.as_bytes()))[..16])
    }

    /// Checks whether a link under this name may point there and stay in the folder, whatever else the drive holds.
    ///
    /// `..` counts only at the front: there it climbs from the link's own, real folder. Behind a name it would climb
    /// from wherever that name leads, and two harmless links together could leave.
    ///
    /// # Errors
    /// The rule that the target breaks.
    pub fn check_link(&self, target: &str) -> Result<(), BadLink> {
        let drive_letter = target.as_bytes().get(1) == Some(&b':');
        if target.starts_with(['/', '\\']) || drive_letter {
            return Err(BadLink::Absolute);
        }
        if target.is_empty() || target.len() > NAME_BYTES_MAX || target.contains(|c: char| c.is_control() || c == '\\')
        {
            return Err(BadLink::NotAPath);
        }
        let parts = || target.split('/').filter(|part| !matches!(*part, "" | "."));
        let climbs = parts().take_while(|part| *part == "..").count();
        if climbs > self.split().0.len() {
            return Err(BadLink::Outside);
        }
        if parts().skip(climbs).any(|part| part == "..") { Err(BadLink::Winding) } else { Ok(()) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a file in a folder is this program's own unfinished one.
pub(super) fn is_unfinished(part: &str) -> bool {
    part.starts_with(UNFINISHED)
}

/// Checks one part of a name, without slashes.
pub(super) fn check_part(part: &str) -> Result<(), BadName> {
    match part {
        "" => Err(BadName::Empty),
        "." | ".." => Err(BadName::Dots),
        _ if part.contains(char::is_control) => Err(BadName::Control),
        _ if part.contains('\\') => Err(BadName::Backslash),
        _ if part.len() > PART_BYTES_MAX => Err(BadName::PartTooLong),
        _ if is_unfinished(part) => Err(BadName::Ours),
        _ if cfg!(windows) && !windows_takes(part) => Err(BadName::Windows),
        _ => Ok(()),
    }
}

fn windows_takes(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let device = WINDOWS_DEVICES.contains(&stem.as_str())
        || ["COM", "LPT"].iter().any(|port| {
            stem.strip_prefix(port).is_some_and(|rest| rest.chars().count() == 1 && rest.contains(WINDOWS_PORTS))
        });
    !device && !part.contains(['<', '>', ':', '"', '|', '?', '*']) && !part.ends_with(['.', ' '])
}

/// What our unfinished files' names start with.
const UNFINISHED: &str = ".anypath-unfinished-";
/// The longest part, in bytes: what Linux, macOS and Windows file systems take.
pub(super) const PART_BYTES_MAX: usize = 255;
/// The longest name, in bytes: what a Linux program can open by its path.
pub(super) const NAME_BYTES_MAX: usize = 4096;
/// The most parts of a name: each costs an open folder while restoring, of which a process usually has 1024.
pub(super) const DEPTH_MAX: usize = 128;
/// Names that Windows keeps for devices, whatever their extension.
const WINDOWS_DEVICES: &[&str] = &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
/// The digits of Windows' serial and parallel ports.
const WINDOWS_PORTS: &[char] = &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '¹', '²', '³'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_of_any_language_stand() {
        for text in ["/a", "/a/b.txt", "/..a/b..", "/ä/日本/ /…", "/-rf", "/a:b*?"] {
            assert_eq!(Name::parse(text).map(|name| name.to_string()), Ok(text.to_owned()));
        }
        assert!(Name::parse(&format!("/{}", "é".repeat(127))).is_ok());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/x".repeat(DEPTH_MAX + 1);
        let whole = format!("/{}", "x".repeat(200)).repeat(25);
        let cases = [
            ("", BadName::NotRooted),
            ("a", BadName::NotRooted),
            ("../a", BadName::NotRooted),
            ("C:/a", BadName::NotRooted),
            ("/", BadName::Empty),
            ("//etc/passwd", BadName::Empty),
            ("/a//b", BadName::Empty),
            ("/a/", BadName::Empty),
            ("/..", BadName::Dots),
            ("/a/../../b", BadName::Dots),
            ("/./a", BadName::Dots),
            ("/a\\b", BadName::Backslash),
            ("/..\\..\\a", BadName::Backslash),
            ("/a\0", BadName::Control),
            ("/a\nb", BadName::Control),
            ("/a\u{1b}[31m", BadName::Control),
            ("/a\u{85}", BadName::Control),
            (&long, BadName::PartTooLong),
            (&whole, BadName::TooLong),
            (&deep, BadName::TooDeep),
            ("/a/.anypath-unfinished-0123456789abcdef", BadName::Ours),
        ];
        for (text, expected) in cases {
            assert_eq!(Name::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn links_may_not_leave_even_by_way_of_other_links() {
        let name = Name::parse("/a/b/link").unwrap();
        for target in ["x", "./x/y", "../x", "../../x", "..", "x/", "..."] {
            assert_eq!(name.check_link(target), Ok(()), "{target}");
        }
        assert_eq!(name.check_link("../../../x"), Err(BadLink::Outside));
        assert_eq!(name.check_link(".././../.."), Err(BadLink::Outside));
        assert_eq!(name.check_link("x/../y"), Err(BadLink::Winding));
        assert_eq!(name.check_link("/etc"), Err(BadLink::Absolute));
        assert_eq!(name.check_link("\\\\server\\share"), Err(BadLink::Absolute));
        assert_eq!(name.check_link("C:x"), Err(BadLink::Absolute));
        for target in ["", "a\0b", "a\\..\\..", "a\u{7}"] {
            assert_eq!(name.check_link(target), Err(BadLink::NotAPath), "{target:?}");
        }
    }

    #[test]
    fn windows_devices_are_known_by_any_extension() {
        for part in ["CON", "nul.txt", "Com1", "lpt9.a.b", "COM¹", "a.", "a ", "a:b", "aux .txt"] {
            assert!(!windows_takes(part), "{part}");
        }
        for part in ["CONSOLE", "com", "com10", "a.b", ".profile", "nul-x"] {
            assert!(windows_takes(part), "{part}");
        }
    }
}
