//! The servers under test, on the lab's public segment.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cases::Programs;
use crate::peer::{random_bytes, to_hex};
use crate::process::{Running, Transport, run};
use crate::topology::{Lab, SECOND_SERVER, SERVER};

const STUN_PORT: u16 = 3478;
/// The relay's second port, with `--alternate-ip`: the next one.
const ALTERNATE_PORT: u16 = STUN_PORT + 1;
const SIGNALING_PORT: u16 = 8080;

/// A development build on a busy machine starts slowly; a healthy one needs a fraction of this.
const START_LIMIT: Duration = Duration::from_secs(20);

/// `coordinator relay` on both server addresses and `coordinator signaling` on the first. Clients are
/// told of the relay's first address only.
#[derive(Debug)]
pub struct Services {
    coordinator: PathBuf,
    jwt_secret: PathBuf,
    _relay: Running,
    _signaling: Running,
}

impl Services {
    /// Starts both and waits until they serve.
    pub fn start(lab: &Lab, programs: &Programs) -> Result<Self> {
        let turn_secret = write_secret(&lab.folder.join("turn-secret"))?;
        let jwt_secret = write_secret(&lab.folder.join("jwt-secret"))?;
        let relay = start_relay(lab, programs, &turn_secret)?;
        let signaling = start_signaling(lab, programs, &turn_secret, &jwt_secret)?;
        let coordinator = programs.coordinator.clone();
        Ok(Self { coordinator, jwt_secret, _relay: relay, _signaling: signaling })
    }

    /// The URL clients connect to.
    pub fn url(&self) -> String {
        format!("ws://{SERVER}:{SIGNALING_PORT}")
    }

    /// STUN servers on both addresses, for where they are to be named one by one.
    pub fn stun_servers() -> [String; 2] {
        [SERVER, SECOND_SERVER].map(|address| format!("{address}:{STUN_PORT}"))
    }

    /// A token for one peer, minted by the command that users have for it.
    pub fn token(&self, peer: &str) -> Result<String> {
        let mut command = std::process::Command::new(&self.coordinator);
        command.args(["token", "--peer", peer, "--jwt-secret-file"]).arg(&self.jwt_secret);
        let token = run(&mut command)?.trim().to_owned();
        ensure!(token.split('.').count() == 3, "`coordinator token` printed no JWT: {token:?}");
        Ok(token)
    }
}

fn start_relay(lab: &Lab, programs: &Programs, turn_secret: &Path) -> Result<Running> {
    let mut command = lab.wan.command(&programs.coordinator);
    command.arg("relay");
    command.args(["--listen", &format!("udp://{SERVER}:{STUN_PORT}")]);
    command.args(["--alternate-ip", &SECOND_SERVER.to_string()]);
    command.args(["--realm", "lab", "--external-ip", &SERVER.to_string()]);
    command.arg("--turn-secret-file").arg(turn_secret);
    // Both are documentation ranges (RFC 5737), which the relay denies unless told otherwise.
    command.args(["--allow-peer", "203.0.113.0/24", "--allow-peer", "198.51.100.0/24"]);
    let mut relay = Running::start("relay", &mut command, &lab.folder)?;
    for address in [SERVER, SECOND_SERVER] {
        for port in [STUN_PORT, ALTERNATE_PORT] {
            let address = SocketAddrV4::new(address, port);
            relay.wait_until_bound(Transport::Udp, address, START_LIMIT)?;
        }
    }
    Ok(relay)
}

fn start_signaling(
    lab: &Lab,
    programs: &Programs,
    turn_secret: &Path,
    jwt_secret: &Path,
) -> Result<Running> {
    let listen = SocketAddrV4::new(SERVER, SIGNALING_PORT);
    let mut command = lab.wan.command(&programs.coordinator);
    command.args(["signaling", "--listen", &listen.to_string()]);
    command.arg("--jwt-secret-file").arg(jwt_secret);
    command.arg("--turn-secret-file").arg(turn_secret);
    command.args(["--relay", &format!("turn:{SERVER}:{STUN_PORT}")]);
    command.arg("--data").arg(lab.folder.join("data"));
    let mut signaling = Running::start("signaling", &mut command, &lab.folder)?;
    signaling.wait_until_bound(Transport::Tcp, listen, START_LIMIT)?;
    Ok(signaling)
}

fn write_secret(path: &Path) -> Result<PathBuf> {
    let secret = to_hex(&random_bytes(32)?);
    fs::write(path, secret).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_owned())
}
