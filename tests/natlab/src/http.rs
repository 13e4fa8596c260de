//! A small HTTP server for the forward test: one page whose SHA-256 it prints.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

use crate::peer::{random_bytes, sha256_hex};

/// Size of the page: many round trips of any window, small enough for a quick test.
const PAGE_BYTES: usize = 512 * 1024;

/// Serves until killed. Prints `listening on ADDR sha256 HEX` once connections are accepted.
pub fn serve(listen: SocketAddrV4) -> Result<()> {
    let page = random_bytes(PAGE_BYTES)?;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    println!("listening on {} sha256 {}", listener.local_addr()?, sha256_hex(&page));
    for stream in listener.incoming() {
        let (stream, page) = (stream?, page.clone());
        thread::spawn(move || {
            if let Err(error) = answer(&stream, &page) {
                eprintln!("request failed: {error:#}");
            }
        });
    }
    Ok(())
}

fn answer(stream: &TcpStream, page: &[u8]) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().context("no request line")??;
    println!("{request}");
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let known = request.starts_with("GET / ");
    let (status, body) = if known { ("200 OK", page) } else { ("404 Not Found", &b""[..]) };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    Ok(())
}
