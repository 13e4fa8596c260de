//! `p2p forward` with a real program: `curl` on one host fetches a page from an HTTP server on the
//! other, through two NATs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cases::{Case, Context};
use crate::nat::{NatKind, Path, expected_path};
use crate::peer::{Peer, sha256_hex};
use crate::process::Running;
use crate::services::Services;
use crate::topology::Lab;

/// The lab's hosts have no other program on any port.
const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000);

const START_LIMIT: Duration = Duration::from_secs(10);
const FETCH_LIMIT: Duration = Duration::from_secs(40);

/// The same page over a direct path and over the relay.
pub fn cases() -> Vec<Case> {
    let pairs = [
        (NatKind::PortRestricted, NatKind::PortRestricted),
        (NatKind::PortRestricted, NatKind::Symmetric),
    ];
    let case = |(a, b)| {
        let path = match expected_path(a, b) {
            Path::Direct => "directly",
            Path::Relay => "by the relay",
        };
        let name = format!("forward carries HTTP between {a} and {b} {path}");
        Case::new(name, move |context| fetch_a_page(a, b, context))
    };
    pairs.map(case).into()
}

fn fetch_a_page(a: NatKind, b: NatKind, context: &Context<'_>) -> Result<String> {
    let lab = Lab::build(a, b, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;

    let mut http = lab.b.host.command(&context.programs.natlab);
    let http = Running::start("http", http.args(["http", "127.0.0.1:0"]), &lab.folder)?;
    let line = http.wait_for_line(START_LIMIT, |line| line.starts_with("listening on "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, address, _, sha256] = words[..] else {
        anyhow::bail!("`natlab http` said {line:?}");
    };

    let _listening = bob.listen(address)?;
    let _forward = alice.forward(&LOCAL.to_string(), bob.id)?;

    let file = lab.folder.join("page");
    let mut curl = lab.a.host.command("curl");
    curl.args(["--fail", "--silent", "--show-error", "--max-time", "30", "--output"]).arg(&file);
    curl.arg(format!("http://{LOCAL}/"));
    let curl = Running::start("curl", &mut curl, &lab.folder)?.finish(FETCH_LIMIT)?;
    ensure!(curl.status.success(), "curl failed: {}: {}", curl.status, curl.last_words());

    let page = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(sha256_hex(&page) == sha256, "the page of {} bytes arrived changed", page.len());
    Ok(format!("{} bytes, sha256 as served", page.len()))
}
