//! Proof that a NAT is what it claims, by someone else's RFC 5780 implementation.
//!
//! coturn's `turnserver` answers on two addresses with two ports each, and its
//! `turnutils_natdiscovery` asks from inside the site: mapping (RFC 5780 §4.3), then filtering from
//! a fresh port (§4.4). Neither shares a line with what the lab is there to test.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cases::Case;
use crate::early_packet;
use crate::nat::{Dependence, NatKind};
use crate::process::{Running, Transport};
use crate::topology::{Lab, SECOND_SERVER, SERVER, Site};

const PORT: u16 = 3478;
/// coturn's alternate port where none is given: the next one.
const ALTERNATE_PORT: u16 = PORT + 1;

const START_LIMIT: Duration = Duration::from_secs(15);
/// Each unanswered request costs the tool 3.1 s, and a run makes at most two of them.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(30);

/// What the probe saw of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Not one answer: UDP does not pass.
    NoAnswer,
    Answered {
        mapping: Dependence,
        filtering: Dependence,
        /// The server sees the host's own address.
        translated: bool,
    },
}

impl Behaviour {
    /// What a NAT of this kind must look like.
    pub fn of(kind: NatKind) -> Self {
        match (kind.mapping(), kind.filtering()) {
            (Some(mapping), Some(filtering)) => {
                Self::Answered { mapping, filtering, translated: kind != NatKind::Open }
            }
            _ => Self::NoAnswer,
        }
    }
}

/// One case for each kind: the independent probe agrees, and rule R0 holds.
pub fn cases() -> Vec<Case> {
    let proof = |kind: NatKind| {
        Case::new(format!("nat {kind} is what it claims"), move |context| {
            let lab = Lab::build(kind, NatKind::Open, context.folder)?;
            let seen = {
                let _server = start_coturn(&lab)?;
                discover(&lab, &lab.a)?
            };
            let claimed = Behaviour::of(kind);
            ensure!(seen == claimed, "natdiscovery saw {seen:?}, a {kind} NAT is {claimed:?}");
            early_packet::check(&lab, context)?;
            Ok(format!("natdiscovery: {}", describe(seen)))
        })
    };
    NatKind::ALL.into_iter().chain([NatKind::EarlyPacket]).map(proof).collect()
}

/// Starts coturn as an RFC 5780 server on both server addresses of the lab.
pub fn start_coturn(lab: &Lab) -> Result<Running> {
    let mut command = lab.wan.command("turnserver");
    command.args(["-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp"]);
    command.args(["--listening-ip", &SERVER.to_string()]);
    command.args(["--listening-ip", &SECOND_SERVER.to_string()]);
    command.args(["--listening-port", &PORT.to_string(), "--log-file", "stdout"]);
    command.arg("--pidfile").arg(lab.folder.join("coturn.pid"));
    let mut server = Running::start("coturn", &mut command, &lab.folder)?;
    for address in [SERVER, SECOND_SERVER] {
        for port in [PORT, ALTERNATE_PORT] {
            let address = SocketAddrV4::new(address, port);
            server.wait_until_bound(Transport::Udp, address, START_LIMIT)?;
        }
    }
    Ok(server)
}

/// Asks coturn's client, on the site's host, what it sees of the site's NAT.
///
/// The local address is given because the tool otherwise compares the mapped address with 0.0.0.0
/// and reports a NAT on an open host.
pub fn discover(lab: &Lab, site: &Site) -> Result<Behaviour> {
    let mut command = site.host.command("turnutils_natdiscovery");
    command.args(["-m", "-f", "-L", &site.local.to_string(), "-p", &PORT.to_string()]);
    command.arg(SERVER.to_string());
    let tool = Running::start("natdiscovery", &mut command, &lab.folder)?;
    let finished = tool.finish(DISCOVERY_LIMIT)?;
    ensure!(finished.status.success(), "natdiscovery failed: {}", finished.status);
    parse(&finished.stdout.join("\n")).context("the output of turnutils_natdiscovery")
}

