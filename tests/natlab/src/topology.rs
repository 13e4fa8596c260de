//! A small internet: one public segment, the servers on it, and two sites.
//!
//! ```text
//!   a ── nat-a ──┐                       ┌── nat-b ── b
//!  192.168.1.2   │ .11                .12│   192.168.2.2
//!                └── 203.0.113.0/24 ─────┘
//!                servers on .1 and .2
//! ```
//!
//! An open site has no NAT: its host stands on the segment at the NAT's address. A site behind a
//! carrier's NAT has two of them in a row, with 100.64.0.0/24 (RFC 6598) in between. The segment
//! is the lab's own [`Switch`], which has the delay, the loss and the distance. It forwards nothing
//! beyond itself, so packets to private addresses vanish as on the internet.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::fabric::{Counts, Port, Weather};
use crate::namespace::{LabId, Namespace};
use crate::nat::{NatKind, carrier_ruleset};
use crate::process::run;
use crate::switch::Switch;

/// The servers' addresses: two, because RFC 5780 §4.3 compares mappings towards both.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const SECOND_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// A carrier's side of the homes' cables (RFC 6598).
const CARRIER_GATEWAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

/// How long an interface may take to come up.
const LINK_UP_LIMIT: Duration = Duration::from_secs(5);

/// Two sites and the segment between them. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    pub a: Site,
    pub b: Site,
    /// The servers.
    pub wan: Namespace,
    /// What is between the sites and the servers.
    pub switch: Switch,
    /// Rulesets, secrets and logs of this lab.
    pub folder: PathBuf,
    /// The NAT that both sites share, where they do.
    shared: Option<Router>,
    _internet: Namespace,
}

/// One host and, unless it is open, the NATs it is behind.
#[derive(Debug)]
pub struct Site {
    pub kind: NatKind,
    pub host: Namespace,
    /// The address the public segment sees.
    pub public: Ipv4Addr,
    /// The host's own address: private behind a NAT.
    pub local: Ipv4Addr,
    /// The NATs on its way out, its own first. Does not list one that is shared.
    pub routers: Vec<Router>,
}

/// A box that translates addresses.
#[derive(Debug)]
pub struct Router {
    pub namespace: Namespace,
    ruleset: String,
}

/// The fixed plan of a site's addresses.
struct Plan {
    name: &'static str,
    /// Its cable, at the switch.
    cable: &'static str,
    public: Ipv4Addr,
    /// In its carrier's network.
    carried: Ipv4Addr,
    gateway: Ipv4Addr,
    private: Ipv4Addr,
}

const SITE_A: Plan = Plan {
    name: "a",
    cable: "site-a",
    public: Ipv4Addr::new(203, 0, 113, 11),
    carried: Ipv4Addr::new(100, 64, 0, 11),
    gateway: Ipv4Addr::new(192, 168, 1, 1),
    private: Ipv4Addr::new(192, 168, 1, 2),
};

const SITE_B: Plan = Plan {
    name: "b",
    cable: "site-b",
    public: Ipv4Addr::new(203, 0, 113, 12),
    carried: Ipv4Addr::new(100, 64, 0, 12),
    gateway: Ipv4Addr::new(192, 168, 2, 1),
    private: Ipv4Addr::new(192, 168, 2, 2),
};

/// Where the servers are plugged in.
const SERVERS: &str = "servers";

impl Lab {
    /// Builds the internet with `a` and `b` behind NATs of these kinds, without delay or loss; files
    /// go into `folder`.
    pub fn build(a: NatKind, b: NatKind, folder: &Path) -> Result<Self> {
        Self::build_in(Weather::CALM, a, b, folder)
    }

    /// The same with this weather between the sites. Two sites of a kind that shares its carrier's
    /// NAT are behind the same one.
    pub fn build_in(weather: Weather, a: NatKind, b: NatKind, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let id = LabId::next();
        let internet = Namespace::create(id, "internet")?;
        let wan = build_servers(id, &internet).context("the servers")?;
        let builder = Builder { id, internet: &internet, folder };
        let (a, b, shared) = match a.shared_hairpin() {
            Some(hairpin) if a == b => builder.behind_one_carrier(a, hairpin)?,
            Some(_) | None => (builder.site(&SITE_A, a)?, builder.site(&SITE_B, b)?, None),
        };
        builder.plug_in_missing()?;
        let cables = [(Port::Servers, SERVERS), (Port::SiteA, "site-a"), (Port::SiteB, "site-b")];
        let switch = Switch::start(&internet, cables, weather).context("the switch")?;
        Ok(Self { a, b, wan, switch, folder: folder.to_owned(), shared, _internet: internet })
    }

    /// What went straight from one site to the other, both ways together.
    ///
    /// The lab's own witness: it counts packets on the segment, whatever the programs claim.
    pub fn counts(&self) -> Result<Counts> {
        let mut counts = self.switch.counts();
        if let Some(carrier) = &self.shared {
            counts.bytes += carrier.hairpinned_bytes()?;
        }
        Ok(counts)
    }

