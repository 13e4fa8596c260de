//! Server processes: started, found, weighed, ended.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::Kind;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Of the tokens of this run; nobody outside it sees the server.
const SECRET: &str = "the secret of a benchmark, which nobody else uses";

/// Where the programs are.
pub(crate) struct Programs {
    /// `coordinator`, a release build.
    pub(crate) coordinator: PathBuf,
    /// `floor`, a release build.
    pub(crate) floor: PathBuf,
    /// The folder of the Node.js servers, with `node_modules`; without it they are left out.
    pub(crate) node: Option<PathBuf>,
    /// The PostgreSQL of `coordinator`'s statistics; without it they go to a file.
    pub(crate) database: Option<String>,
}

impl Programs {
    /// A token that lets its bearer be any peer of the bench.
    pub(crate) fn token(&self) -> Result<String> {
        self.mint(&["--peer", "b*"])
    }

    /// A token that reads the statistics of all.
    #[allow(dead_code, reason = "the benchmark of statistics asks")]
    pub(crate) fn admin_token(&self) -> Result<String> {
        self.mint(&["--peer", "admin", "--scope", "admin", "--all-apps"])
    }

    fn mint(&self, of: &[&str]) -> Result<String> {
        let output = Command::new(&self.coordinator)
            .args(["token", "--ttl", "24h", "--jwt-secret", SECRET])
            .args(of)
            .output()
            .context("cannot run coordinator")?;
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        anyhow::ensure!(!token.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(token)
    }

    pub(crate) fn start(&self, kind: Kind, redis: Option<&Redis>) -> Result<Server> {
        let data = tempfile::tempdir()?;
        let mut command = match kind {
            Kind::Floor => Command::new(&self.floor),
            Kind::Ours => {
                let mut command = Command::new(&self.coordinator);
                command
                    .args(["signaling", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET])
                    .args([
                        "--messages-per-second",
                        "1000000",
                        "--app-messages-per-second",
                        "1000000",
                        "--log",
                        "warn,p2p_coordinator=info",
                    ])
                    .arg("--data")
                    .arg(data.path());
                if let Some(redis) = redis {
                    command.arg("--redis").arg(redis.url());
                }
                if let Some(database) = &self.database {
                    command.arg("--database").arg(database);
                }
                command
            }
            Kind::PeerServer | Kind::SocketIo => {
                let node = self.node.as_ref().context("the Node.js servers are not installed")?;
                let script = if kind == Kind::PeerServer { "peerserver.js" } else { "socketio.js" };
                let mut command = Command::new("node");
                command.arg(node.join(script)).current_dir(node);
                if let Some(redis) = redis {
                    command.arg(redis.socket());
                }
                command
            }
        };
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", kind.name()))?;
        let (found, address) = mpsc::channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|out| Box::new(out) as _),
            process.stderr.take().map(|err| Box::new(err) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let found = found.clone();
            // What is not read would stop the server.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some((_, address)) = line.split_once("ready on ") {
                        let _ = found.send(address.trim_start_matches("http://").to_owned());
                    }
                }
            });
        }
        let server = |address| Server { kind, address, process, _data: data };
        match address.recv_timeout(START) {
            Ok(address) => Ok(server(address)),
            Err(_) => bail!("{} does not start", kind.name()),
        }
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    process: Child,
    _data: TempDir,
}

impl Server {
    /// Bytes of memory that are its own (RSS).
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// CPU time that it has used, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.process.id())
    }

    /// Status and body of what it answers over HTTP.
    #[allow(dead_code, reason = "the benchmark of statistics asks")]
    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Result<(u16, String)> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let (bearer, host) = (bearer.unwrap_or_default(), &self.address);
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
        let status = head.split(' ').nth(1).context("a head without a status")?;
        Ok((status.parse()?, body.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Redis of this run, on a socket of its own, that keeps nothing on disk.
pub(crate) struct Redis {
    folder: TempDir,
    process: Child,
}

impl Redis {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server: install it with `apt-get install redis-server`")?;
        let redis = Self { folder, process };
        let began = Instant::now();
        while redis.commands().is_err() {
            anyhow::ensure!(began.elapsed() < START, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.process.id())
    }

    /// Commands that clients have sent, those within scripts aside.
    pub(crate) fn commands(&self) -> Result<u64> {
        let stats = ask(&self.socket(), "INFO commandstats")?;
        let calls = stats.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls: u64 = rest.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
            ["evalsha", "eval", "publish", "spublish"].contains(&name).then_some(calls)
        });
        Ok(calls.sum())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(socket: &Path, command: &str) -> Result<String> {
    use std::io::Write as _;
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `proc_pid_stat(5)`: user and system time are fields 14 and 15, in hundredths of a second.
fn cpu_of(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, field 2, may hold spaces; it ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
