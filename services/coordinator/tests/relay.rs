//! `coordinator relay` as an operator meets it.

mod support;

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use support::{PATIENCE, Service, get, run};

const ANY: &str = "udp://127.0.0.1:0";

#[test]
fn a_relay_says_where_it_is_ready_and_answers_stun() {
    let mut relay = Service::start(["relay", "--listen", ANY, "--turn-secret", "north"]);
    let line = relay.line_with("ready");
    let address = line.split("udp://").nth(1).expect("the bound address").to_owned();

    // RFC 8489 §5: a Binding request without attributes.
    let request = [&[0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&request, &address).unwrap();
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).expect("an answer");
    assert!(len > 20);
    assert_eq!(answer[..2], [0x01, 0x01], "a Binding success");
    assert_eq!(answer[8..20], [7; 12], "with the request's transaction id");

    relay.terminate();
    assert!(relay.wait().success(), "a relay without allocations drains at once");
}

#[test]
fn the_admin_port_tells_health_and_metrics() {
    let mut relay = Service::start([
        "relay",
        "--listen",
        ANY,
        "--turn-secret",
        "north",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    let line = relay.line_with("admin ready");
    let admin = line.split("http://").nth(1).unwrap();
    assert_eq!(get(&format!("http://{admin}/readyz"), None), (200, "ready\n".to_owned()));
    assert_eq!(get(&format!("http://{admin}/livez"), None).0, 200);
    let (status, metrics) = get(&format!("http://{admin}/metrics"), None);
    assert!(status == 200 && metrics.contains("build_info"), "{metrics}");
    assert_eq!(run(["healthcheck", admin]).data(), "ready");
}

#[test]
fn a_taken_udp_port_is_an_error_with_a_fix() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    run(["relay", "--listen", &format!("udp://{address}"), "--turn-secret", "north"]).failed_with(
        2,
        &[
            "error (port_taken)",
            &format!("Port {} already in use", address.port()),
            "fix: stop the program that has it",
            "--listen",
        ],
    );
}

#[test]
fn an_address_of_another_host_is_an_error_with_a_fix() {
    run(["relay", "--listen", "udp://192.0.2.1:0", "--turn-secret", "north"])
        .failed_with(2, &["error (address_unknown)", "ip addr"]);
}

#[test]
fn a_relay_listens_on_every_transport_and_takes_a_new_certificate_on_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    write_certificate(&files, "one");
    let [cert, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let mut relay = Service::start(
        [
            &["relay", "--listen", ANY, "--listen", "tcp://127.0.0.1:0", "--listen"][..],
            &["tls://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--turn-secret", "north"],
        ]
        .concat(),
    );
    for transport in ["udp", "tcp", "tls"] {
        relay.line_with(&format!("relay ready on {transport}://127.0.0.1:"));
    }
    relay.hang_up();
    relay.line_with("the TLS certificate is unchanged");
    write_certificate(&files, "two");
    relay.hang_up();
    relay.line_with("the TLS certificate has been replaced");
    std::fs::write(cert, "nothing of the kind").unwrap();
    relay.hang_up();
    let line = relay.line_with("the old one stays in use");
    assert!(line.contains("RELAY_BAD_CERTIFICATE") && line.contains("--tls-cert"), "{line}");
    relay.terminate();
    assert!(relay.wait().success());
}

#[test]
fn a_tls_listener_needs_a_certificate_that_is_one() {
    let tls = ["relay", "--turn-secret", "north", "--listen", "tls://127.0.0.1:0"];
    run(tls).failed_with(2, &["relay_no_certificate", "--tls-cert FILE"]);

    let dir = tempfile::tempdir().unwrap();
    let files = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    write_certificate(&files, "one");
    let [cert, key] = files.each_ref().map(|file| file.to_str().unwrap());
    // Both the wrong way round.
    run([&tls[..], &["--tls-cert", key, "--tls-key", cert]].concat())
        .failed_with(2, &["relay_bad_certificate", "key.pem"]);

    let file = dir.path().join("p2p.toml");
    let text = |key: &str| {
        format!(
            "[relay]\nlisten = [\"tls://127.0.0.1:0\"]\n\
             tls-cert = {cert:?}\ntls-key = {key:?}\n"
        )
    };
    let checked = |key: &str| {
        std::fs::write(&file, text(key)).unwrap();
        let file = file.to_str().unwrap();
        let mut command = support::coordinator();
        command.args(["config", "check", "--role", "relay", "--config", file]);
        support::ended(command.env("P2P_TURN_SECRET", "north"))
    };
    checked("/nowhere/key.pem").failed_with(2, &["relay_bad_certificate", "/nowhere/key.pem"]);
    assert_eq!(checked(key).data(), "relay: ok");
}

#[test]
fn a_taken_tcp_port_is_an_error_with_a_fix() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("tcp://{}", holder.local_addr().unwrap());
    run(["relay", "--listen", ANY, "--listen", &listen, "--turn-secret", "north"])
        .failed_with(2, &["error (port_taken)", "ss -tlnp", "--listen"]);
}

/// One of two certificates.
fn write_certificate([cert, key]: &[PathBuf; 2], name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/certificates");
    std::fs::copy(folder.join(format!("{name}.crt")), cert)
        .expect("certificates of the tests can be copied");
    std::fs::copy(folder.join(format!("{name}.key")), key)
        .expect("certificates of the tests can be copied");
}
