//! `coordinator version`.

use serde_json::json;

use crate::output::data;

/// Show the version
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints it.
pub fn run(args: &Args) {
    let protocol = p2p_wire::SUBPROTOCOL;
    if args.json {
        data(json!({ "name": "coordinator", "version": VERSION, "protocol": protocol }));
    } else {
        data(format_args!("coordinator {VERSION} (protocol {protocol})"));
    }
}
