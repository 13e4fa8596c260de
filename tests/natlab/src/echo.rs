//! The echo server behind `p2p listen --to`: sends back what it gets until the other side is done.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// Serves until killed. Prints `listening on ADDR` once connections are accepted; port 0 picks one.
pub fn serve(listen: SocketAddrV4) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = echo(&stream) {
                eprintln!("connection lost: {error}");
            }
        });
    }
    Ok(())
}

fn echo(stream: &TcpStream) -> io::Result<()> {
    let bytes = io::copy(&mut &*stream, &mut &*stream)?;
    (&*stream).flush()?;
    stream.shutdown(Shutdown::Write)?;
    println!("echoed {bytes} bytes");
    Ok(())
}
