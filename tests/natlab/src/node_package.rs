//! The Node.js package: the program of its documentation, as it stands in `examples/simple.js` but
//! for the package's path and the servers' names, in two Node processes behind two NATs.
//!
//! Once both are at one cluster of two signaling instances and a Redis, each at another instance;
//! once each program has a coordinator of its own, and is reached where its NAT lets it be. What the
//! programs print is checked field by field.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cases::{Case, Context, Programs};
use crate::nat::{NatKind, Path, expected_path};
use crate::process::{Finished, Running, run};
use crate::services::Services;
use crate::topology::{Lab, SERVER, Site};

/// Node starts, registers twice and connects; the rest is for a busy machine.
const PROGRAM_LIMIT: Duration = Duration::from_secs(120);
/// A peer that waits registers once.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The id that the program of the documentation calls, and the one that it takes.
const OTHER_PEER: &str = "other-peer-id";
const MY_PEER: &str = "my-peer-id";
/// A third program, which waits until the path is decided.
const SETTLED_PEER: &str = "settled";

/// The port of the program of the documentation.
const SIGNALING_PORT: u16 = 8080;

/// Direct over a punch, and by the relay.
pub fn cases() -> Vec<Case> {
    let pairs = [
        (NatKind::PortRestricted, NatKind::AddressRestricted),
        (NatKind::PortRestricted, NatKind::Symmetric),
    ];
    let clustered = pairs.map(|(a, b)| {
        let path = match expected_path(a, b) {
            Path::Direct => "directly",
            Path::Relay => "by the relay",
        };
        let name = format!("Node.js programs at one cluster connect {a} and {b} {path}");
        Case::new(name, move |context| at_one_cluster(a, b, context))
    });
    let own = Case::new("Node.js programs with coordinators of their own", with_their_own);
    let alone = Case::new("a Node.js program is told that it needs a relay", told_to_name_a_relay);
    clustered.into_iter().chain([own, alone]).collect()
}

fn at_one_cluster(a: NatKind, b: NatKind, context: &Context<'_>) -> Result<String> {
    let package = Package::ready(context.programs)?;
    let lab = Lab::build(a, b, context.folder)?;
    let services = Services::start_cluster(&lab, context.programs)?;
    let [first, second] = services.urls();

    let waiting = package.waiting(&lab.b, &second, &services.token(OTHER_PEER)?, &lab.folder)?;
    let join = format!("signalingUrl: '{first}', token: '{}'", services.token(MY_PEER)?);
    let program = package.documented(&lab.a, &join, &lab.folder)?;
    let mut command = package.node(&lab.a, &program);
    let printed = Printed::of(Running::start("documented", &mut command, &lab.folder)?)?;
    check_network(&printed, &lab.a)?;
    // Of a coordinator that is joined, a program knows itself.
    check_figures(&printed, SIGNALING_PORT, 1)?;
    let told = last_report(&waiting, MY_PEER)?;
    check_report(&told, &lab.b)?;

    let expected = expected_path(a, b);
    let mut command = package.settled(&lab.a, OTHER_PEER, expected);
    command.env("P2P_URL", &first).env("P2P_TOKEN", services.token(SETTLED_PEER)?);
    let settled = Running::start("settled", &mut command, &lab.folder)?.finish(PROGRAM_LIMIT)?;
    let line = settled.stdout.last().with_context(|| settled.stderr.join(" | "))?;
    let settled =
        serde_json::from_str(line).with_context(|| format!("settled.js said {line:?}"))?;
    check_settled(&settled, expected, &lab)?;
    let told = last_report(&waiting, SETTLED_PEER)?;
    ensure!(told["stats"]["totalConnections"] == 2, "the other side counted {}", told["stats"]);
    Ok(format!(
        "printed {} and {}; decided: {}",
        printed.field("type")?,
        printed.field("method")?,
        settled["path"]
    ))
}

