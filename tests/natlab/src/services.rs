//! The servers under test, on the lab's public segment.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cases::Programs;
use crate::peer::{random_bytes, to_hex};
use crate::process::{Running, Transport, run};
use crate::topology::{Lab, SECOND_SERVER, SERVER};

const STUN_PORT: u16 = 3478;
/// The relay over TLS, where networks let browsers through.
const TLS_PORT: u16 = 443;
/// The relay's second port, with `--alternate-ip`: the next one.
const ALTERNATE_PORT: u16 = STUN_PORT + 1;
const SIGNALING_PORT: u16 = 8080;

/// A development build on a busy machine starts slowly; a healthy one needs a fraction of this.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The static user of the relay, for programs that name TURN servers themselves.
pub const TURN_USER: (&str, &str) = ("user", "pass");
const REDIS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6379);

/// The relay's certificate, which is for the first server address and vouches for itself.
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../certificates/one.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../certificates/one.key");

/// `coordinator relay` on both server addresses and `coordinator signaling` on the first. Clients are
/// told of the relay's first address only.
#[derive(Debug)]
pub struct Services {
    coordinator: PathBuf,
    turn_secret: PathBuf,
    jwt_secret: PathBuf,
    relay: Option<Running>,
    signaling: Vec<Running>,
    _redis: Option<Running>,
}

/// Whether signaling offers the relay to its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relayed {
    Yes,
    No,
}

impl Services {
    /// Starts both and waits until they serve.
    pub fn start(lab: &Lab, programs: &Programs) -> Result<Self> {
        Self::start_instances(lab, programs, &[SERVER], None, Relayed::Yes)
    }

    /// The same, but signaling knows of no relay: the relay serves STUN to who names it.
    pub fn start_without_relay(lab: &Lab, programs: &Programs) -> Result<Self> {
        Self::start_instances(lab, programs, &[SERVER], None, Relayed::No)
    }

    /// The same with a signaling instance on either server address, and a Redis that they share.
    pub fn start_cluster(lab: &Lab, programs: &Programs) -> Result<Self> {
        let redis = start_redis(lab)?;
        let addresses = [SERVER, SECOND_SERVER];
        Self::start_instances(lab, programs, &addresses, Some(redis), Relayed::Yes)
    }

    fn start_instances(
        lab: &Lab,
        programs: &Programs,
        addresses: &[Ipv4Addr],
        redis: Option<Running>,
        relayed: Relayed,
    ) -> Result<Self> {
        let turn_secret = write_secret(&lab.folder.join("turn-secret"))?;
        let jwt_secret = write_secret(&lab.folder.join("jwt-secret"))?;
        let relay = start_relay(lab, programs, &turn_secret)?;
        let signaling = addresses.iter().map(|address| {
            let mut command = signaling(lab, programs, *address, &jwt_secret);
            if relayed == Relayed::Yes {
                command.arg("--turn-secret-file").arg(&turn_secret);
                command.args(["--relay", &format!("turn:{SERVER}:{STUN_PORT}")]);
                for uri in [
                    format!("turn:{SERVER}:{STUN_PORT}?transport=tcp"),
                    format!("turns:{SERVER}:{TLS_PORT}"),
                ] {
                    command.args(["--relay", &uri]);
                }
            }
            if redis.is_some() {
                command.args(["--redis", &format!("redis://{REDIS}")]);
            }
            start_signaling(lab, *address, &mut command)
        });
        let signaling = signaling.collect::<Result<Vec<_>>>()?;
        let coordinator = programs.coordinator.clone();
        let relay = Some(relay);
        Ok(Self { coordinator, turn_secret, jwt_secret, relay, signaling, _redis: redis })
    }

    /// Kills the relay and starts another in its place, which knows nothing of the first one's
    /// allocations.
    pub fn restart_relay(&mut self, lab: &Lab, programs: &Programs) -> Result<()> {
        self.relay = None;
        self.relay = Some(start_relay(lab, programs, &self.turn_secret)?);
        Ok(())
    }

    /// Kills every server.
    pub fn kill(&mut self) {
        self.relay = None;
        self.signaling.clear();
    }

    /// The URL clients connect to.
    pub fn url(&self) -> String {
        url(SERVER)
    }