    /// The NAT that has the public address of this site.
    pub fn outermost<'a>(&'a self, site: &'a Site) -> Option<&'a Router> {
        self.shared.as_ref().or(site.routers.last())
    }

    /// Bytes that went straight from one site to the other, both ways together.
    pub fn bytes_between_sites(&self) -> Result<u64> {
        Ok(self.counts()?.bytes)
    }
}

impl Router {
    fn new(namespace: Namespace, ruleset: String, folder: &Path) -> Result<Self> {
        // The rules are in place before the first packet can be forwarded.
        namespace.nft(&ruleset, folder)?;
        namespace.sysctl("net.ipv4.conf.all.send_redirects", 0)?;
        namespace.sysctl("net.ipv4.conf.default.send_redirects", 0)?;
        namespace.sysctl("net.ipv4.ip_forward", 1)?;
        Ok(Self { namespace, ruleset })
    }

    /// Forgets every mapping, as a box does that is switched off and on.
    pub fn reboot(&self, folder: &Path) -> Result<()> {
        self.namespace.nft(&format!("flush ruleset\n{}", self.ruleset), folder)?;
        run(self.namespace.command("conntrack").arg("-F")).map(drop)
    }

    /// Packets that nobody inside had asked for.
    pub fn unsolicited_packets(&self) -> Result<u64> {
        self.counter("unsolicited", "packets")
    }

    fn hairpinned_bytes(&self) -> Result<u64> {
        self.counter("hairpinned", "bytes")
    }

    fn counter(&self, name: &str, unit: &str) -> Result<u64> {
        let mut command = self.namespace.command("nft");
        command.args(["-j", "list", "counter", "ip", "filter", name]);
        parse_counter(&run(&mut command)?, unit).with_context(|| format!("the counter {name}"))
    }
}

impl Site {
    /// Gives the host another address of its network and takes the old one away, as when it moves
    /// from one access point to the next.
    pub fn change_address(&mut self, last: u8) -> Result<()> {
        let [a, b, c, _] = self.local.octets();
        let next = Ipv4Addr::new(a, b, c, last);
        let gateway = Ipv4Addr::new(a, b, c, 1);
        self.host.ip("addr flush dev eth0")?;
        self.host.ip(&format!("addr add {next}/24 dev eth0"))?;
        self.host.ip(&format!("route replace default via {gateway}"))?;
        self.local = next;
        Ok(())
    }
}

/// What every part of a lab is built with.
struct Builder<'a> {
    id: LabId,
    internet: &'a Namespace,
    folder: &'a Path,
}