/// An open host's coordinator is reached by a program behind a NAT; one behind a NAT is reached by
/// programs of its own network, and by nobody else.
fn with_their_own(context: &Context<'_>) -> Result<String> {
    let package = Package::ready(context.programs)?;
    let lab = Lab::build(NatKind::Open, NatKind::PortRestricted, context.folder)?;
    let _services = Services::start(&lab, context.programs)?;

    for (site, visitor) in [(&lab.a, &lab.b), (&lab.b, &lab.b)] {
        let logs = lab.folder.join(site.kind.name());
        let host = format!("signalingPort: {SIGNALING_PORT}, signalingHost: '{}'", site.local);
        let program = package.documented(site, &host, &logs)?;
        let mut command = package.node(site, &program);
        command.env("NODE_OPTIONS", format!("--require {}", package.support("awaiting.js")));
        let running = Running::start("documented", &mut command, &logs)?;
        let line = running.wait_for_line(READY_LIMIT, |line| line.starts_with("join "))?;
        let [_, url, token] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("the program said {line:?}");
        };
        if site.kind != NatKind::Open {
            check_unreachable(&package, &lab, token)?;
        }
        let waiting = package.waiting(visitor, url, token, &logs)?;
        let printed = Printed::of(running)?;
        check_network(&printed, site)?;
        check_figures(&printed, SIGNALING_PORT, 2)?;
        last_report(&waiting, MY_PEER)?;
    }
    Ok("reached through a NAT at the open host, from its own network behind the NAT".to_owned())
}

/// Behind a symmetric NAT, at a coordinator without a relay: an issue, not an error.
fn told_to_name_a_relay(context: &Context<'_>) -> Result<String> {
    let package = Package::ready(context.programs)?;
    let lab = Lab::build(NatKind::Symmetric, NatKind::Open, context.folder)?;
    let services = Services::start_without_relay(&lab, context.programs)?;
    let mut command = package.node(&lab.a, &package.support("unwell.js"));
    command.env("P2P_URL", services.url()).env("P2P_TOKEN", services.token(MY_PEER)?);
    command.env("P2P_STUN", Services::stun_servers().join(","));
    let program = Running::start("unwell", &mut command, &lab.folder)?.finish(PROGRAM_LIMIT)?;
    let line = program.stdout.last().with_context(|| program.stderr.join(" | "))?;
    let health: Value = serde_json::from_str(line).with_context(|| format!("it said {line:?}"))?;
    ensure!(health["healthy"] == false, "it says that all is well: {health}");
    let issues = serde_json::json!(["Symmetric NAT detected but no TURN servers configured"]);
    ensure!(health["issues"] == issues, "the issues are {}", health["issues"]);
    Ok(issues[0].to_string())
}

/// From the other site, the address of the host's NAT does not lead to its coordinator.
fn check_unreachable(package: &Package, lab: &Lab, token: &str) -> Result<()> {
    let mut command = package.settled(&lab.a, MY_PEER, Path::Direct);
    command.env("P2P_URL", format!("ws://{}:{SIGNALING_PORT}", lab.b.public));
    command.env("P2P_TOKEN", token);
    let refused = Running::start("outside", &mut command, &lab.folder)?.finish(PROGRAM_LIMIT)?;
    let said = refused.stderr.join("\n");
    ensure!(!refused.status.success(), "a coordinator behind a NAT was reached from outside");
    ensure!(
        said.contains("P2P initialization failed: ") && said.contains("code: 'unreachable'"),
        "from outside: {said}"
    );
    Ok(())
}

/// The package with the addon of this build.
struct Package {
    folder: PathBuf,
}

impl Package {
    fn ready(programs: &Programs) -> Result<Self> {
        // Cases run side by side; the addon is laid out for them once at a time.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/node");
        let folder = fs::canonicalize(&folder).context("clients/node")?;
        let library = programs.natlab.with_file_name("libp2p_node.so");
        ensure!(
            library.is_file(),
            "{} is missing: build it with `cargo build -p p2p-node`",
            library.display()
        );
        let mut build = Command::new("node");
        build.arg(folder.join("scripts/build.js")).env("P2P_NODE_LIBRARY", library);
        run(&mut build)?;
        Ok(Self { folder })
    }

    fn support(&self, file: &str) -> String {
        self.folder.join("test/support").join(file).display().to_string()
    }

    fn node(&self, site: &Site, program: &str) -> Command {
        let mut command = site.host.command("node");
        command.arg(program);
        command
    }