/// Reads the verdicts out of what `turnutils_natdiscovery -m -f` prints.
///
/// It prints a heading for each of the two discoveries and under it one verdict sentence; on an
/// open host the mapping verdict comes twice, once as "No NAT!". A discovery without any answer
/// has only its timeout line.
fn parse(output: &str) -> Result<Behaviour> {
    let (before, after) = output
        .split_once("Filtering Behavior Discovery")
        .context("no filtering discovery in it: did the tool end early?")?;
    let mapping = verdict(before, "Mapping")?;
    let filtering = verdict(after, "Filtering")?;
    match (mapping, filtering) {
        (None, None) => Ok(Behaviour::NoAnswer),
        (Some(mapping), Some(filtering)) => {
            let translated = !before.contains("No NAT!");
            Ok(Behaviour::Answered { mapping, filtering, translated })
        }
        (mapping, filtering) => {
            bail!("one discovery without an answer: mapping {mapping:?}, filtering {filtering:?}")
        }
    }
}

fn verdict(section: &str, axis: &str) -> Result<Option<Dependence>> {
    // The longest name comes first: the others are not part of it, but it must not be missed.
    let known = [
        ("Address and Port Dependent", Dependence::AddressAndPortDependent),
        ("Address Dependent", Dependence::AddressDependent),
        ("Endpoint Independent", Dependence::EndpointIndependent),
    ];
    let mut verdicts = known.into_iter().filter_map(|(name, dependence)| {
        section.contains(&format!("NAT with {name} {axis}!")).then_some(dependence)
    });
    let verdict = verdicts.next();
    ensure!(verdicts.next().is_none(), "two different verdicts on {axis}");
    ensure!(
        verdict.is_some() || section.contains("receive timeout"),
        "neither a verdict nor a timeout on {axis}"
    );
    Ok(verdict)
}

/// For people.
pub fn describe(behaviour: Behaviour) -> String {
    match behaviour {
        Behaviour::NoAnswer => "no answer over UDP".into(),
        Behaviour::Answered { mapping, filtering, translated } => {
            let nat = if translated { "NAT" } else { "no NAT" };
            format!("{nat}, {mapping} mapping, {filtering} filtering")
        }
    }
}

impl std::fmt::Display for Dependence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(mapping: &str, filtering: &str) -> String {
        format!(
            "\n-= Mapping Behavior Discovery =-\n\n{mapping}\n\
             \n-= Filtering Behavior Discovery =-\n\n{filtering}\n"
        )
    }

    #[test]
    fn an_address_restricted_nat_is_read_as_such() {
        let output = output(
            "NAT with Endpoint Independent Mapping!",
            "STUN receive timeout..\nNAT with Address Dependent Filtering!",
        );
        assert_eq!(parse(&output).expect("verdict"), Behaviour::of(NatKind::AddressRestricted));
    }

    #[test]
    fn address_and_port_dependent_is_not_taken_for_address_dependent() {
        let output = output(
            "NAT with Address and Port Dependent Mapping!",
            "NAT with Address and Port Dependent Filtering!",
        );
        assert_eq!(parse(&output).expect("verdict"), Behaviour::of(NatKind::Symmetric));
    }

    #[test]
    fn an_open_host_has_no_nat() {
        let output = output(
            "No NAT! (Endpoint Independent Mapping)\nNAT with Endpoint Independent Mapping!",
            "NAT with Endpoint Independent Filtering!",
        );
        assert_eq!(parse(&output).expect("verdict"), Behaviour::of(NatKind::Open));
    }

    #[test]
    fn two_timeouts_are_no_answer_and_no_text_is_an_error() {
        let timeout = "STUN receive timeout..";
        assert_eq!(parse(&output(timeout, timeout)).expect("verdict"), Behaviour::NoAnswer);
        assert!(parse(&output("", "")).is_err());
        assert!(parse("").is_err());
    }
}
