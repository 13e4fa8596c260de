//! Where keys may be fetched from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// The URL of a key set: `https://…`, or `http://…` on this machine alone. Whoever can change the
/// answer on its way can sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    uri: Uri,
}

/// Why a text is no [`JwksUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJwksUrl {
    /// It is no URL with a host.
    #[error("it is no URL with a scheme and a host")]
    NotAUrl,
    /// Plain HTTP to another machine, or another scheme.
    #[error("keys are fetched over https; over http only from this machine")]
    NotHttps,
}

impl FromStr for JwksUrl {
    type Err = BadJwksUrl;

    fn from_str(text: &str) -> Result<Self, BadJwksUrl> {
        let uri: Uri = text.trim().parse().map_err(|_| BadJwksUrl::NotAUrl)?;
        let authority = uri.authority().ok_or(BadJwksUrl::NotAUrl)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(BadJwksUrl::NotAUrl);
        }
        let url = Self { uri };
        match url.uri.scheme_str() {
            Some("https") => Ok(url),
            Some("http") if is_loopback(url.host()) => Ok(url),
            _ => Err(BadJwksUrl::NotHttps),
        }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl JwksUrl {
    /// The host, an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// What the `Host` header says.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for good in [
            "https://id.example.org/jwks.json",
            "http://127.0.0.1:9/k",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(good.parse::<JwksUrl>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://id.example.org/jwks.json", BadJwksUrl::NotHttps),
            ("ftp://localhost/k", BadJwksUrl::NotHttps),
            ("/etc/keys", BadJwksUrl::NotAUrl),
            ("https://user:pw@example.org/", BadJwksUrl::NotAUrl),
            ("", BadJwksUrl::NotAUrl),
        ] {
            assert_eq!(bad.parse::<JwksUrl>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_url_says_where_to_connect_and_what_to_ask_for() {
        let url: JwksUrl = "http://[::1]:81/keys?a=b".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.authority()), ("::1", 81, "[::1]:81"));
        assert_eq!(url.path_and_query(), "/keys?a=b");
        let url: JwksUrl = "https://id.example.org".parse().unwrap();
        assert_eq!((url.port(), url.path_and_query()), (443, "/"));
    }
}