    /// The program of the documentation with this package, this coordinator and the lab's servers.
    fn documented(&self, site: &Site, coordinator: &str, logs: &FilePath) -> Result<String> {
        let example = self.folder.join("examples/simple.js");
        let mut text = fs::read_to_string(&example)?;
        let package = self.folder.display();
        for (word, other) in [
            ("'p2p-coordinator'", format!("'{package}'")),
            ("signalingPort: 8080", coordinator.to_owned()),
            ("stun.example.org", SERVER.to_string()),
            ("turn.example.org", SERVER.to_string()),
        ] {
            ensure!(text.matches(word).count() == 1, "{word} is not once in {}", example.display());
            text = text.replace(word, &other);
        }
        fs::create_dir_all(logs)?;
        let program = logs.join(format!("documented-{}.js", site.kind));
        fs::write(&program, text)?;
        Ok(std::path::absolute(program)?.display().to_string())
    }

    /// A peer that answers, once it is registered.
    fn waiting(&self, site: &Site, url: &str, token: &str, logs: &FilePath) -> Result<Running> {
        let mut command = self.node(site, &self.support("waiting-peer.js"));
        command.env("P2P_URL", url).env("P2P_TOKEN", token);
        let running = Running::start("waiting", &mut command, logs)?;
        running.wait_for_line(READY_LIMIT, |line| line == "ready")?;
        Ok(running)
    }

    /// A program that tells what it knows when its connection has the expected path.
    fn settled(&self, site: &Site, peer: &str, expected: Path) -> Command {
        let mut command = self.node(site, &self.support("settled.js"));
        command.arg(peer).arg(match expected {
            Path::Direct => "direct",
            Path::Relay => "relay",
        });
        command
    }
}

/// What the program of the documentation has printed, on one line.
struct Printed(String);

impl Printed {
    fn of(program: Running) -> Result<Self> {
        let finished: Finished = program.finish(PROGRAM_LIMIT)?;
        ensure!(
            finished.status.success(),
            "the program failed: {}: {}",
            finished.status,
            finished.stderr.join(" | ")
        );
        let words: Vec<&str> = finished.stdout.iter().flat_map(|l| l.split_whitespace()).collect();
        Ok(Self(words.join(" ")))
    }

    /// The first value of a name, without its quotation marks.
    fn field(&self, name: &str) -> Result<&str> {
        let after = self.0.split_once(&format!("{name}: ")).map(|(_, after)| after);
        let value = after.and_then(|after| after.split([',', ' ', '}']).next());
        // A text has blanks inside.
        let text = after.and_then(|after| after.strip_prefix('\''));
        let text = text.and_then(|after| after.split('\'').next());
        text.or(value).with_context(|| format!("no {name} in {}", self.0))
    }

    fn has(&self, words: &str) -> Result<()> {
        ensure!(self.0.contains(words), "{words:?} is not in {}", self.0);
        Ok(())
    }
}

/// The name of a kind, the recommended method and its chance in percent.
fn expectations(kind: NatKind) -> (&'static str, &'static str, u32) {
    match kind {
        NatKind::Open | NatKind::FullCone => (kind.nat_type(), "direct", 95),
        NatKind::Symmetric => (kind.nat_type(), "relay", 99),
        _ => (kind.nat_type(), "udp-hole-punch", 85),
    }
}

/// `getNATInfo()`, `getRecommendedStrategy()` and the path.
fn check_network(printed: &Printed, site: &Site) -> Result<()> {
    let (nat_type, method, chance) = expectations(site.kind);
    printed.has(&format!("{{ type: '{nat_type}', publicIP: '{}', publicPort: ", site.public))?;
    let port: u16 = printed.field("publicPort")?.parse().context("publicPort")?;
    ensure!(port > 0, "publicPort is 0");
    printed.has("mapping: 'endpoint-independent'")?;
    printed.has("udp: true")?;
    printed.has(&format!(
        "{{ method: '{method}', successRate: {chance}, natType: '{nat_type}', relayAvailable: true }}"
    ))?;
    let kind = printed.field("kind")?;
    ensure!(["direct", "relay"].contains(&kind), "the path's kind is {kind}");
    let rtt: f64 = printed.field("rtt")?.parse().context("rtt")?;
    ensure!(rtt >= 0.0, "the round trip took {rtt} ms");
    Ok(())
}

