//! The same client over TCP and TLS, and certificates for the test's relay.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use p2p_relay::{RelayHandle, RelaySnapshot, TlsFiles, Transport};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Client, Line, PATIENCE};

const NAME: &str = "relay.test";

/// Messages one behind another, in both directions.
pub(crate) struct Stream<S>(pub(crate) RefCell<S>);

pub(crate) type Tcp = Stream<TcpStream>;
pub(crate) type Tls = Stream<StreamOwned<ClientConnection, TcpStream>>;

impl<S: Read + Write> Line for Stream<S> {
    fn send(&self, _server: SocketAddr, message: &[u8]) {
        self.0.borrow_mut().write_all(&padded(message)).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut stream = self.0.borrow_mut();
        let mut message = vec![0; 4];
        stream.read_exact(&mut message).expect("a message");
        let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
        // RFC 8489 §5 and RFC 8656 §12.5.
        let length = if message[0] & 0xc0 == 0 { 20 + length } else { 4 + length };
        message.resize(length.next_multiple_of(4), 0);
        stream.read_exact(&mut message[4..]).expect("the rest of a message");
        message.truncate(length);
        message
    }
}

/// A message with the padding that it has in a stream.
pub(crate) fn padded(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.resize(message.len().next_multiple_of(4), 0);
    padded
}

/// A client over TCP.
pub(crate) fn tcp(relay: &RelayHandle, username: &str) -> Client<Tcp> {
    let server = addr(relay, Transport::Tcp);
    Client::over(Stream(RefCell::new(connect(server))), server, username, "secret")
}

/// A client over TLS that trusts one certificate.
pub(crate) fn tls(relay: &RelayHandle, username: &str, trusted: &Identity) -> Client<Tls> {
    let server = addr(relay, Transport::Tls);
    let stream = handshake(server, trusted).expect("a TLS handshake");
    Client::over(Stream(RefCell::new(stream)), server, username, "secret")
}

pub(crate) fn handshake(
    server: SocketAddr,
    trusted: &Identity,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.cert_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = connect(server);
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Where the relay listens for this.
pub(crate) fn addr(relay: &RelayHandle, transport: Transport) -> SocketAddr {
    let listening = relay.listening().iter().find(|it| it.transport == transport);
    listening.expect("a listener").addr
}

/// Waits until the relay says so.
pub(crate) fn wait_until(relay: &RelayHandle, is_so: impl Fn(&RelaySnapshot) -> bool) {
    let began = Instant::now();
    loop {
        let snapshot = relay.snapshot().unwrap();
        if is_so(&snapshot) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come: {snapshot:?}");
        std::thread::yield_now();
    }
}

/// A certificate for [`NAME`] that vouches for itself.
pub(crate) struct Identity {
    pub(crate) cert_pem: &'static str,
    pub(crate) key_pem: &'static str,
}

impl Identity {
    pub(crate) const ONE: Self = Self {
        cert_pem: include_str!("../../../../tests/certificates/one.crt"),
        key_pem: include_str!("../../../../tests/certificates/one.key"),
    };
    pub(crate) const TWO: Self = Self {
        cert_pem: include_str!("../../../../tests/certificates/two.crt"),
        key_pem: include_str!("../../../../tests/certificates/two.key"),
    };

    pub(crate) fn write(&self, folder: &Path) -> TlsFiles {
        let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.cert, self.cert_pem).unwrap();
        std::fs::write(&files.key, self.key_pem).unwrap();
        files
    }
}
