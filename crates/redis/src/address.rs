//! The URL of a Redis: which scheme means what, and what is wrong with one that means nothing.

use std::fmt;

use crate::query::{decoded, parameters};
use crate::tls::TlsFiles;

/// Which URLs there are, for whoever has to write one.
pub const FORMS: &str = "redis://USER:PASSWORD@HOST:6379/0, rediss:// for TLS, \
     redis+sentinel://HOST:26379,HOST:26379/SERVICE, redis+cluster://HOST:6379,HOST:6379, \
     rediss+sentinel:// and rediss+cluster:// for both, or redis+unix:///PATH";

/// The port of a node, and that of a Sentinel.
const PORTS: (u16, u16) = (6379, 26379);

/// How a Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One node.
    Single,
    /// A master and replicas of it; Sentinels know who is which.
    Sentinel {
        /// What the Sentinels call it.
        service: String,
    },
    /// Several masters, each with a part of the slots.
    Cluster,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Sentinel { service } => write!(f, "sentinel {service}"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

/// What is wrong with the URL of a Redis, or with a file that it names. The URL itself is not said:
/// it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the URL of Redis cannot be used: {cause}")]
pub struct AddressError {
    cause: String,
    fix: String,
}

impl AddressError {
    pub(crate) fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: fix.into() }
    }

    fn of_form(cause: impl Into<String>) -> Self {
        Self::new(cause, format!("write it as {FORMS}"))
    }

    /// What would be right.
    pub fn fix(&self) -> &str {
        &self.fix
    }
}

/// Name and password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// A host and a port, or a socket of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Tcp(String, u16),
    Unix(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// A URL that was read.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    /// Nodes, or Sentinels where there are some. At least one.
    pub(crate) hosts: Vec<Host>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) credentials: Credentials,
    pub(crate) sentinel_credentials: Credentials,
    pub(crate) database: i64,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let no_url = || AddressError::of_form("it is not a URL");
        let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') || query.contains('#') {
            let cause = "it has a `#`, which nothing here has a meaning for";
            return Err(AddressError::new(cause, "write a `#` of a password as %23"));
        }
        // Both ways of writing it are about.
        let (tls, kind) = match scheme.replace('-', "+").as_str() {
            "redis" | "valkey" => (false, ""),
            "rediss" | "valkeys" => (true, ""),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+unix" | "unix" | "valkey+unix" => (false, "unix"),
            _ => return Err(AddressError::of_form("its scheme is none that there is")),
        };
        let mut address = Self {
            kind: if kind == "cluster" { Kind::Cluster } else { Kind::Single },
            hosts: Vec::new(),
            tls: tls.then(TlsFiles::default),
            credentials: Credentials::default(),
            sentinel_credentials: Credentials::default(),
            database: 0,
        };
        if kind == "unix" {
            address.hosts.push(Host::Unix(text(rest)?));
        } else {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            address.read_authority(authority, kind)?;
            address.read_path(path, kind)?;
        }
        for (name, value) in parameters(query) {
            let value = text(value)?;
            address.read_parameter(name, value)?;
        }
        Ok(address)
    }

    fn read_authority(&mut self, authority: &str, kind: &str) -> Result<(), AddressError> {
        let hosts = match authority.rsplit_once('@') {
            Some((user, hosts)) => {
                let (user, password) = user.split_once(':').unwrap_or((user, ""));
                self.credentials.user = some(text(user)?);
                self.credentials.password = some(text(password)?);
                hosts
            }
            None => authority,
        };
        let port = if kind == "sentinel" { PORTS.1 } else { PORTS.0 };
        self.hosts =
            hosts.split(',').map(|host| read_host(host, port)).collect::<Result<_, _>>()?;
        if self.hosts.len() > 1 && kind.is_empty() {
            let cause = "it has several hosts, and does not say what they are";
            let fix = "write redis+sentinel://… or redis+cluster://…, or keep one host";
            return Err(AddressError::new(cause, fix));
        }
        Ok(())
    }

    fn read_path(&mut self, path: &str, kind: &str) -> Result<(), AddressError> {
        let mut database = path;
        if kind == "sentinel" {
            let (service, behind) = path.split_once('/').unwrap_or((path, ""));
            if service.is_empty() {
                let cause = "it does not say what the Sentinels call the master";
                let fix = "write redis+sentinel://HOST:26379,HOST:26379/SERVICE";
                return Err(AddressError::new(cause, fix));
            }
            self.kind = Kind::Sentinel { service: text(service)? };
            database = behind;
        }
        if !database.is_empty() {
            self.read_database(database)?;
        }
        Ok(())
    }

    fn read_database(&mut self, number: &str) -> Result<(), AddressError> {
        let no_number = || {
            let cause = "what stands for its database is not a number";
            AddressError::new(cause, "write a number, such as 0, or leave it out")
        };
        self.database = number.parse().map_err(|_| no_number())?;
        if self.kind == Kind::Cluster && self.database != 0 {
            let cause = "a Redis Cluster has one database, which is 0";
            return Err(AddressError::new(cause, "leave the number out"));
        }
        Ok(())
    }

    fn read_parameter(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        let of_sentinel = matches!(self.kind, Kind::Sentinel { .. });
        match (name, &mut self.tls) {
            ("user", _) => self.credentials.user = some(value),
            ("pass" | "password", _) => self.credentials.password = some(value),
            ("db", _) => self.read_database(&value)?,
            ("sentinel_user", _) if of_sentinel => self.sentinel_credentials.user = some(value),
            ("sentinel_password", _) if of_sentinel => {
                self.sentinel_credentials.password = some(value);
            }
            ("ca_file", Some(files)) => files.ca = Some(value.into()),
            ("cert_file", Some(files)) => files.certificate = Some(value.into()),
            ("key_file", Some(files)) => files.key = Some(value.into()),
            ("sentinel_user" | "sentinel_password", _) => {
                let cause = format!("`{name}` is for Sentinels, and it names none");
                return Err(AddressError::new(cause, "write redis+sentinel://…, or leave it out"));
            }
            ("ca_file" | "cert_file" | "key_file", None) => {
                let cause = format!("`{name}` is for TLS, and it does not ask for TLS");
                return Err(AddressError::new(cause, "begin the URL with rediss, or leave it out"));
            }
            _ => {
                let cause = "it has a parameter that is none";
                let fix = "there are ca_file, cert_file and key_file with TLS, sentinel_user and \
                           sentinel_password with Sentinel, and user, password and db";
                return Err(AddressError::new(cause, fix));
            }
        }
        Ok(())
    }
}

