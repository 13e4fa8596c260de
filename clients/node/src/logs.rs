//! `enableDetailedLogging`: the Rust side's log on stderr.

use napi_derive::napi;
use p2p_telemetry::logs;

use crate::failure::usage;

/// Starts the log of this process, once; `filter` as `P2P_LOG` has it.
#[napi]
pub fn enable_logs(filter: String) -> napi::Result<()> {
    logs::init_with(logs::LogFormat::default(), &filter)
        .map_err(|error| usage(error.to_string(), "set P2P_LOG to a level such as debug"))
}
