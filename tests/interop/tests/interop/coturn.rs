//! coturn's own load generator, `turnutils_uclient`, against our relay.
//!
//! It numbers its messages and reports at the end how many never came back.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use p2p_relay::Transport;

use crate::our_relay::{Login, OurRelay};

const CLIENTS: u32 = 2;
const MESSAGES: u32 = 20;

#[test]
fn clients_of_one_relay_reach_each_other_on_channels() {
    relays_without_loss(&OurRelay::static_login(), &["-y", "-c"]);
}

#[test]
fn clients_of_one_relay_reach_each_other_by_send_indications() {
    relays_without_loss(&OurRelay::static_login(), &["-y", "-c", "-s"]);
}

#[test]
fn clients_with_time_limited_credentials_reach_each_other() {
    relays_without_loss(&OurRelay::rest_login(), &["-y", "-c"]);
}

/// Without `-c` the client asks for a second port beside the first: EVEN-PORT with the R bit, then
/// RESERVATION-TOKEN.
#[test]
fn clients_that_reserve_a_port_pair_reach_each_other() {
    relays_without_loss(&OurRelay::static_login(), &["-y"]);
}

#[test]
fn a_peer_is_reached_on_channels() {
    let Some(peer) = Peer::start() else { return };
    relays_without_loss(&OurRelay::rest_login(), &peer.and(&["-c"]));
}

#[test]
fn a_peer_is_reached_by_send_indications() {
    let Some(peer) = Peer::start() else { return };
    relays_without_loss(&OurRelay::rest_login(), &peer.and(&["-c", "-s"]));
}

#[test]
fn a_peer_is_reached_with_dont_fragment_and_padded_channel_data() {
    let Some(peer) = Peer::start() else { return };
    relays_without_loss(&OurRelay::static_login(), &peer.and(&["-c", "-g", "-D"]));
}

#[test]
fn a_peer_is_reached_with_extra_permission_and_channel_requests() {
    let Some(peer) = Peer::start() else { return };
    relays_without_loss(&OurRelay::static_login(), &peer.and(&["-c", "-G"]));
}

#[test]
fn clients_over_tcp_reach_each_other() {
    relays_without_loss(&OurRelay::static_login(), &["-t", "-y", "-c"]);
    relays_without_loss(&OurRelay::rest_login(), &["-t", "-y", "-c", "-s"]);
}

#[test]
fn clients_over_tls_reach_each_other() {
    relays_without_loss(&OurRelay::static_login(), &["-t", "-S", "-y", "-c"]);
    relays_without_loss(&OurRelay::rest_login(), &["-t", "-S", "-y", "-c", "-s"]);
}

#[test]
fn a_peer_is_reached_over_tcp_and_tls() {
    let Some(peer) = Peer::start() else { return };
    relays_without_loss(&OurRelay::rest_login(), &peer.and(&["-t", "-c"]));
    relays_without_loss(&OurRelay::rest_login(), &peer.and(&["-t", "-S", "-c"]));
}

/// Its negative protocol tests: malformed and misplaced requests among the good ones.
#[test]
fn the_relay_survives_the_negative_protocol_tests() {
    let Some(_) = binary("turnutils_uclient") else { return };
    let relay = OurRelay::start();
    run_client(&relay, &OurRelay::static_login(), &["-y", "-c", "-N"]);
    let output = run_client(&relay, &OurRelay::static_login(), &["-y", "-c"]).unwrap();
    assert_no_loss(&output);
}

#[test]
fn a_wrong_password_relays_nothing() {
    let Some(_) = binary("turnutils_uclient") else { return };
    let relay = OurRelay::start();
    let login = Login { password: "guess".to_owned(), ..OurRelay::static_login() };
    assert_eq!(run_client(&relay, &login, &["-y", "-c"]), None, "the client fails");
    let snapshot = relay.snapshot();
    assert_eq!((snapshot.allocations_created, snapshot.client_to_peer.packets), (0, 0));
    assert!(snapshot.drops["wrong_credentials"] > 0);
}

