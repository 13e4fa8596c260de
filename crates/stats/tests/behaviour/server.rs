//! A private PostgreSQL server: on a Unix socket in a folder of its own, without durability, gone
//! with the process that started it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What tests need and production must not have, and no port that could be taken.
const SETTINGS: &str = "\
    listen_addresses = ''\n\
    fsync = off\n\
    full_page_writes = off\n\
    shared_buffers = 64MB\n\
    max_connections = 200\n\
    autovacuum = off\n";

/// Ends the server when the process that started it is gone, however it went: its end of the pipe
/// is then closed. Arguments: pg_ctl, the folder.
const GUARD: &str = r#"
    read -r _
    "$1" -D "$2/data" -m immediate stop >/dev/null 2>&1
    rm -rf "$2"
"#;

/// A server. Its databases are made with [`Server::database`].
pub(crate) struct Server {
    folder: PathBuf,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    databases: AtomicU32,
    runs: AtomicU32,
    guard: Child,
}

impl Server {
    /// The server that tests share, each with databases of its own. `None` where PostgreSQL is not
    /// installed, which fails in CI and is said loudly elsewhere.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A server of a test's own, which it may stop and start.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            let missing = "PostgreSQL is not installed: `apt-get install postgresql`";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{missing}");
            eprintln!("SKIP: {missing}");
            return None;
        };
        // PostgreSQL refuses to run as root.
        let user =
            (id("-u", None) == 0).then(|| (id("-u", Some("postgres")), id("-g", Some("postgres"))));
        let folder = tempfile::Builder::new().prefix("p2p-pg-").tempdir().unwrap().keep();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let pg_ctl = bin.join("pg_ctl");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&pg_ctl).arg(&folder);
        let guard = run_as(&mut guard, user, &folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self {
            folder,
            bin,
            user,
            databases: AtomicU32::new(0),
            runs: AtomicU32::new(0),
            guard,
        };
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "p2p", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        let settings = Path::new(&data).join("postgresql.auto.conf");
        std::fs::write(settings, SETTINGS).unwrap();
        server.up();
        Some(server)
    }

    /// Starts it again.
    pub(crate) fn up(&self) {
        let socket = format!("-k {}", self.folder.display());
        let log = self.folder.join("log").display().to_string();
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-s", "-l", &log, "-o", &socket, "start"]);
    }

    /// Stops it at once, as a crash would: what is under way is lost.
    pub(crate) fn down(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-s", "-m", "immediate", "stop"]);
    }

    /// The URL of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Relaxed));
        let folder = self.folder.display().to_string();
        self.run("createdb", &["-h", &folder, "-U", "p2p", "-T", "template0", &name]);
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://p2p@{socket}/{database}")
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments);
        // The server keeps what it inherits, so there is no pipe whose end would be waited for.
        let run = self.runs.fetch_add(1, Relaxed);
        let output = self.folder.join(format!("{program}-{run}.out"));
        let file = std::fs::File::create(&output).unwrap();
        let command = run_as(&mut command, self.user, &self.folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let status = command.status().unwrap();
        let said = || std::fs::read_to_string(&output).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{}", said());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The folder with PostgreSQL's programs. Debian keeps them out of the path.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.into_iter().find(|folder| {
        ["pg_ctl", "initdb", "postgres", "createdb"].iter().all(|name| folder.join(name).is_file())
    })
}

fn id(which: &str, user: Option<&str>) -> u32 {
    let output = Command::new("id").arg(which).args(user).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn run_as<'a>(
    command: &'a mut Command,
    user: Option<(u32, u32)>,
    folder: &Path,
) -> &'a mut Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    // Names of time zones and messages in the language that tests expect.
    command.current_dir(folder).env("LC_ALL", "C").env("HOME", folder)
}
