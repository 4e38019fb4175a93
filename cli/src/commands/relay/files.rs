//! A relay's files, which may change while it runs: its certificate, and whom it lets in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use anypath_relay::{Access, Relay, ServerTls};
use anypath_wire::PublicKey;

use crate::Failure;
use crate::args::Relay as Args;

/// The files, with their content as it was read last.
pub(super) struct Files {
    certificate: Option<Certificate>,
    access: Option<Admission>,
}

struct Certificate {
    paths: (PathBuf, PathBuf),
    content: (Vec<u8>, Vec<u8>),
    tls: ServerTls,
}

struct Admission {
    path: PathBuf,
    kind: Kind,
    access: Access,
}

/// What a file says about who is let in.
#[derive(Clone, Copy)]
enum Kind {
    /// A token.
    Token,
    /// Keys, one a line.
    Keys,
}

impl Files {
    /// Reads those that the command line names.
    ///
    /// # Errors
    /// If one cannot be read or used.
    pub(super) fn open(args: &Args) -> Result<Self> {
        let paths = args.tls_cert.clone().zip(args.tls_key.clone());
        let token = args.token_file.clone().map(|path| (path, Kind::Token));
        let keys = args.allow_file.clone().map(|path| (path, Kind::Keys));
        Ok(Self {
            certificate: paths.map(Certificate::open).transpose()?,
            access: token.or(keys).map(|(path, kind)| Admission::open(path, kind)).transpose()?,
        })
    }

    /// Returns the certificate, if there is one.
    pub(super) fn tls(&self) -> Option<ServerTls> {
        self.certificate.as_ref().map(|certificate| certificate.tls.clone())
    }

    /// Returns who is let in.
    pub(super) fn access(&self) -> Access {
        self.access.as_ref().map_or(Access::Open, |it| it.access.clone())
    }

    /// Lets the relay have what the files hold by now. What cannot be used stays as it was, and is named in the log.
    pub(super) async fn read_again(&mut self, relay: &Relay) {
        match self.certificate.as_mut().map(Certificate::read_again) {
            Some(Ok(true)) => tracing::info!("another certificate from now on"),
            Some(Err(error)) => tracing::warn!(%error, "the certificate stays as it was"),
            Some(Ok(false)) | None => {}
        }
        match self.access.as_mut().map(Admission::read_again) {
            Some(Ok(Some(access))) => {
                relay.admit(access).await;
                tracing::info!("others are let in from now on");
            }
            Some(Err(error)) => tracing::warn!(%error, "those are let in who were before"),
            Some(Ok(None)) | None => {}
        }
    }
}

impl Certificate {
    fn open(paths: (PathBuf, PathBuf)) -> Result<Self> {
        let content = read_both(&paths)?;
        let tls = ServerTls::new(&content.0, &content.1);
        let tls = tls.map_err(|error| Failure::new("certificate", format!("{}: {error}", paths.0.display())))?;
        Ok(Self { paths, content, tls })
    }

    /// Takes the files' content if it is another one by now; returns whether it is.
    fn read_again(&mut self) -> Result<bool> {
        let content = read_both(&self.paths)?;
        if content == self.content {
            return Ok(false);
        }
        self.tls.replace(&content.0, &content.1)?;
        self.content = content;
        Ok(true)
    }
}

impl Admission {
    fn open(path: PathBuf, kind: Kind) -> Result<Self> {
        let access = kind.read(&path)?;
        Ok(Self { path, kind, access })
    }

    /// Returns whom the file lets in by now, if that has changed.
    fn read_again(&mut self) -> Result<Option<Access>> {
        let access = self.kind.read(&self.path)?;
        if access == self.access {
            return Ok(None);
        }
        self.access = access.clone();
        Ok(Some(access))
    }
}

impl Kind {
    fn read(self, path: &Path) -> Result<Access> {
        let content = read(path)?;
        Ok(match self {
            // Space around it says nothing.
            Self::Token => Access::Token(content.trim_ascii().to_vec()),
            Self::Keys => Access::Keys(keys(&String::from_utf8_lossy(&content), path)?),
        })
    }
}

/// Reads keys, one a line; what follows a # says nothing.
fn keys(text: &str, path: &Path) -> Result<BTreeSet<PublicKey>> {
    let mut keys = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let word = line.split('#').next().unwrap_or_default().trim();
        if !word.is_empty() {
            let key = word.parse().map_err(|error| {
                Failure::new("keys", format!("{}, line {number}: {word:?} is no key: {error}", path.display()))
            });
            keys.insert(key?);
        }
    }
    Ok(keys)
}

fn read_both((chain, key): &(PathBuf, PathBuf)) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((read(chain)?, read(key)?))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_key_a_line_and_words_for_people() {
        let key = PublicKey([7; 32]);
        let text = format!("# ours\n\n{key}  # the laptop\n{key}\n");
        assert_eq!(keys(&text, Path::new("list")).unwrap(), BTreeSet::from([key]));
        let error = keys("# a\nnonsense\n", Path::new("list")).unwrap_err().to_string();
        assert!(error.starts_with("list, line 2: \"nonsense\" is no key"), "{error}");
    }
}
