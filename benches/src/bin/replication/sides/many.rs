//! A peer with many cores and nothing to do: their owner, and one that has fetched them and stays connected.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use anypath_benches::Usage;
use anypath_benches::idle::{fill, held, start};
use anypath_interop::Process;
use anypath_wire::Address;
use serde_json::json;
use tokio::runtime::Runtime;

use super::drive::event;
use super::{Program, say};

/// Starts both ends in a folder that is new; returns what each costs once all is fetched and quiet, the owner first.
pub(crate) fn measure(program: Program, folder: &Path, count: u32) -> Result<[Usage; 2]> {
    let start = |name: &str, port: Option<u64>| {
        let mut command = program.command("drive.js")?;
        command.arg("cores").arg(folder.join(name));
        if program == Program::Js {
            command.arg(folder.join("keys"));
        }
        command.arg(count.to_string()).args(port.map(|port| port.to_string()));
        let mut process = Process::spawn(&format!("{name} of many cores ({program:?})"), &mut command)?;
        let port = event(&mut process, "open")?["port"].as_u64();
        anyhow::Ok((process, port))
    };
    // The first owner makes the cores: what that takes is not what an idle one takes.
    drop(start("owner", None)?);
    let (owner, port) = start("owner", None)?;
    let (reader, _) = start("reader", Some(port.context("the owner told no port")?))?;
    std::thread::sleep(REST);
    Ok([Usage::of(owner.id())?, Usage::of(reader.id())?])
}

/// Holds so many cores open until killed; without a port their owner, who prints one, with it a peer that fetches all.
pub(crate) fn hold(folder: &Path, count: u32, port: Option<u16>) -> Result<()> {
    if port.is_none() && !folder.exists() {
        fill(folder, count, 1)?;
    }
    Runtime::new()?.block_on(async {
        let node = start(folder, count, if port.is_none() { 1 } else { 2 }).await?;
        let mut told = json!({"event": "open"});
        if let Some(port) = port {
            node.connect(Address { scheme: "tcp".into(), host: "127.0.0.1".into(), port, key: None });
            while held(&node, count).await? < u64::from(count) {
                tokio::time::sleep(POLL).await;
            }
        } else {
            told["port"] = node.listen(&"tcp://127.0.0.1:0".parse()?).await?.port.into();
        }
        say(&told.to_string());
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// How long both ends are left alone before they are looked at: long enough for what is of no use any more to be given
/// back.
const REST: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(50);
