//! The signaling of the programs we compare with: what one of two says, the other hears.
//!
//! Two callers in a row are a pair. Over TCP, at the servers, so that a word takes as long from one
//! site to the other as it takes through our own signaling.

use std::io;
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// What it says once it accepts.
pub const LISTENING: &str = "listening";

/// Run by `natlab broker`, until killed.
pub fn serve(listen: SocketAddrV4) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    println!("{LISTENING}");
    loop {
        let (one, _) = listener.accept()?;
        let (other, _) = listener.accept()?;
        one.set_nodelay(true)?;
        other.set_nodelay(true)?;
        pass_on(one.try_clone()?, other.try_clone()?);
        pass_on(other, one);
    }
}

/// Until the one has no more to say; then the other is told so.
fn pass_on(from: TcpStream, to: TcpStream) {
    thread::spawn(move || {
        // Either may be gone: that ends the conversation too.
        drop(io::copy(&mut &from, &mut &to));
        drop(to.shutdown(Shutdown::Write));
    });
}
