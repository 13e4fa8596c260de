//! Variables whose names are nearly those of settings: they have no effect, and nobody would know.
//!
//! A key of the file that does not exist is an error; a variable may be anybody's. `p2p` has some of its
//! own, and Kubernetes makes `P2P_COORDINATOR_SERVICE_HOST` and others of the names of services.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;
use crate::output::say;

/// What the names of all settings begin with.
const PREFIX: &str = "P2P_";
/// Slips of the pen: so many letters too much, too few, other ones or in another order. A short name has
/// room for one.
const SLIPS: usize = 2;
const SHORT: usize = 5;

/// Warns of each variable that is misspelt by the look of it.
pub fn warn_of_misspelt() {
    let command = Cli::command();
    let known = known(&command);
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str()
            && let Some(meant) = meant(name, &known)
        {
            say(format_args!(
                "warning: {name} in the environment has no effect\n  fix: did you mean {meant}?"
            ));
        }
    }
}

/// The variables of all commands.
fn known(command: &Command) -> BTreeSet<&str> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env().and_then(OsStr::to_str));
    own.chain(command.get_subcommands().flat_map(known)).collect()
}

/// The known name that an unknown one is nearly: one with a slip, or the longer one that it begins.
fn meant<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let stem = name.strip_prefix(PREFIX)?;
    if known.contains(name) {
        return None;
    }
    let slips = if stem.len() <= SHORT { 1 } else { SLIPS };
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), *known))
        .filter(|(distance, _)| *distance <= slips)
        .min();
    let longer = || {
        known.iter().copied().find(|known| {
            known.strip_prefix(name).is_some_and(|rest| ["_URL", "_FILE"].contains(&rest))
        })
    };
    near.map(|(_, known)| known).or_else(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_told_with_the_one_that_was_meant() {
        let command = Cli::command();
        let known = known(&command);
        for (name, is_meant) in [
            ("P2P_JWT_SECERT_FILE", "P2P_JWT_SECRET_FILE"),
            ("P2P_TURNSECRET", "P2P_TURN_SECRET"),
            ("P2P_EXTERNAL_IPS", "P2P_EXTERNAL_IP"),
            ("P2P_REDIS", "P2P_REDIS_URL"),
            ("P2P_DATABASE", "P2P_DATABASE_URL"),
            ("P2P_RELM", "P2P_REALM"),
        ] {
            assert_eq!(meant(name, &known), Some(is_meant), "{name}");
        }
    }

    #[test]
    fn what_is_right_or_somebody_else_s_is_no_slip() {
        let command = Cli::command();
        let known = known(&command);
        assert!(known.contains("P2P_CONFIG_ROLE"), "commands below commands, too");
        let of_p2p = [
            "PEER",
            "STUN",
            "CA_FILE",
            "LOCAL_PORT",
            "TIMEOUT",
            "POLICY",
            "TO",
            "LOOP",
            "RETRIES",
            "PING_COUNT",
            "PING_INTERVAL",
            "PING_UNTIL_DIRECT",
            "BENCH_SECS",
        ];
        let others = ["BLESS", "APP_HOME", "COORDINATOR", "TEAM", "X"];
        for stem in of_p2p.iter().chain(&others) {
            assert_eq!(meant(&format!("P2P_{stem}"), &known), None, "{stem}");
        }
        for name in &known {
            assert_eq!(meant(name, &known), None);
        }
        assert_eq!(meant("PATH", &known), None);
        for service in ["P2P", "P2P_COORDINATOR", "P2P_REDIS", "P2P_RELAY", "P2P_DATABASE"] {
            for variable in [
                "SERVICE_HOST",
                "SERVICE_PORT",
                "SERVICE_PORT_HTTP",
                "PORT",
                "PORT_8080_TCP",
                "PORT_8080_TCP_PROTO",
                "PORT_8080_TCP_PORT",
                "PORT_8080_TCP_ADDR",
            ] {
                let name = format!("{service}_{variable}");
                assert_eq!(meant(&name, &known), None, "{name}");
            }
        }
    }
}
