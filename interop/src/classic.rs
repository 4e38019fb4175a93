//! Networks of our own nodes of BitTorrent's DHT, on this machine's loopback alone.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use anypath_dht::classic::{Config, Node};
use anypath_swarm::{Finder, Sockets};
use anypath_wire::hash;
use tokio::time::timeout;

use crate::answer::PATIENCE;

/// Starts so many nodes, each but the first by way of it.
///
/// # Errors
/// If there are no ports, or one finds no neighbours.
pub async fn start_network(count: usize) -> Result<Vec<Finder<Node>>> {
    let mut nodes: Vec<Finder<Node>> = Vec::new();
    for _ in 0..count {
        let bootstrap: Vec<_> = nodes.iter().take(1).map(Finder::address).collect();
        nodes.push(start_node(&bootstrap).await?);
    }
    Ok(nodes)
}

/// Starts a node and waits until it knows its neighbours.
///
/// # Errors
/// If there is no port, or it finds no neighbours.
pub async fn start_node(bootstrap: &[SocketAddr]) -> Result<Finder<Node>> {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into(), false)?;
    let address = sockets.address();
    let seed = hash(address.to_string().as_bytes());
    let config = Config { seed, bootstrap: bootstrap.to_vec(), port: address.port(), ..Config::default() };
    let node = Finder::start(sockets, |now| Node::new(now, config));
    let mut events = node.subscribe();
    let settled = async {
        while !node.read(Node::is_bootstrapped).await? {
            events.recv().await?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, settled).await.context("no neighbours are found")??;
    Ok(node)
}