/// Runs the client once and asserts from its own report and from ours that all was relayed.
fn relays_without_loss(login: &Login, flags: &[&str]) {
    let Some(_) = binary("turnutils_uclient") else { return };
    let relay = OurRelay::start();
    let output = run_client(&relay, login, flags).expect("the client succeeds");
    assert_no_loss(&output);
    let snapshot = relay.snapshot();
    let sent = u64::from(CLIENTS * MESSAGES);
    assert!(snapshot.client_to_peer.packets >= sent, "{snapshot:?}");
    assert!(snapshot.peer_to_client.packets >= sent, "{snapshot:?}");
}

/// `Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)`, and before it how many
/// messages were sent and received.
fn assert_no_loss(output: &str) {
    let line = |start: &str| {
        let found = output.lines().filter_map(|line| line.split_once(start)).next_back();
        found.unwrap_or_else(|| panic!("no `{start}` in:\n{output}")).1.trim().to_owned()
    };
    assert!(line("Total lost packets ").starts_with("0 "), "{output}");
    assert!(line("total send dropped ").starts_with("0 "), "{output}");
    let messages = line("start_mclient: tot_send_msgs=");
    let (sent, rest) = messages.split_once(',').unwrap();
    let received = rest.trim().strip_prefix("tot_recv_msgs=").unwrap();
    assert_eq!(sent, received, "{output}");
    assert!(sent.parse::<u32>().unwrap() >= CLIENTS * MESSAGES, "{output}");
}

/// The client's output if it succeeded.
fn run_client(relay: &OurRelay, login: &Login, flags: &[&str]) -> Option<String> {
    let transport = match (flags.contains(&"-t"), flags.contains(&"-S")) {
        (false, _) => Transport::Udp,
        (true, false) => Transport::Tcp,
        (true, true) => Transport::Tls,
    };
    let addr = relay.addr_over(transport);
    let (port, clients, messages) =
        (addr.port().to_string(), CLIENTS.to_string(), MESSAGES.to_string());
    // The client waits for ever for some answers: `timeout` ends it.
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "turnutils_uclient"])
        .args(["-u", &login.username, "-w", &login.password])
        .args(["-p", &port, "-L", "127.0.0.1", "-m", &clients, "-n", &messages])
        .args(["-l", "171", "-z", "5"])
        .args(flags)
        .arg(addr.ip().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{:?}\n{text}", output.status);
        return None;
    }
    Some(text)
}

/// coturn's echo peer.
struct Peer {
    process: Child,
    at: Ipv4Addr,
}

/// The peer serves this port and the one above, on an address that nobody else binds.
const PEER_PORT: u16 = 3480;

impl Peer {
    fn start() -> Option<Self> {
        let program = binary("turnutils_peer")?;
        static STARTED: AtomicU8 = AtomicU8::new(0);
        let [.., high, low] = std::process::id().to_be_bytes();
        let at = Ipv4Addr::new(127, 64 + STARTED.fetch_add(1, Ordering::Relaxed), high, low);
        let process = Command::new(program)
            .args(["-L", &at.to_string(), "-p", &PEER_PORT.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Self { process, at };
        peer.wait_until_it_echoes();
        Some(peer)
    }

    fn and(&self, flags: &[&'static str]) -> Vec<&'static str> {
        // Leaked: a handful of short texts in a test process.
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let (at, port) = (leak(self.at.to_string()), leak(PEER_PORT.to_string()));
        [&["-e", at, "-r", port], flags].concat()
    }

    fn wait_until_it_echoes(&self) {
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 64];
        while Instant::now() < deadline {
            // Refused while nobody listens yet.
            let _ = probe.send_to(b"are you there", (self.at, PEER_PORT));
            if probe.recv_from(&mut buffer).is_ok() {
                return;
            }
        }
        panic!("turnutils_peer does not answer");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program's name if it is installed. Where tests have to run (`CI`), its absence fails them;
/// elsewhere they say loudly that they were skipped.
fn binary(program: &'static str) -> Option<&'static str> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(program).is_file()) {
        return Some(program);
    }
    let install = format!("{program} is missing: apt-get install coturn");
    assert!(std::env::var_os("CI").is_none(), "{install}");
    eprintln!("SKIP: {install}");
    None
}
