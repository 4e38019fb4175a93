//! Networks of our own nodes of Hyperswarm's DHT, on this machine's loopback alone.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context, Result, bail};
use anypath_dht::hyperswarm::{Config, Node};
use anypath_swarm::{Finder, Sockets};
use anypath_wire::hash;
use tokio::time::timeout;

use crate::answer::PATIENCE;

/// Nodes that others begin at, route through and store at.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Finder<Node>>,
}

impl Network {
    /// Starts so many nodes, each but the first by way of it, and waits until others may rely on all of them.
    pub async fn start(count: usize) -> Result<Self> {
        let mut network = Self { nodes: Vec::new() };
        network.grow(count).await?;
        Ok(network)
    }

    /// Starts more nodes until there are so many.
    pub async fn grow(&mut self, count: usize) -> Result<()> {
        while self.nodes.len() < count {
            let node = start_node(&self.bootstrap(), true).await?;
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Returns the nodes.
    pub fn nodes(&self) -> &[Finder<Node>] {
        &self.nodes
    }

    /// Returns where to begin in this network.
    pub fn bootstrap(&self) -> Vec<SocketAddrV4> {
        self.nodes.iter().take(1).filter_map(|node| v4(node.address())).collect()
    }

    /// Returns how many messages of handshakes and of hole punching all nodes carried on.
    pub async fn carried(&self) -> Result<(u64, u64)> {
        let mut sum = (0, 0);
        for node in &self.nodes {
            let carried = node.read(Node::carried).await?;
            sum = (sum.0 + carried.handshakes, sum.1 + carried.holepunches);
        }
        Ok(sum)
    }
}

/// Starts a node and waits until it knows its neighbours, and until it is persistent if it shall be.
pub async fn start_node(bootstrap: &[SocketAddrV4], persistent: bool) -> Result<Finder<Node>> {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into(), true)?;
    let address = v4(sockets.address()).context("an IPv6 address")?;
    // To the first node of a network nobody can tell its address.
    let public_address = (persistent && bootstrap.is_empty()).then_some(address);
    let config = Config {
        seed: hash(address.to_string().as_bytes()),
        bootstrap: bootstrap.to_vec(),
        server_port: address.port(),
        ephemeral: Some(!persistent),
        firewalled: !persistent,
        public_address,
        ..Config::default()
    };
    let node = Finder::start(sockets, |now| Node::new(now, config));
    let mut events = node.subscribe();
    let settled = async {
        while !node.read(Node::is_bootstrapped).await? {
            events.recv().await?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, settled).await.context("no neighbours are found")??;
    if persistent && node.read(Node::id).await?.is_none() {
        bail!("the node at {address} did not become persistent");
    }
    Ok(node)
}

fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}
