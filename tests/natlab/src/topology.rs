//! A small internet: one public segment, the servers on it, and two sites.
//!
//! ```text
//!   a ── nat-a ──┐                       ┌── nat-b ── b
//!  192.168.1.2   │ .11                .12│   192.168.2.2
//!                └── wan: 203.0.113.0/24 ┘
//!                    servers on .1 and .2
//! ```
//!
//! An open site has no NAT: its host stands on the segment at the NAT's address. The segment
//! forwards nothing beyond itself, so packets to private addresses vanish as on the internet.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::namespace::{LabId, Namespace};
use crate::nat::NatKind;
use crate::process::run;

/// The servers' addresses: two, because RFC 5780 §4.3 compares mappings towards both.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const SECOND_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// How long an interface may take to come up.
const LINK_UP_LIMIT: Duration = Duration::from_secs(5);

/// Two sites and the segment between them. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    pub a: Site,
    pub b: Site,
    /// The segment and the servers on it.
    pub wan: Namespace,
    /// Rulesets, secrets and logs of this lab.
    pub folder: PathBuf,
}

/// One host and, unless it is open, the NAT it is behind.
#[derive(Debug)]
pub struct Site {
    pub kind: NatKind,
    pub host: Namespace,
    /// The address the public segment sees.
    pub public: Ipv4Addr,
    /// The host's own address: private behind a NAT.
    pub local: Ipv4Addr,
    _router: Option<Namespace>,
}

/// The fixed plan of a site's addresses.
struct Plan {
    name: &'static str,
    public: Ipv4Addr,
    gateway: Ipv4Addr,
    private: Ipv4Addr,
}

const SITE_A: Plan = Plan {
    name: "a",
    public: Ipv4Addr::new(203, 0, 113, 11),
    gateway: Ipv4Addr::new(192, 168, 1, 1),
    private: Ipv4Addr::new(192, 168, 1, 2),
};

const SITE_B: Plan = Plan {
    name: "b",
    public: Ipv4Addr::new(203, 0, 113, 12),
    gateway: Ipv4Addr::new(192, 168, 2, 1),
    private: Ipv4Addr::new(192, 168, 2, 2),
};

impl Lab {
    /// Builds the internet with `a` and `b` behind NATs of these kinds; files go into `folder`.
    pub fn build(a: NatKind, b: NatKind, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let id = LabId::next();
        let wan = build_segment(id, folder).context("the public segment")?;
        let site = |plan: &Plan, kind: NatKind| {
            Site::build(id, plan, kind, &wan, folder)
                .with_context(|| format!("site {} ({kind})", plan.name))
        };
        let (a, b) = (site(&SITE_A, a)?, site(&SITE_B, b)?);
        Ok(Self { a, b, wan, folder: folder.to_owned() })
    }

    /// Bytes that went over the segment straight from one site to the other, both ways together.
    ///
    /// The lab's own witness: it counts frames on the bridge, whatever the programs claim.
    pub fn bytes_between_sites(&self) -> Result<u64> {
        let listing = run(self
            .wan
            .command("nft")
            .args(["-j", "list", "counters", "table", "bridge", "tap"]))?;
        parse_counters(&listing).context("the segment's counters")
    }
}

impl Site {
    fn build(
        id: LabId,
        plan: &Plan,
        kind: NatKind,
        wan: &Namespace,
        folder: &Path,
    ) -> Result<Self> {
        let host = Namespace::create(id, plan.name)?;
        let Some(ruleset) = kind.ruleset(plan.public, plan.private) else {
            attach_to_segment(wan, &host, "eth0", plan)?;
            let (public, local) = (plan.public, plan.public);
            return Ok(Self { kind, host, public, local, _router: None });
        };

        let router = Namespace::create(id, &format!("nat-{}", plan.name))?;
        attach_to_segment(wan, &router, "wan", plan)?;
        connect(&router, "lan", &host, "eth0")?;
        router.ip(&format!("addr add {}/24 dev lan", plan.gateway))?;
        host.ip(&format!("addr add {}/24 dev eth0", plan.private))?;
        host.ip(&format!("route add default via {}", plan.gateway))?;
        // The rules are in place before the first packet can be forwarded.
        router.nft(&ruleset, folder)?;
        router.sysctl("net.ipv4.ip_forward", 1)?;
        wait_until_up(&host, "eth0")?;
        Ok(Self { kind, host, public: plan.public, local: plan.private, _router: Some(router) })
    }
}

