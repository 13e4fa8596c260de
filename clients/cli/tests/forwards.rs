//! `forward` and `listen --to`: real TCP programs on both ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use support::{Coordinator, PATIENCE, Running, ended, pattern};

#[test]
fn many_connections_at_once_each_close_their_halves_by_themselves() {
    let coordinator = Coordinator::start();
    let server = upper_case_after_the_end();
    let (_bob, _alice, address) = forward(&coordinator, server);
    let clients: Vec<_> = (0..20_usize)
        .map(|n| {
            thread::spawn(move || {
                let question = vec![b'a' + n as u8; 50_000 + n];
                assert_eq!(ask(address, &question), question.to_ascii_uppercase());
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let coordinator = Coordinator::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"220 hello\r\n").unwrap();
            // The client has to hear it while the stream is open.
            let _ = stream.read(&mut [0; 1]);
        }
    });
    let (_bob, _alice, address) = forward(&coordinator, server);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
}

#[test]
fn a_large_answer_arrives_whole() {
    let coordinator = Coordinator::start();
    let (_bob, _alice, address) = forward(&coordinator, upper_case_after_the_end());
    let question = pattern(3 << 20);
    assert!(ask(address, &question) == question.to_ascii_uppercase());
}

#[test]
fn a_target_that_is_not_there_closes_the_connection_and_is_told() {
    let coordinator = Coordinator::start();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut bob, _alice, address) = forward(&coordinator, nobody);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    // An end or a reset: both are "nobody there".
    let _ = client.read_to_end(&mut heard);
    assert!(heard.is_empty());
    bob.line_with("cannot reach");
}

#[test]
fn a_forward_finds_its_peer_again_after_it_was_away() {
    let coordinator = Coordinator::start();
    let server = upper_case_after_the_end();
    let (bob, mut alice, address) = forward(&coordinator, server);
    assert_eq!(ask(address, b"one"), b"ONE");
    bob.signal("TERM");
    bob.wait().ok();
    let to = server.to_string();
    let mut again = Running::start(&mut coordinator.p2p("bob", ["listen", "--to", &to]), vec![]);
    again.line_with("ready as bob");
    assert_eq!(ask(address, b"two"), b"TWO");
    alice.line_with("connected to bob");
}

#[test]
fn a_forward_whose_name_is_taken_goes_on_with_its_connection_and_ends_with_it() {
    let coordinator = Coordinator::start();
    let server = upper_case_after_the_end();
    let (bob, mut alice, address) = forward(&coordinator, server);
    assert_eq!(ask(address, b"one"), b"ONE");
    ended(&mut coordinator.p2p("alice", ["ping", "bob", "-c", "1"])).ok();
    alice.line_with("until it ends");
    assert_eq!(ask(address, b"two"), b"TWO");
    bob.signal("TERM");
    bob.wait().ok();
    alice.wait().failed_with(4, &["error (closed)", "4409", "give each its own"]);
}

#[test]
fn a_taken_port_and_an_absent_peer_are_told_apart() {
    let coordinator = Coordinator::start();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    ended(&mut coordinator.p2p("alice", ["forward", &taken, "bob"]))
        .failed_with(2, &["error (port_taken)", "already in use", "fix:"]);
    ended(&mut coordinator.p2p("alice", ["forward", "0", "bob"]))
        .failed_with(6, &["error (peer_not_found)", "fix:"]);
}

fn forward(coordinator: &Coordinator, server: SocketAddr) -> (Running, Running, SocketAddr) {
    let to = server.to_string();
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen", "--to", &to]), vec![]);
    bob.line_with("ready as bob");
    let mut alice = Running::start(&mut coordinator.p2p("alice", ["forward", "0", "bob"]), vec![]);
    let line = alice.line_with("forwarding");
    let address = line.split(' ').nth(1).unwrap().parse().unwrap();
    (bob, alice, address)
}

/// Sends, closes its half, and reads to the end.
fn ask(address: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// A server that answers only once it has heard the end of the question.
fn upper_case_after_the_end() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut heard = Vec::new();
                if stream.read_to_end(&mut heard).is_ok() {
                    heard.make_ascii_uppercase();
                    let _ = stream.write_all(&heard);
                }
            });
        }
    });
    address
}
