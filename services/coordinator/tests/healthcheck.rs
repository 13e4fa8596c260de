//! `coordinator healthcheck`: its exit status is its answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use support::run;

#[test]
fn a_ready_service_is_0_and_one_that_drains_is_4() {
    let ready = serve("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n");
    assert_eq!(run(["healthcheck", &ready]).data(), "ready");
    let draining = serve("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n");
    run(["healthcheck", &draining]).failed_with(4, &["error (not_ready)", "503: draining", "fix:"]);
}

#[test]
fn nobody_there_or_somebody_else_is_4() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    run(["healthcheck", &free.to_string()]).failed_with(4, &["error (unreachable)", "fix:"]);
    let other = serve("SSH-2.0-OpenSSH_9.2\r\n");
    run(["healthcheck", &other]).failed_with(4, &["not HTTP"]);
}

#[test]
fn a_service_that_says_nothing_is_4_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    run(["healthcheck", &address, "--timeout", "1s"]).failed_with(4, &["no answer in 1s"]);
}

#[test]
fn a_url_that_cannot_be_asked_is_2() {
    run(["healthcheck", "https://127.0.0.1"]).failed_with(2, &["plain HTTP", "fix:"]);
}

/// Answers one request with this text and gives the address.
fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    address
}