/// `getStats()` and `healthCheck()` after one connection.
fn check_figures(printed: &Printed, port: u16, peers: u32) -> Result<()> {
    printed.has(&format!(
        "{{ registeredPeers: {peers}, activePeers: 1, totalConnections: 1, successfulPunches: "
    ))?;
    // The relay may carry the first bytes, and what the path becomes is decided later.
    let punches = printed.field("successfulPunches")?;
    ensure!(["0", "1"].contains(&punches), "{punches} punches of one connection");
    printed.has("failedAttempts: 0")?;
    let uptime: u64 = printed.field("uptime")?.parse().context("uptime")?;
    ensure!(uptime > 0, "uptime is 0");
    printed.has(&format!("peers: {{ registered: {peers}, active: 1, connections: 1 }}"))?;
    printed.has("performance: { successRate: '100.00', failureRate: '0.00' }")?;
    let nat_type = printed.field("natType")?;
    printed.has("{ healthy: true, services: { holePunching: { status: 'active', natType: '")?;
    printed.has(&format!("holePunching: {{ status: 'active', natType: '{nat_type}' }}"))?;
    printed.has(&format!("signaling: {{ status: 'active', port: {port}, peers: {peers} }}"))?;
    printed.has("issues: [] }")
}

/// The waiting side's line about the end of a connection with this peer.
fn last_report(waiting: &Running, peer: &str) -> Result<Value> {
    let beginning = format!("{{\"peer\":\"{peer}\"");
    let line = waiting.wait_for_line(READY_LIMIT, |line| line.starts_with(&beginning))?;
    serde_json::from_str(&line).with_context(|| format!("the waiting side said {line:?}"))
}

/// The waiting side after its first connection.
fn check_report(report: &Value, site: &Site) -> Result<()> {
    let (nat, stats, health) = (&report["nat"], &report["stats"], &report["health"]);
    ensure!(nat["type"] == site.kind.nat_type(), "the other side is {nat}");
    ensure!(nat["publicIP"] == site.public.to_string(), "the other side is at {nat}");
    ensure!(stats["totalConnections"] == 1 && stats["failedAttempts"] == 0, "it counted {stats}");
    ensure!(stats["peers"]["connections"] == 0, "a closed connection is counted: {stats}");
    ensure!(health["healthy"] == true, "the other side is not well: {health}");
    Ok(())
}

/// The caller's side when the path is decided.
fn check_settled(told: &Value, expected: Path, lab: &Lab) -> Result<()> {
    let (path, stats, verdict) = (&told["path"], &told["stats"], &told["verdict"]);
    let (kind, method, punches, relayed) = match expected {
        Path::Direct => ("direct", "udp-hole-punch", 1, 0),
        Path::Relay => ("relay", "relay", 0, 1),
    };
    ensure!(path["kind"] == kind && path["method"] == method, "the path is {path}");
    ensure!(verdict["outcome"] == kind, "the verdict is {verdict}");
    ensure!(stats["successfulPunches"] == punches, "expected {punches} punches: {stats}");
    ensure!(stats["relayedConnections"] == relayed, "expected {relayed} relayed: {stats}");
    ensure!(told["answered"] == true, "a message came back changed");
    ensure!(told["health"]["healthy"] == true, "not well: {}", told["health"]);
    let remote = path["remote"].as_str().unwrap_or_default();
    let host = remote.rsplit_once(':').and_then(|(host, _)| host.parse::<Ipv4Addr>().ok());
    ensure!(
        expected == Path::Relay || host == Some(lab.b.public),
        "the path leads to {remote}, expected {}",
        lab.b.public
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_from_what_node_prints() {
        let printed = Printed(
            "{ type: 'Full Cone', publicIP: '203.0.113.11', publicPort: 40000, udp: true } \
             { rtt: 1.25 }"
                .to_owned(),
        );
        assert_eq!(printed.field("type").expect("a type"), "Full Cone");
        assert_eq!(printed.field("publicPort").expect("a port"), "40000");
        assert_eq!(printed.field("rtt").expect("a time"), "1.25");
        assert!(printed.field("uptime").is_err());
    }
}