/// RFC 3986 §3.2.2, §3.2.3.
fn read_host(text: &str, port: u16) -> Result<Host, AddressError> {
    let no_host = || AddressError::of_form("one of its hosts is none");
    let (host, behind) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(no_host)?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let bad = |host: &str| host.chars().any(|c| c.is_whitespace() || "@/?%".contains(c));
    if bad(host) {
        return Err(no_host());
    }
    let port = match behind.strip_prefix(':') {
        Some(number) => number.parse().map_err(|_| no_host())?,
        None if behind.is_empty() => port,
        None => return Err(no_host()),
    };
    // As every other client does.
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Host::Tcp(host.to_owned(), port))
}

fn text(encoded: &str) -> Result<String, AddressError> {
    decoded(encoded).ok_or_else(|| {
        let cause = "a `%` in it is not followed by two digits of a byte of UTF-8 text";
        AddressError::new(cause, "write a `%` as %25")
    })
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Host {
        Host::Tcp(host.to_owned(), port)
    }

    #[test]
    fn one_node_is_a_host_with_credentials_and_a_database() {
        let address = Address::parse("redis://p2p:p%40ss@cache/3").unwrap();
        assert_eq!(address.kind, Kind::Single);
        assert_eq!(address.hosts, [tcp("cache", 6379)]);
        assert_eq!(address.credentials.user.as_deref(), Some("p2p"));
        assert_eq!(address.credentials.password.as_deref(), Some("p@ss"));
        assert_eq!(address.database, 3);
        assert!(address.tls.is_none());
        assert!(Address::parse("rediss://cache").unwrap().tls.is_some());
        assert_eq!(Address::parse("redis://[::1]:7000").unwrap().hosts, [tcp("::1", 7000)]);
        let socket = Address::parse("redis+unix:///run/redis.sock?user=a&pass=b").unwrap();
        assert_eq!(socket.hosts, [Host::Unix("/run/redis.sock".to_owned())]);
        assert_eq!(socket.credentials.password.as_deref(), Some("b"));
    }

    #[test]
    fn sentinels_are_several_hosts_with_a_service_and_their_own_credentials() {
        let url = "rediss+sentinel://p2p:data@a,b:5000/cache/2\
                   ?sentinel_user=watch&sentinel_password=w%26&ca_file=/etc/ca.pem";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.kind, Kind::Sentinel { service: "cache".to_owned() });
        assert_eq!(address.hosts, [tcp("a", 26379), tcp("b", 5000)]);
        assert_eq!(address.database, 2);
        assert_eq!(address.credentials.password.as_deref(), Some("data"));
        assert_eq!(address.sentinel_credentials.user.as_deref(), Some("watch"));
        assert_eq!(address.sentinel_credentials.password.as_deref(), Some("w&"));
        assert!(address.tls.is_some_and(|files| files.ca == Some("/etc/ca.pem".into())));
        assert!(Address::parse("redis-sentinel://a/cache").is_ok(), "the other way to write it");
    }

    #[test]
    fn a_cluster_is_some_of_its_nodes() {
        let address = Address::parse("redis+cluster://a,b:7001").unwrap();
        assert_eq!(address.kind, Kind::Cluster);
        assert_eq!(address.hosts, [tcp("a", 6379), tcp("b", 7001)]);
    }

    #[test]
    fn what_is_wrong_is_said_with_a_fix_and_without_the_password() {
        for url in [
            "hunter2",
            "http://:hunter2@cache",
            "redis://:hunter2@a,b",
            "redis://:hunter2@a/hunter2",
            "redis://:hunter2#@a",
            "redis://:hunter2%@a",
            "redis://:hunter2@a:hunter2",
            "redis://a?hunter2=hunter2",
            "redis://a?ca_file=hunter2",
            "redis://a?sentinel_password=hunter2",
            "redis+sentinel://:hunter2@a",
            "redis+cluster://:hunter2@a/1",
            "redis+sentinel://:hunter2@a/",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!error.fix().is_empty() && !error.fix().contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn nothing_that_is_shown_of_it_has_a_password() {
        let url = "redis+sentinel://p2p:hunter2@a/cache?sentinel_password=hunter2";
        let shown = format!("{:?}", crate::Redis::open(url).unwrap());
        assert_eq!(shown, "Redis(sentinel cache, a:26379)");
    }
}