    /// The URLs of the instances of a cluster.
    pub fn urls(&self) -> [String; 2] {
        [SERVER, SECOND_SERVER].map(url)
    }

    /// STUN servers on both addresses, for where they are to be named one by one.
    pub fn stun_servers() -> [String; 2] {
        [SERVER, SECOND_SERVER].map(|address| format!("{address}:{STUN_PORT}"))
    }

    /// Where the relay listens.
    pub fn relay() -> SocketAddrV4 {
        SocketAddrV4::new(SERVER, STUN_PORT)
    }

    /// A token for one peer, minted by the command that users have for it.
    pub fn token(&self, peer: &str) -> Result<String> {
        let mut command = Command::new(&self.coordinator);
        command.args(["token", "--peer", peer, "--jwt-secret-file"]).arg(&self.jwt_secret);
        let token = run(&mut command)?.trim().to_owned();
        ensure!(token.split('.').count() == 3, "`coordinator token` printed no JWT: {token:?}");
        Ok(token)
    }
}

fn start_relay(lab: &Lab, programs: &Programs, turn_secret: &Path) -> Result<Running> {
    let mut command = lab.wan.command(&programs.coordinator);
    command.arg("relay");
    for transport in ["udp", "tcp"] {
        command.args(["--listen", &format!("{transport}://{SERVER}:{STUN_PORT}")]);
    }
    command.args(["--listen", &format!("tls://{SERVER}:{TLS_PORT}")]);
    command.args(["--tls-cert", CERTIFICATE, "--tls-key", KEY]);
    command.args(["--alternate-ip", &SECOND_SERVER.to_string()]);
    command.args(["--realm", "lab", "--external-ip", &SERVER.to_string()]);
    command.arg("--turn-secret-file").arg(turn_secret);
    command.args(["--user", &format!("{}:{}", TURN_USER.0, TURN_USER.1)]);
    // Both are documentation ranges (RFC 5737), which the relay denies unless told otherwise.
    command.args(["--allow-peer", "203.0.113.0/24", "--allow-peer", "198.51.100.0/24"]);
    let mut relay = Running::start("relay", &mut command, &lab.folder)?;
    for address in [SERVER, SECOND_SERVER] {
        for port in [STUN_PORT, ALTERNATE_PORT] {
            let address = SocketAddrV4::new(address, port);
            relay.wait_until_bound(Transport::Udp, address, START_LIMIT)?;
            relay.wait_until_bound(Transport::Tcp, address, START_LIMIT)?;
        }
    }
    relay.wait_until_bound(Transport::Tcp, SocketAddrV4::new(SERVER, TLS_PORT), START_LIMIT)?;
    Ok(relay)
}

fn signaling(lab: &Lab, programs: &Programs, address: Ipv4Addr, jwt_secret: &Path) -> Command {
    let mut command = lab.wan.command(&programs.coordinator);
    command.args(["signaling", "--listen", &format!("{address}:{SIGNALING_PORT}")]);
    command.arg("--jwt-secret-file").arg(jwt_secret);
    command.arg("--data").arg(lab.folder.join(format!("data-{address}")));
    command
}

fn start_signaling(lab: &Lab, address: Ipv4Addr, command: &mut Command) -> Result<Running> {
    let name = if address == SERVER { "signaling" } else { "second-signaling" };
    let mut signaling = Running::start(name, command, &lab.folder)?;
    let listen = SocketAddrV4::new(address, SIGNALING_PORT);
    signaling.wait_until_bound(Transport::Tcp, listen, START_LIMIT)?;
    Ok(signaling)
}

/// A Redis of this lab's own, in its network namespace and in memory.
fn start_redis(lab: &Lab) -> Result<Running> {
    let mut command = lab.wan.command("redis-server");
    command.args(["--bind", &REDIS.ip().to_string(), "--port", &REDIS.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no"]).current_dir(&lab.folder);
    let mut redis = Running::start("redis", &mut command, &lab.folder)?;
    redis.wait_until_bound(Transport::Tcp, REDIS, START_LIMIT)?;
    Ok(redis)
}

fn url(address: Ipv4Addr) -> String {
    format!("ws://{address}:{SIGNALING_PORT}")
}

fn write_secret(path: &Path) -> Result<PathBuf> {
    let secret = to_hex(&random_bytes(32)?);
    fs::write(path, secret).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_owned())
}
