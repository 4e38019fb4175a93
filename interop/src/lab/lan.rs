//! A local network that leads nowhere else, and machines on it.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;

use super::Namespace;
use super::namespace::remove_abandoned;
use crate::skip;

/// Machines on one local network.
#[derive(Debug)]
pub struct Lan {
    machines: Vec<Namespace>,
    _bridge: Namespace,
}

impl Lan {
    /// Makes so many machines. Nothing, after saying why, where that cannot be had.
    pub fn open(count: u8) -> Result<Option<Self>> {
        if Command::new("ip").arg("-Version").output().is_err() {
            skip("ip is missing: apt install iproute2");
            return Ok(None);
        }
        remove_abandoned()?;
        let bridge = match Namespace::new("bridge") {
            Ok(bridge) => bridge,
            Err(refused) => {
                skip(&format!("network namespaces cannot be made here (root may): {refused}"));
                return Ok(None);
            }
        };
        bridge.script("ip link add bridge type bridge\nip link set bridge up")?;
        let machines = (0..count).map(|number| machine(&bridge, number)).collect::<Result<_>>()?;
        Ok(Some(Self { machines, _bridge: bridge }))
    }

    /// Returns a machine.
    pub fn machine(&self, number: u8) -> &Namespace {
        &self.machines[usize::from(number)]
    }

    /// Returns a machine's address.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        address(number)
    }
}

fn machine(bridge: &Namespace, number: u8) -> Result<Namespace> {
    let (machine, port, address) = (Namespace::new("machine")?, format!("port{number}"), address(number));
    machine.script(&format!(
        "ip link set lo up\nip link add lan type veth peer name {port} netns {}\nip address add {address}/24 dev lan\n\
         ip link set lan up\nip route add default dev lan",
        bridge.name()
    ))?;
    bridge.script(&format!("ip link set {port} master bridge\nip link set {port} up"))?;
    Ok(machine)
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, 1 + number)
}
