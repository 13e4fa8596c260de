//! `coordinator ports`: what a firewall has to let in.

use serde::Serialize;

use crate::failure::Failure;
use crate::output::data;

/// List the ports to open
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON array
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Port {
    port: &'static str,
    protocol: &'static str,
    role: &'static str,
    flag: &'static str,
    open_to: &'static str,
    purpose: &'static str,
}

const PORTS: [Port; 8] = [
    Port {
        port: "8080",
        protocol: "tcp",
        role: "signaling",
        flag: "--listen",
        open_to: "clients",
        purpose: "HTTP and WebSocket; put TLS in front of it",
    },
    Port {
        port: "3478",
        protocol: "udp",
        role: "relay",
        flag: "--listen",
        open_to: "clients",
        purpose: "STUN and TURN",
    },
    Port {
        port: "3478",
        protocol: "tcp",
        role: "relay",
        flag: "--listen",
        open_to: "clients",
        purpose: "TURN where UDP is blocked",
    },
    Port {
        port: "5349",
        protocol: "tcp",
        role: "relay",
        flag: "--listen",
        open_to: "clients",
        purpose: "TURN over TLS, with --listen tls://; or 443",
    },
    Port {
        port: "3479",
        protocol: "udp",
        role: "relay",
        flag: "--alternate-ip",
        open_to: "clients",
        purpose: "NAT discovery: with 3478, on both addresses",
    },
    Port {
        port: "3479",
        protocol: "tcp",
        role: "relay",
        flag: "--alternate-ip",
        open_to: "clients",
        purpose: "the same over TCP, where the relay listens on that",
    },
    Port {
        port: "49152-65535",
        protocol: "udp",
        role: "relay",
        flag: "--port-range",
        open_to: "clients",
        purpose: "relayed addresses, one port an allocation",
    },
    Port {
        port: "9090",
        protocol: "tcp",
        role: "both",
        flag: "--admin-listen",
        open_to: "operators",
        purpose: "/livez, /readyz and /metrics, where separated",
    },
];

/// Prints the table.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.json {
        let text = serde_json::to_string(&PORTS).map_err(|e| Failure::bug(e.to_string()))?;
        data(text);
        return Ok(());
    }
    data(format_args!(
        "{:<12} {:<5} {:<10} {:<15} {:<10} PURPOSE",
        "PORT", "PROTO", "ROLE", "FLAG", "OPEN TO"
    ));
    for Port { port, protocol, role, flag, open_to, purpose } in &PORTS {
        data(format_args!(
            "{port:<12} {protocol:<5} {role:<10} {flag:<15} {open_to:<10} {purpose}"
        ));
    }
    Ok(())
}
