//! TCP to a host by its name: the name's addresses race each other, so that one family that leads
//! nowhere keeps nobody from the other (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// How long an address may be silent before the next one joins (RFC 8305 §5).
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to the address that answers first. The error is that of the address tried last.
pub(crate) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let found = tokio::net::lookup_host((host, port)).await?;
    race(alternating(found.collect()), TcpStream::connect).await
}

/// Both families by turns, begun by the one that the system prefers (RFC 8305 §4).
fn alternating(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let pairs = std::iter::from_fn(|| match (first.next(), second.next()) {
        (None, None) => None,
        (one, other) => Some(one.into_iter().chain(other)),
    });
    pairs.flatten().take(MAX_ADDRESSES).collect()
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter();
    let mut tried = FuturesUnordered::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.next() {
            Some(address) => tried.push(connect(address)),
            None if tried.is_empty() => return Err(error),
            None => {}
        }
        tokio::select! {
            biased;
            Some(result) = tried.next() => match result {
                Ok(connected) => return Ok(connected),
                Err(refused) => error = refused,
            },
            () = tokio::time::sleep(NEXT_AFTER), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let found = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"];
        let order = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"];
        assert_eq!(alternating(addresses(&found)), addresses(&order));
        let found = ["192.0.2.1:1", "[2001:db8::1]:1"];
        assert_eq!(alternating(addresses(&found)), addresses(&found));
        assert_eq!(alternating(Vec::new()), []);
        let many = vec![addresses(&["192.0.2.1:1"])[0]; 100];
        assert_eq!(alternating(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_packets_keeps_nobody_from_the_next() {
        let all = addresses(&["[2001:db8::1]:1", "192.0.2.1:1"]);
        let connect = async |address: SocketAddr| match address.is_ipv6() {
            true => std::future::pending().await,
            false => Ok(address),
        };
        let connected = tokio::time::timeout(Duration::from_secs(10), race(all, connect)).await;
        assert!(connected.unwrap().unwrap().is_ipv4());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_answers_in_time_is_the_only_one_tried() {
        let tried = RefCell::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push(address);
            async move {
                tokio::time::sleep(NEXT_AFTER / 2).await;
                Ok(address)
            }
        };
        let all = addresses(&["[2001:db8::1]:1", "192.0.2.1:1"]);
        race(all, connect).await.unwrap();
        assert_eq!(*tried.borrow(), addresses(&["[2001:db8::1]:1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_followed_by_the_next_address_at_once_and_told_where_it_is_the_last() {
        let began = tokio::time::Instant::now();
        let refuse = async |_| Err::<(), _>(io::ErrorKind::ConnectionRefused.into());
        let all = addresses(&["[2001:db8::1]:1", "192.0.2.1:1"]);
        let error = race(all, refuse).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        // The clock stands still but for sleeps that are waited out.
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(race(Vec::new(), refuse).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
