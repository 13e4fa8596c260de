//! The Debian packages that tests need, and installing those that are missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::output_of;

/// A program some tier runs, and the package it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What `tests/interop` runs: coturn's server and clients.
pub(crate) const INTEROP: &[Tool] =
    &[tool("turnserver", "coturn"), tool("turnutils_uclient", "coturn")];

/// What `tests/cluster` runs.
pub(crate) const CLUSTER: &[Tool] = &[tool("redis-server", "redis-server"), tool("kill", "procps")];

/// What the tests of the statistics store run: a PostgreSQL server of their own.
pub(crate) const STATS: &[Tool] = &[tool("initdb", "postgresql"), tool("postgres", "postgresql")];

/// What the benchmarks run.
pub(crate) const BENCH: &[Tool] =
    &[tool("redis-server", "redis-server"), tool("node", "nodejs"), tool("npm", "npm")];

/// What the NAT lab runs.
pub(crate) const LAB: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("conntrack", "conntrack"),
    tool("sysctl", "procps"),
    tool("kill", "procps"),
    tool("turnserver", "coturn"),
    tool("turnutils_natdiscovery", "coturn"),
    tool("curl", "curl"),
    tool("redis-server", "redis-server"),
    tool("node", "nodejs"),
];

/// What `clients/node` is built and tested with.
pub(crate) const NODE: &[Tool] = &[tool("node", "nodejs"), tool("npm", "npm")];

/// What `tests/browser` runs.
pub(crate) const BROWSER: &[Tool] = &[
    tool("chromium", "chromium"),
    tool("node", "nodejs"),
    tool("npm", "npm"),
    tool("redis-server", "redis-server"),
];

/// What `tests/deploy` renders and checks the chart with; the rest comes from PyPI.
pub(crate) const CHART: &[Tool] =
    &[tool("python3", "python3-venv"), tool("shellcheck", "shellcheck")];

/// What `tests/deploy` makes stand-ins for images of, and what it unpacks and starts an engine with.
pub(crate) const CONTAINERS: &[Tool] = &[
    tool("python3", "python3"),
    tool("redis-server", "redis-server"),
    tool("postgres", "postgresql"),
    tool("unshare", "util-linux"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
    tool("strip", "binutils"),
];

/// What the commands of README.md run besides our own binaries.
pub(crate) const README: &[Tool] =
    &[tool("unshare", "util-linux"), tool("ip", "iproute2"), tool("curl", "curl")];

/// Whether the process may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    output_of(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

/// Makes sure that network namespaces can be made: some containers forbid it even to root.
pub(crate) fn check_namespaces() -> Result<()> {
    let mut attempt = Command::new("unshare");
    if !is_root() {
        attempt.arg("--map-root-user");
    }
    output_of(attempt.args(["--net", "true"]))
        .map(drop)
        .context("network namespaces are not allowed here: run on the machine, not in a container")
}

/// Makes sure the tools are there, installing what is missing where that is possible.
///
/// # Errors
/// Says which packages are missing and how to get them.
pub(crate) fn provide(tools: &[Tool]) -> Result<()> {
    let missing = missing_packages(tools, is_installed);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let fix = format!("install them with `apt-get install {list}`");
    if !is_root() {
        anyhow::bail!("missing Debian packages and not root: {fix}, or run as root");
    }
    eprintln!("installing: {list}");
    install(&missing).with_context(|| format!("missing packages: {fix}"))?;
    let still = missing_packages(tools, is_installed);
    anyhow::ensure!(still.is_empty(), "installed, but still not found: {}", still.join(" "));
    Ok(())
}

/// Installs from the package lists that are there; refreshes them only if that fails.
fn install(packages: &[&'static str]) -> Result<()> {
    if apt_get(&["install", "--yes", "--no-install-recommends"], packages).is_ok() {
        return Ok(());
    }
    apt_get(&["update"], &[])?;
    apt_get(&["install", "--yes", "--no-install-recommends"], packages)
}

fn apt_get(words: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // A fresh machine may still be at its own updates: wait for them.
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=120"]).args(words).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().context("cannot run apt-get")?;
    // What went wrong inside a package is said on standard output.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().rev().take(8).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    anyhow::ensure!(output.status.success(), "apt-get {}: {}", words[0], last.join("\n"));
    Ok(())
}

fn missing_packages(tools: &[Tool], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut missing: Vec<&'static str> =
        tools.iter().filter(|tool| !is_there(tool.program)).map(|tool| tool.package).collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Looks in `PATH`, in the folders for administration, which only root has in its path, and where
/// Debian keeps PostgreSQL's programs, which nobody has in it.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.chain(postgres_folders()).any(|folder| folder.join(program).is_file())
}

fn postgres_folders() -> impl Iterator<Item = PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_brings_two_missing_tools_is_asked_for_once() {
        let missing = missing_packages(INTEROP, |_| false);
        assert_eq!(missing, ["coturn"]);
    }

    #[test]
    fn nothing_is_missing_where_every_tool_is_found() {
        assert!(missing_packages(LAB, |_| true).is_empty());
        assert!(is_installed("sh") && !is_installed("no-such-program"));
    }
}
