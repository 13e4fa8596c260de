//! `p2p netcheck`: what this network is, what works, and what would help.

use std::path::PathBuf;

use p2p_client::netcheck::{NetcheckReport, RelayCheck};
use p2p_client::{Mapping, NatProfile, NetcheckConfig, Secret, netcheck};

use crate::failure::Failure;
use crate::session;
use crate::talk::data;
use crate::token::TokenArgs;

/// Columns of the labels.
const LABEL: usize = 11;

/// Show what this network is, what works, and what would help
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The coordinator, whose STUN servers and relays are checked: ws://HOST:PORT or wss://HOST
    #[arg(long, env = "P2P_SERVER", value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// STUN server to ask; may be repeated, and two on different addresses tell more than one
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "P2P_STUN",
        value_delimiter = ',',
        value_parser = session::stun_server
    )]
    stun: Vec<String>,
    /// File with certificates to trust besides the public ones (PEM)
    #[arg(long, env = "P2P_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, env = "P2P_JSON")]
    pub json: bool,
}

/// Measures and prints. What there is to say is said also where the coordinator is away.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let server = args.server.clone().filter(|server| !server.trim().is_empty());
    let token = args.token.read()?;
    let server = match (server, token) {
        (Some(server), Some(token)) => Some((server, Secret::new(token))),
        (Some(_), None) => {
            return Err(Failure::usage(
                "a server is named, and no token for it",
                "pass --token-file FILE or set P2P_TOKEN, or name a STUN server with --stun instead",
            ));
        }
        (None, _) => None,
    };
    if server.is_none() && args.stun.is_empty() {
        return Err(Failure::usage(
            "there is nobody to ask: no server and no STUN server is named",
            "pass --server URL with --token-file FILE, or --stun HOST:PORT",
        ));
    }
    let extra_roots = session::extra_roots(args.ca_file.as_deref())?;
    let config = NetcheckConfig { server, stun: args.stun.clone(), extra_roots };
    let report = netcheck(config).await?;
    if args.json {
        let text = serde_json::to_string(&report).map_err(|e| Failure::bug(e.to_string()))?;
        data(&text);
    } else {
        for (label, text) in lines(&report) {
            data(format!("{label:<LABEL$} {text}").trim_end());
        }
    }
    match report.signaling.and_then(|check| check.failure) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// The report, one label and text a line. A line that goes on has no label.
fn lines(report: &NetcheckReport) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(check) = &report.signaling {
        let text = match &check.error {
            None => format!("ok   {} ms, token accepted", check.ms),
            Some(error) => format!("no   {error}"),
        };
        lines.push(("signaling", text));
    }
    lines.push(("UDP", udp(report)));
    lines.push(("TCP", tcp(&report.nat)));
    lines.push((
        "IPv6",
        match (report.ipv6.address, report.ipv6.reachable) {
            (_, Some(true)) => "ok".to_owned(),
            (_, Some(false)) => "no   no STUN server answered over it".to_owned(),
            (true, None) => {
                "?    this host has an address, and no STUN server was asked".to_owned()
            }
            (false, None) => "no   this host has no global address".to_owned(),
        },
    ));
    lines.push(("NAT", nat(&report.nat)));
    for (axis, why) in &report.nat.unknown_because {
        lines.push(("", format!("{axis} unknown: {why}")));
    }
    for (index, relay) in report.relays.iter().enumerate() {
        lines.push((if index == 0 { "relays" } else { "" }, relay_line(relay)));
    }
    if report.relays.is_empty() {
        lines.push(("relays", "none offered".to_owned()));
    }
    lines.push(("verdict", report.verdict.clone()));
    for (index, advice) in report.advice.iter().enumerate() {
        lines.push((if index == 0 { "advice" } else { "" }, advice.clone()));
    }
    lines
}

fn udp(report: &NetcheckReport) -> String {
    if !report.udp {
        return "no   no STUN server answered".to_owned();
    }
    let address = report.nat.public_address.map_or("unknown".to_owned(), |a| a.to_string());
    let port = match report.nat.port_preserving {
        Some(true) => ", port kept",
        Some(false) => ", port changed",
        None => "",
    };
    format!("ok   public address {address}{port}")
}

fn tcp(profile: &NatProfile) -> String {
    match profile.tcp {
        None => "?    no STUN server answered over it".to_owned(),
        Some(tcp) => {
            let address = tcp.public_address.map_or("unknown".to_owned(), |a| a.to_string());
            let unknown = match tcp.mapping {
                Mapping::Unknown => {
                    ": one address cannot tell whether it depends on the destination"
                }
                _ => "",
            };
            format!("ok   public address {address}, mapping {}{unknown}", tcp.mapping)
        }
    }
}

fn nat(profile: &NatProfile) -> String {
    let NatProfile { nat_type, mapping, filtering, .. } = profile;
    let hairpin = match profile.hairpin {
        Some(true) => ", hairpin yes",
        Some(false) => ", hairpin no",
        None => "",
    };
    let ports = profile.port_allocation.map_or(String::new(), |ports| format!(", ports {ports}"));
    format!("{nat_type}: mapping {mapping}, filtering {filtering}{ports}{hairpin}")
}

fn relay_line(relay: &RelayCheck) -> String {
    let RelayCheck { server, transport, ok, allocate_ms, error } = relay;
    match (ok, error) {
        (true, _) => {
            let ms = allocate_ms.map_or(String::new(), |ms| format!(", allocated in {ms} ms"));
            format!("ok   {server} {transport}{ms}")
        }
        (false, error) => {
            let why = error.as_deref().unwrap_or("no allocation");
            format!("no   {server} {transport}: {why}")
        }
    }
}
