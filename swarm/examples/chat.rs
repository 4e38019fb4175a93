//! Lines between programs over a protocol of their own: `chat NAME [tcp://HOST:PORT]`, which dials or listens.
//!
//! A line is message 0 of the channel, a name its handshake. `interop/js/examples/chat.js` speaks the same.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use anypath_replicate::mux::{Event as ChannelEvent, Protocol};
use anypath_replicate::store::MemoryStore;
use anypath_swarm::{Config, Event, Node};
use anypath_transports::{Tcp, Transport};
use anypath_wire::KeyPair;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: chat NAME [tcp://HOST:PORT]")?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let (identity, store) = (KeyPair::from_seed(&seed), Arc::new(MemoryStore::default()));
    let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(Tcp::default())];
    let node = Node::start(Config { identity, store, transports })?;

    let mut chat = node.speak(Protocol::new("anypath-example/chat", "")).await?;
    let mut arrivals = node.subscribe();
    match arguments.next() {
        Some(address) => node.connect(address.parse()?),
        None => println!("listening at {}", node.listen(&"tcp://127.0.0.1:0".parse()?).await?),
    }

    let mut lines = BufReader::new(stdin()).lines();
    let (mut channels, mut names) = (BTreeMap::new(), BTreeMap::new());
    loop {
        tokio::select! {
            event = arrivals.recv() => if let Event::Connected(info) = event? {
                // Who has opened already is answered by this, and who has not is asked.
                channels.insert(info.peer, chat.open(info.peer, "", name.clone()).await?);
            },
            Some((peer, event)) = chat.recv() => match event {
                ChannelEvent::Opened { handshake, .. } => {
                    let who = names.entry(peer).insert_entry(String::from_utf8_lossy(&handshake).into_owned());
                    println!("{} is here", who.get());
                }
                ChannelEvent::Message { kind: 0, body, .. } => {
                    println!("{}: {}", names[&peer], String::from_utf8_lossy(&body));
                }
                ChannelEvent::Closed { .. } => {
                    channels.remove(&peer);
                    println!("{} left", names.remove(&peer).unwrap_or_default());
                }
                _ => {} // an offer is answered when its sender is known to be connected
            },
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                for (peer, channel) in &channels {
                    // Who has just left is told of later.
                    drop(chat.send(*peer, *channel, 0, line.clone()).await);
                }
            }
        }
    }
    for (peer, channel) in channels {
        chat.close(peer, channel).await?;
    }
    node.stop().await?;
    Ok(())
}
