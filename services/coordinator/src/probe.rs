//! One HTTP/1.1 request over a plain TCP connection, for commands that run beside a service: in a
//! container without a shell or curl.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::failure::{Failure, exit};
use crate::settings::duration;

/// Bytes of an answer that are read: metrics are the longest.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Nobody has answered.
pub fn unreachable(url: &str, cause: &str, fix: &str) -> Failure {
    Failure::new("unreachable", exit::UNREACHABLE, format!("{url}: {cause}"), fix)
}

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    path: String,
}

impl Target {
    /// Reads `http://HOST:PORT/PATH`; scheme, port and path may be left out.
    ///
    /// # Errors
    /// What cannot be asked over plain HTTP.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |cause: &str| {
            let fix = "write http://HOST:PORT or http://HOST:PORT/readyz";
            Failure::usage(format!("{url:?}: {cause}"), fix)
        };
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(wrong("the check speaks plain HTTP; ask the service behind the TLS"));
            }
            Some(_) => return Err(wrong("not an http URL")),
            None => url,
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/readyz".to_owned()),
        };
        if authority.is_empty() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("no host"));
        }
        let path = if path == "/" { "/readyz".to_owned() } else { path };
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, path })
    }

    /// The same service at another path.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { authority: self.authority.clone(), path: path.to_owned() }
    }

    /// Asks. An answer that is no success is an answer.
    ///
    /// # Errors
    /// Nobody there, something else than HTTP, or nothing within `patience`, in words.
    pub async fn get(&self, patience: Duration) -> Result<Answer, String> {
        self.ask("GET", patience).await
    }

    /// Tells it to do something, without a body.
    ///
    /// # Errors
    /// As [`Target::get`].
    pub async fn post(&self, patience: Duration) -> Result<Answer, String> {
        self.ask("POST", patience).await
    }

    async fn ask(&self, method: &str, patience: Duration) -> Result<Answer, String> {
        match tokio::time::timeout(patience, self.exchange(method)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer in {}", duration::show(patience))),
        }
    }

    async fn exchange(&self, method: &str) -> std::io::Result<Answer> {
        let Self { authority, path } = self;
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: coordinator\r\n\
             Accept: */*\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes).await?;
        Answer::read(&bytes).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// What followed the head, as it was sent.
    pub body: String,
}

impl Answer {
    /// RFC 9112 §4: `HTTP/1.1 200 OK`.
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let status_line = text.lines().next()?;
        let (version, rest) = status_line.split_once(' ')?;
        let status = rest.split(' ').next()?.parse().ok()?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        version.starts_with("HTTP/1.").then_some(Self { status, body })
    }

    /// The first line of the body, short enough for a log.
    pub fn summary(&self) -> String {
        let line = self.body.lines().next().unwrap_or_default().trim();
        if line.is_empty() { "no reason given".into() } else { line.chars().take(200).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_path_or_scheme_asks_for_readiness() {
        let expected = Target { authority: "127.0.0.1:8080".into(), path: "/readyz".into() };
        for url in ["127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(Target::parse(url).unwrap(), expected, "{url}");
        }
        let live = Target::parse("http://[::1]/livez").unwrap();
        assert_eq!((live.authority.as_str(), live.path.as_str()), ("[::1]:80", "/livez"));
    }

    #[test]
    fn a_url_that_cannot_be_asked_is_a_usage_error() {
        for url in ["https://example.org", "ws://x", "http://", "http://a b", "http:///readyz"] {
            assert_eq!(Target::parse(url).unwrap_err().exit, exit::USAGE, "{url}");
        }
    }

    #[test]
    fn an_answer_is_read_by_its_status_line() {
        let answer = Answer::read(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\ndraining\n");
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.summary().as_str()), (503, "draining"));
        for bytes in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1", b"HTTP/1.1 abc\r\n\r\n"] {
            assert!(Answer::read(bytes).is_none());
        }
    }
}
