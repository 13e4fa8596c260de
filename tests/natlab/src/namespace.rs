//! Network namespaces with names that tell whose they are.
//!
//! A name is `p2plab-<pid>-<lab>-<role>`. Two runs never collide, and the leftovers of a run whose
//! process is gone can be recognised and removed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::process::run;

const PREFIX: &str = "p2plab";
/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";

/// The number of one lab within this process: the part of the name its namespaces share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabId(u32);

impl LabId {
    /// A number that no other lab of this process has.
    pub fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One network namespace. Dropping it kills what still runs inside and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates the namespace with its loopback up and without IPv6: the lab is an IPv4 internet,
    /// and link-local IPv6 on the shared segment would be a path around the NATs.
    pub fn create(lab: LabId, role: &str) -> Result<Self> {
        let name = format!("{PREFIX}-{}-{}-{role}", process::id(), lab.0);
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6", 1)?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> String {
        format!("{NAMES}/{}", self.name)
    }

    /// A command that will run inside. `ip netns exec` becomes the program, so the child's process
    /// id is the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip <words>` on this namespace.
    pub fn ip(&self, words: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    pub fn sysctl(&self, key: &str, value: u32) -> Result<()> {
        run(self.command("sysctl").args(["-qw", &format!("{key}={value}")])).map(drop)
    }

    /// Keeps the rules of IP away from what a bridge has not yet handed up. Where `br_netfilter` is
    /// loaded, a packet would be translated inside the bridge and never be routed, so that none could
    /// turn around to the cable it came from.
    pub fn let_bridges_be(&self) -> Result<()> {
        // Unknown, and so not needed, where the module is not there.
        let setting = "net.bridge.bridge-nf-call-iptables=0";
        run(self.command("sysctl").args(["-eqw", setting])).map(drop)
    }

    /// Loads a ruleset, replacing nothing that is already there.
    pub fn nft(&self, ruleset: &str, folder: &Path) -> Result<()> {
        let file = folder.join(format!("{}.nft", self.name));
        fs::write(&file, ruleset).with_context(|| format!("cannot write {}", file.display()))?;
        run(self.command("nft").arg("-f").arg(&file)).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("natlab: cannot remove namespace {}: {error:#}", self.name);
        }
    }
}

/// Removes the namespaces of runs that have died, with the programs left in them; returns their
/// names.
pub fn sweep_dead_runs() -> Result<Vec<String>> {
    let dead = all_names()?.into_iter().filter(|name| {
        owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    });
    remove_all(dead)
}

/// Removes the namespaces of this process: for the way out on a signal, where nothing is dropped.
pub fn remove_own() -> Result<Vec<String>> {
    remove_all(all_names()?.into_iter().filter(|name| owner(name) == Some(process::id())))
}

/// Makes sure the process may create namespaces.
pub fn check_privilege() -> Result<()> {
    let uid = run(Command::new("id").arg("-u"))?;
    ensure!(uid.trim() == "0", "the NAT lab needs root for network namespaces: run it with sudo");
    Ok(())
}

fn remove_all(names: impl Iterator<Item = String>) -> Result<Vec<String>> {
    names.map(|name| remove(&name).map(|()| name)).collect()
}

/// Several runs may sweep at once: what another one has removed meanwhile is removed.
fn remove(name: &str) -> Result<()> {
    let removed = try_remove(name);
    if removed.is_err() && !Path::new(NAMES).join(name).exists() {
        return Ok(());
    }
    removed
}

fn try_remove(name: &str) -> Result<()> {
    // Everything inside was started by the lab; a program that outlives its namespace's name would
    // keep the namespace alive without a way to find it.
    for pid in run(Command::new("ip").args(["netns", "pids", name]))?.split_whitespace() {
        // It may end by itself in between.
        drop(run(Command::new("kill").args(["-KILL", pid])));
    }
    run(Command::new("ip").args(["netns", "delete", name])).map(drop)
}

fn all_names() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(NAMES) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// The process that made the namespace, or `None` if the name is not one of the lab's.
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.split('-');
    if parts.next() != Some(PREFIX) {
        return None;
    }
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next()?;
    Some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_lab_have_an_owner() {
        assert_eq!(owner("p2plab-4711-0-wan"), Some(4711));
        for name in ["p2plab", "p2plab-x-0-wan", "p2plab-4711", "p2plab-4711-x-wan", "cni-4711-0-a"]
        {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn two_labs_of_one_process_have_different_numbers() {
        assert_ne!(LabId::next(), LabId::next());
    }
}
