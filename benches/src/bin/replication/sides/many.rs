//! A peer with many cores and nothing to do: their owner, and one that has fetched them and stays connected.

use std::path::Path;

use anyhow::{Context, Result};
use anypath_benches::Usage;
use anypath_interop::Process;
use anypath_replicate::core::{Manifest, Signer};
use anypath_wire::{Address, KeyPair};
use serde_json::json;
use tokio::runtime::Runtime;

use super::core::node;
use super::drive::event;
use super::{Program, say};

/// Starts both ends in a folder that is new; returns what each costs once all is fetched and quiet, the owner first.
pub(crate) fn measure(program: Program, folder: &Path, count: u64) -> Result<[Usage; 2]> {
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
    let (owner, port) = start("owner", None)?;
    let (reader, _) = start("reader", Some(port.context("the owner told no port")?))?;
    std::thread::sleep(SETTLING);
    Ok([Usage::of(owner.id())?, Usage::of(reader.id())?])
}

/// Holds so many cores open until killed; without a port their owner, who prints one, with it a peer that fetches all.
pub(crate) fn hold(folder: &Path, count: u64, port: Option<u16>) -> Result<()> {
    let runtime = Runtime::new()?;
    let node = node(folder, if port.is_none() { 1 } else { 2 })?;
    runtime.block_on(async {
        let mut told = json!({"event": "open"});
        if let Some(port) = port {
            fetch(&node, count, port).await?;
        } else {
            for number in 0..count {
                let (manifest, pair) = core(number);
                let id = node.call(move |replicator| replicator.open_writable(manifest, pair)).await??;
                node.call(move |replicator| replicator.append(id, &["one block".into()])).await??;
            }
            told["port"] = node.listen(&"tcp://127.0.0.1:0".parse()?).await?.port.into();
        }
        say(&told.to_string());
        std::future::pending::<()>().await;
        Ok(())
    })
}

async fn fetch(node: &anypath_swarm::Node, count: u64, port: u16) -> Result<()> {
    let mut events = node.subscribe();
    let mut missing = Vec::new();
    for number in 0..count {
        let key = core(number).0.key();
        let id = node.call(move |replicator| replicator.open(&key)).await??;
        node.call(move |replicator| replicator.want(id, 0..u64::MAX)).await??;
        missing.push(id);
    }
    node.connect(Address { scheme: "tcp".into(), host: "127.0.0.1".into(), port });
    while !missing.is_empty() {
        drop(events.recv().await);
        missing = node
            .read(move |replicator| {
                missing.retain(|id| replicator.core(*id).contiguous_length() == 0);
                missing
            })
            .await?;
    }
    Ok(())
}

fn core(number: u64) -> (Manifest, KeyPair) {
    let mut seed = [5; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let pair = KeyPair::from_seed(&seed);
    (Manifest::single(Signer::new(pair.public())), pair)
}

/// How long both ends are left alone before they are looked at.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(2);
