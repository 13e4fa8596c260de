//! One node: how to reach it, and whether it is what it should be.

use std::fmt;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisError, Value,
};

use crate::Patience;
use crate::address::{Address, Credentials, Host, Kind};
use crate::connection::Connection;
use crate::tls::TlsFiles;

/// What all nodes of a Redis, or all Sentinels, have in common.
#[derive(Clone)]
pub(crate) struct Nodes {
    hosts: Vec<Host>,
    tls: Option<TlsFiles>,
    credentials: Credentials,
    database: i64,
}

impl Nodes {
    /// The nodes of a Redis.
    pub(crate) fn of(address: Address) -> Self {
        let Address { hosts, tls, credentials, database, .. } = address;
        Self { hosts, tls, credentials, database }
    }

    /// The Sentinels, where there are some.
    pub(crate) fn sentinels(address: &Address) -> Option<(Self, String)> {
        let Kind::Sentinel { service } = &address.kind else { return None };
        let nodes = Self {
            hosts: address.hosts.clone(),
            tls: address.tls.clone(),
            credentials: address.sentinel_credentials.clone(),
            database: 0,
        };
        Some((nodes, service.clone()))
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn first(&self) -> &Host {
        &self.hosts[0]
    }

    pub(crate) fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// How to connect to one of them.
    pub(crate) fn info(
        &self,
        host: &Host,
        protocol: ProtocolVersion,
    ) -> Result<ConnectionInfo, RedisError> {
        let at = match host {
            Host::Unix(path) => ConnectionAddr::Unix(path.into()),
            Host::Tcp(host, port) if self.tls.is_some() => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
            Host::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        };
        let mut how = RedisConnectionInfo::default().set_db(self.database).set_protocol(protocol);
        if let Some(user) = &self.credentials.user {
            how = how.set_username(user);
        }
        if let Some(password) = &self.credentials.password {
            how = how.set_password(password);
        }
        // Frames wait for no others.
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(at.into_connection_info()?.set_redis_settings(how).set_tcp_settings(tcp))
    }

    pub(crate) fn client(
        &self,
        host: &Host,
        protocol: ProtocolVersion,
    ) -> Result<Client, RedisError> {
        let info = self.info(host, protocol)?;
        match &self.tls {
            Some(files) => Client::build_with_tls(info, files.read().map_err(refused)?),
            None => Client::open(info),
        }
    }

    pub(crate) async fn reach(
        &self,
        host: &Host,
        patience: Patience,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience.connect))
            .set_response_timeout(Some(patience.answer));
        let client = self.client(host, ProtocolVersion::RESP2)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        connecting.await.map_err(|error| at(host, &error))
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        f.write_str(&hosts.join(", "))
    }
}

pub(crate) async fn connect(
    nodes: &Nodes,
    host: Host,
    patience: Patience,
) -> Result<Connection, RedisError> {
    let open = nodes.reach(&host, patience).await?;
    Ok(Connection::of_node(open, host))
}

/// The same, of a node that Sentinels call master. One that is being replaced, or has been, says so
/// itself, while they may not know yet.
pub(crate) async fn connect_to_master(
    nodes: &Nodes,
    host: Host,
    patience: Patience,
) -> Result<Connection, RedisError> {
    let mut open = nodes.reach(&host, patience).await?;
    // `ROLE` would say it as well, and is forbidden to careful users.
    let said: Vec<Value> = ::redis::cmd("HELLO").query_async(&mut open).await?;
    let said: Vec<String> = said
        .into_iter()
        .map(|value| ::redis::from_redis_value(value).unwrap_or_default())
        .collect();
    let is_master = said.chunks(2).any(|pair| pair == ["role", "master"]);
    if is_master {
        return Ok(Connection::of_node(open, host));
    }
    let why = format!("{host} is a replica: another node is becoming master");
    Err(std::io::Error::new(std::io::ErrorKind::NotConnected, why).into())
}

/// An error with the node that it is of.
pub(crate) fn at(host: &Host, error: &RedisError) -> RedisError {
    let kind = if error.is_timeout() {
        std::io::ErrorKind::TimedOut
    } else if error.is_io_error() {
        std::io::ErrorKind::NotConnected
    } else {
        std::io::ErrorKind::Other
    };
    std::io::Error::new(kind, format!("{host}: {error}")).into()
}

/// A file that was there when the program started is not any more.
pub(crate) fn refused(error: impl fmt::Display) -> RedisError {
    std::io::Error::other(error.to_string()).into()
}