fn build_segment(id: LabId, folder: &Path) -> Result<Namespace> {
    let wan = Namespace::create(id, "wan")?;
    wan.ip("link add segment type bridge")?;
    wan.ip(&format!("addr add {SERVER}/24 dev segment"))?;
    wan.ip(&format!("addr add {SECOND_SERVER}/24 dev segment"))?;
    wan.ip("link set segment up")?;
    wan.nft(&tap_ruleset(), folder)?;
    Ok(wan)
}

/// Gives `inside` an interface on the segment with the site's public address.
///
/// The one place where a site meets the internet: delay and loss belong here, as a user-space
/// switch between the two interfaces (`tc netem` is not in every kernel).
fn attach_to_segment(
    wan: &Namespace,
    inside: &Namespace,
    interface: &str,
    plan: &Plan,
) -> Result<()> {
    let port = format!("site-{}", plan.name);
    connect(wan, &port, inside, interface)?;
    wan.ip(&format!("link set {port} master segment"))?;
    inside.ip(&format!("addr add {}/24 dev {interface}", plan.public))?;
    inside.ip(&format!("route add default via {SERVER}"))?;
    wait_until_up(wan, &port)?;
    wait_until_up(inside, interface)
}

/// Connects two namespaces by a cable with one interface in each.
fn connect(one: &Namespace, interface: &str, other: &Namespace, peer: &str) -> Result<()> {
    run(Command::new("ip").args(["link", "add", interface, "netns", one.name()]).args([
        "type",
        "veth",
        "peer",
        "name",
        peer,
        "netns",
        other.name(),
    ]))?;
    one.ip(&format!("link set {interface} up"))?;
    other.ip(&format!("link set {peer} up")).map(drop)
}

fn wait_until_up(namespace: &Namespace, interface: &str) -> Result<()> {
    let deadline = Instant::now() + LINK_UP_LIMIT;
    loop {
        let shown = namespace.ip(&format!("-j link show dev {interface}"))?;
        let links: Value = serde_json::from_str(&shown).context("`ip -j link show`")?;
        if links[0]["operstate"] == "UP" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{interface} in {} is not up after {LINK_UP_LIMIT:?}", namespace.name());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn tap_ruleset() -> String {
    let (a, b) = (SITE_A.public, SITE_B.public);
    format!(
        "table bridge tap {{
  counter a-to-b {{ }}
  counter b-to-a {{ }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ip saddr {a} ip daddr {b} counter name a-to-b
    ip saddr {b} ip daddr {a} counter name b-to-a
  }}
}}
"
    )
}

/// The sum of the byte counts in the JSON of `nft -j list counters`.
fn parse_counters(listing: &str) -> Result<u64> {
    let listing: Value = serde_json::from_str(listing)?;
    let entries = listing["nftables"].as_array().context("no `nftables` list")?;
    let counters: Vec<u64> =
        entries.iter().filter_map(|entry| entry["counter"]["bytes"].as_u64()).collect();
    if counters.len() != 2 {
        bail!("expected two counters, found {}", counters.len());
    }
    Ok(counters.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_adds_up_both_directions() {
        let listing = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"name": "a-to-b", "packets": 2, "bytes": 100}},
            {"counter": {"name": "b-to-a", "packets": 1, "bytes": 50}}]}"#;
        assert_eq!(parse_counters(listing).expect("counters"), 150);
    }

    #[test]
    fn a_listing_without_both_counters_is_an_error() {
        assert!(parse_counters(r#"{"nftables": []}"#).is_err());
    }
}
