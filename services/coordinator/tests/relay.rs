//! `coordinator relay` as an operator meets it.

mod support;

use std::net::UdpSocket;

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
fn listeners_of_a_later_version_are_refused_as_such() {
    for listener in ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"] {
        run(["relay", "--listen", listener, "--turn-secret", "north"])
            .failed_with(2, &["UDP only"]);
    }
}
