//! What gateways let through: one statement of nft a line.

use super::Profile;

/// Returns the filter of a gateway whose connections grow so many seconds old, if it minds.
pub(super) fn rules(profile: Profile, wan: &str, host: &str, age_s: u32) -> String {
    let mut lines = vec![TABLE.to_owned()];
    if profile.is_proxied() {
        lines.push("add rule ip gateway across drop".to_owned());
    } else {
        lines.push(format!("add rule ip gateway across iifname \"wan\" ct state new ip daddr != {host} drop"));
    }
    let own: &[&str] = match profile {
        Profile::FullCone => &[
            "add rule ip gateway inward iifname \"wan\" dnat to HOST",
            "add rule ip gateway outward oifname \"wan\" ip saddr HOST snat to WAN persistent",
        ],
        Profile::Symmetric => &["add rule ip gateway outward oifname \"wan\" masquerade fully-random"],
        Profile::UdpBlocked => &["add rule ip gateway across meta l4proto udp drop"],
        Profile::UdpBlocked443 => &[
            "add rule ip gateway across meta l4proto udp drop",
            "add rule ip gateway across iifname \"lan\" tcp dport != { 80, 443 } drop",
        ],
        Profile::ProxyIdle => PROXY_IDLE,
        Profile::Captive => CAPTIVE,
        _ => &[],
    };
    lines.extend(
        own.iter().map(|line| line.replace("HOST", host).replace("WAN", wan).replace("AGE", &format!("{age_s}s"))),
    );
    lines.push("add rule ip gateway outward oifname \"wan\" masquerade".to_owned());
    lines.join("\n") + "\n"
}

/// Whatever stood there is gone, counters and all. Who knocks from outside uninvited is not heard by the gateway itself:
/// an answer of its own would move the mappings of those inside.
const TABLE: &str = "\
add table ip gateway
delete table ip gateway
add table ip gateway
add chain ip gateway inward { type nat hook prerouting priority dstnat; }
add chain ip gateway outward { type nat hook postrouting priority srcnat; }
add chain ip gateway across { type filter hook forward priority filter; }
add chain ip gateway here { type filter hook input priority filter; }
add rule ip gateway here iifname \"wan\" ct state new drop";

/// Connections to the proxy are known by where they come from for a while, and then reset.
const PROXY_IDLE: &[&str] = &[
    "add set ip gateway young { type ipv4_addr . inet_service; flags dynamic,timeout; timeout AGE; }",
    "add rule ip gateway here iifname \"lan\" tcp flags syn add @young { ip saddr . tcp sport }",
    "add rule ip gateway here iifname \"lan\" tcp dport 3128 ip saddr . tcp sport != @young reject with tcp reset",
];

/// Three packets that would open a connection (of 60 bytes each) are answered by a reset; the fourth lets the host in.
const CAPTIVE: &[&str] = &[
    "add set ip gateway known { type ipv4_addr; flags dynamic; }",
    "add rule ip gateway across iifname \"lan\" tcp flags syn quota until 180 bytes reject with tcp reset",
    "add rule ip gateway across iifname \"lan\" tcp flags syn add @known { ip saddr }",
    "add rule ip gateway across iifname \"lan\" meta l4proto udp ip saddr != @known drop",
];