impl Builder<'_> {
    fn site(&self, plan: &Plan, kind: NatKind) -> Result<Site> {
        self.try_site(plan, kind).with_context(|| format!("site {} ({kind})", plan.name))
    }

    fn try_site(&self, plan: &Plan, kind: NatKind) -> Result<Site> {
        let host = Namespace::create(self.id, plan.name)?;
        if kind == NatKind::Open {
            self.attach_to_segment(&host, "eth0", plan)?;
            let (public, local) = (plan.public, plan.public);
            return Ok(Site { kind, host, public, local, routers: Vec::new() });
        }
        let home = Namespace::create(self.id, &format!("nat-{}", plan.name))?;
        let mut routers = Vec::new();
        if let Some(hairpin) = kind.carrier_hairpin() {
            let carrier = self.carrier(plan, &format!("cgn-{}", plan.name))?;
            self.attach_to_carrier(&carrier, &home, plan)?;
            let rules = carrier_ruleset(plan.public, hairpin);
            routers.push(Router::new(carrier, rules, self.folder)?);
        } else {
            self.attach_to_segment(&home, "wan", plan)?;
        }
        self.finish(plan, kind, host, home, routers)
    }

    /// Two homes behind one carrier's NAT, which has the first site's public address.
    fn behind_one_carrier(
        &self,
        kind: NatKind,
        hairpin: bool,
    ) -> Result<(Site, Site, Option<Router>)> {
        let carrier = self.carrier(&SITE_A, "cgn")?;
        let home = |plan: &Plan| -> Result<Site> {
            let host = Namespace::create(self.id, plan.name)?;
            let home = Namespace::create(self.id, &format!("nat-{}", plan.name))?;
            self.attach_to_carrier(&carrier, &home, plan)?;
            let site = self.finish(plan, kind, host, home, Vec::new())?;
            Ok(Site { public: SITE_A.public, ..site })
        };
        let (a, b) = (home(&SITE_A)?, home(&SITE_B)?);
        let rules = carrier_ruleset(SITE_A.public, hairpin);
        Ok((a, b, Some(Router::new(carrier, rules, self.folder)?)))
    }

    /// A carrier's NAT with room for homes, and the public address of this plan outside.
    fn carrier(&self, plan: &Plan, role: &str) -> Result<Namespace> {
        let carrier = Namespace::create(self.id, role)?;
        self.attach_to_segment(&carrier, "wan", plan)?;
        carrier.ip("link add lan type bridge")?;
        carrier.let_bridges_be()?;
        carrier.ip(&format!("addr add {CARRIER_GATEWAY}/24 dev lan"))?;
        carrier.ip("link set lan up")?;
        Ok(carrier)
    }

    /// Connects a host to its home router, whose outside is plugged in.
    fn finish(
        &self,
        plan: &Plan,
        kind: NatKind,
        host: Namespace,
        home: Namespace,
        mut routers: Vec<Router>,
    ) -> Result<Site> {
        connect(&home, "lan", &host, "eth0")?;
        home.ip(&format!("addr add {}/24 dev lan", plan.gateway))?;
        host.ip(&format!("addr add {}/24 dev eth0", plan.private))?;
        host.ip(&format!("route add default via {}", plan.gateway))?;
        let outside = if kind.carrier_hairpin().is_some() { plan.carried } else { plan.public };
        let inside = format!("{}/24", plan.private);
        let rules = kind.ruleset(outside, &inside).context("the kind has no router")?;
        routers.insert(0, Router::new(home, rules, self.folder)?);
        wait_until_up(&host, "eth0")?;
        Ok(Site { kind, host, public: plan.public, local: plan.private, routers })
    }

    /// Gives `inside` an interface on the segment with the site's public address.
    fn attach_to_segment(&self, inside: &Namespace, interface: &str, plan: &Plan) -> Result<()> {
        connect(self.internet, plan.cable, inside, interface)?;
        leave_nothing_to_hardware(inside, interface)?;
        inside.ip(&format!("addr add {}/24 dev {interface}", plan.public))?;
        inside.ip(&format!("route add default via {SERVER}"))?;
        wait_until_up(self.internet, plan.cable)?;
        wait_until_up(inside, interface)
    }

    /// Connects a home router to its carrier's network.
    fn attach_to_carrier(&self, carrier: &Namespace, home: &Namespace, plan: &Plan) -> Result<()> {
        let cable = format!("home-{}", plan.name);
        connect(carrier, &cable, home, "wan")?;
        carrier.ip(&format!("link set {cable} master lan"))?;
        home.ip(&format!("addr add {}/24 dev wan", plan.carried))?;
        home.ip(&format!("route add default via {CARRIER_GATEWAY}"))?;
        wait_until_up(carrier, &cable)?;
        wait_until_up(home, "wan")
    }

    /// A cable that nobody has taken still has its place at the switch.
    fn plug_in_missing(&self) -> Result<()> {
        for plan in [&SITE_A, &SITE_B] {
            if self.internet.ip(&format!("link show dev {}", plan.cable)).is_err() {
                connect(self.internet, plan.cable, self.internet, &format!("{}-end", plan.cable))?;
            }
        }
        Ok(())
    }
}

fn build_servers(id: LabId, internet: &Namespace) -> Result<Namespace> {
    let wan = Namespace::create(id, "wan")?;
    connect(internet, SERVERS, &wan, "segment")?;
    leave_nothing_to_hardware(&wan, "segment")?;
    wan.ip(&format!("addr add {SERVER}/24 dev segment"))?;
    wan.ip(&format!("addr add {SECOND_SERVER}/24 dev segment"))?;
    wait_until_up(&wan, "segment")?;
    Ok(wan)
}

/// A virtual cable claims to compute checksums and to cut long packets, and does neither: whoever
/// reads its frames from outside the kernel, as the switch does, would see them half done.
fn leave_nothing_to_hardware(namespace: &Namespace, interface: &str) -> Result<()> {
    let mut command = namespace.command("ethtool");
    command.args(["-K", interface, "tx", "off", "tso", "off", "gso", "off"]);
    run(&mut command).map(drop)
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

/// The count of packets or bytes in the JSON of `nft -j list counter`.
fn parse_counter(listing: &str, unit: &str) -> Result<u64> {
    let listing: Value = serde_json::from_str(listing)?;
    let entries = listing["nftables"].as_array().context("no `nftables` list")?;
    let count = entries.iter().find_map(|entry| entry["counter"][unit].as_u64());
    count.context("no counter in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read() {
        let listing = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"name": "hairpinned", "packets": 2, "bytes": 100}}]}"#;
        assert_eq!(parse_counter(listing, "bytes").expect("a counter"), 100);
        assert_eq!(parse_counter(listing, "packets").expect("a counter"), 2);
    }

    #[test]
    fn a_listing_without_the_counter_is_an_error() {
        assert!(parse_counter(r#"{"nftables": []}"#, "bytes").is_err());
    }
}
