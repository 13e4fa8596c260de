//! `natlab`: prove the NATs, run the matrix, clean up. Needs root.

use std::io::IsTerminal as _;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, process, thread};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use p2p_natlab::cases::{self, Case, Programs, Verdict};
use p2p_natlab::matrix::Matrix;
use p2p_natlab::report::{self, Report};
use p2p_natlab::{
    crossing, early_packet, echo, forward, http, namespace, netcheck, node_package, probe, punch,
    udp_blocked,
};

/// The real binaries in network namespaces behind nftables NATs.
#[derive(Parser)]
#[command(name = "natlab", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    /// The `coordinator` binary. Default: beside this one.
    #[arg(long, global = true, env = "NATLAB_COORDINATOR")]
    coordinator: Option<PathBuf>,

    /// The `p2p` binary. Default: beside this one.
    #[arg(long, global = true, env = "NATLAB_P2P")]
    p2p: Option<PathBuf>,

    /// Where logs are kept, in one folder a run.
    #[arg(long, global = true, default_value = ".natlab")]
    logs: PathBuf,

    /// How many labs stand at the same time.
    #[arg(long, global = true, default_value_t = 3)]
    jobs: usize,

    /// Keep the logs of a run without failures too.
    #[arg(long, global = true)]
    keep: bool,

    /// Run only the cases whose name contains this.
    #[arg(long, global = true)]
    only: Option<String>,

    /// Write everything that was found to this file.
    #[arg(long, global = true)]
    json: Option<PathBuf>,

    /// Write the matrix as a page to this file.
    #[arg(long, global = true)]
    write: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Show that every NAT is what it claims, with coturn's natdiscovery and a plain punch.
    Prove,
    /// Run the real binaries through every pair of NATs.
    Matrix,
    /// Prove the NATs, then the matrix, netcheck, forward, the host without UDP and the Node.js package.
    All,
    /// Remove what dead runs have left behind.
    Clean,
    /// Echo server, for the lab's hosts.
    #[command(hide = true)]
    Echo { listen: SocketAddrV4 },
    /// HTTP server with one page, for the lab's hosts.
    #[command(hide = true)]
    Http { listen: SocketAddrV4 },
    /// Echo server over UDP, for the lab's hosts.
    #[command(hide = true)]
    UdpEcho { listen: SocketAddrV4 },
    /// Measures the way to an echo server over UDP.
    #[command(hide = true)]
    UdpCross {
        #[arg(long)]
        to: SocketAddrV4,
        #[arg(long)]
        count: u32,
    },
    /// The far side of the early packet check.
    #[command(hide = true)]
    EarlyPacket {
        #[arg(long)]
        listen: SocketAddrV4,
        #[arg(long)]
        target: SocketAddrV4,
    },
    /// Where two plain punchers meet.
    #[command(hide = true)]
    Rendezvous { listen: SocketAddrV4 },
    /// One plain puncher.
    #[command(hide = true)]
    Punch { server: SocketAddrV4 },
    /// Sends one datagram.
    #[command(hide = true)]
    UdpSend {
        #[arg(long)]
        from: SocketAddrV4,
        #[arg(long)]
        to: SocketAddrV4,
    },
}

fn main() -> ExitCode {
    match try_main(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("natlab: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything passed.
fn try_main(arguments: &Arguments) -> Result<bool> {
    let matrix = Matrix::default();
    let cases = match arguments.verb {
        Verb::Prove => prove(),
        Verb::Matrix => matrix.cases(),
        Verb::All => {
            let programs = [forward::cases(), udp_blocked::cases(), node_package::cases()];
            let all = [prove(), matrix.cases(), netcheck::cases()].into_iter().chain(programs);
            all.flatten().collect()
        }
        Verb::Clean => return clean().map(|()| true),
        Verb::Echo { listen } => return echo::serve(listen).map(|()| true),
        Verb::Http { listen } => return http::serve(listen).map(|()| true),
        Verb::UdpEcho { listen } => return crossing::serve_echo(listen).map(|()| true),
        Verb::UdpCross { to, count } => return crossing::play_near_end(to, count).map(|()| true),
        Verb::EarlyPacket { listen, target } => {
            return early_packet::play_far_side(listen, target).map(|()| true);
        }
        Verb::Rendezvous { listen } => return punch::serve_rendezvous(listen).map(|()| true),
        Verb::Punch { server } => return punch::play_peer(server).map(|()| true),
        Verb::UdpSend { from, to } => return early_packet::send_one(from, to).map(|()| true),
    };
    run(cases, &matrix, arguments)
}

/// The switch, the NATs one by one, then in pairs.
fn prove() -> Vec<Case> {
    [crossing::cases(), probe::cases(), punch::cases()].into_iter().flatten().collect()
}

fn run(mut cases: Vec<Case>, matrix: &Matrix, arguments: &Arguments) -> Result<bool> {
    namespace::check_privilege()?;
    namespace::sweep_dead_runs()?;
    clean_up_on_signals()?;
    let programs = find_programs(arguments)?;
    let logs = arguments.logs.join(process::id().to_string());
    if let Some(part) = &arguments.only {
        cases.retain(|case| case.name().contains(part));
        ensure!(!cases.is_empty(), "no case has {part:?} in its name");
    }

    let (count, mut done) = (cases.len(), 0);
    let verdicts = cases::run_all(cases, &programs, &logs, arguments.jobs, |verdict| {
        done += 1;
        print_verdict(verdict, done, count);
    });
    let table = matrix.table();
    let report = Report::new(&verdicts, &table);
    if !table.is_empty() {
        println!("\n{}", report::terminal_table(&table));
    }
    if let Some(path) = &arguments.json {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &arguments.write {
        write(path, &report::markdown(&report, &table))?;
    }
    if report.failed == 0 && !arguments.keep {
        fs::remove_dir_all(&logs).with_context(|| format!("cannot remove {}", logs.display()))?;
    } else {
        println!("logs of all programs: {}", logs.display());
    }
    println!("{}", report.last_line());
    Ok(report.failed == 0)
}

fn print_verdict(verdict: &Verdict, done: usize, count: usize) {
    let (plain, color) = if verdict.passed { ("ok", "32") } else { ("FAILED", "31") };
    let word = if std::io::stdout().is_terminal() {
        format!("\x1b[{color}m{plain}\x1b[0m")
    } else {
        plain.into()
    };
    let took = cases::seconds(verdict.secs);
    println!("[{done}/{count}] {} ... {word} ({took})\n    {}", verdict.name, verdict.detail);
    if !verdict.passed {
        print!("{}", cases::log_tails(&verdict.folder, 25));
    }
}

fn find_programs(arguments: &Arguments) -> Result<Programs> {
    let natlab = std::env::current_exe().context("the path of this program")?;
    let beside = |name: &str| natlab.with_file_name(name);
    let coordinator = arguments.coordinator.clone().unwrap_or_else(|| beside("coordinator"));
    let p2p = arguments.p2p.clone().unwrap_or_else(|| beside("p2p"));
    if !matches!(arguments.verb, Verb::Prove) {
        for program in [&coordinator, &p2p] {
            ensure!(
                program.is_file(),
                "{} is missing: build it with `cargo build -p p2p-coordinator -p p2p-cli`",
                program.display()
            );
        }
    }
    let absolute = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("the path {}", path.display()))
    };
    Ok(Programs { coordinator: absolute(&coordinator)?, p2p: absolute(&p2p)?, natlab })
}

/// On SIGINT and SIGTERM nothing is dropped: removes this run's namespaces, then ends.
fn clean_up_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        if let Err(error) = namespace::remove_own() {
            eprintln!("natlab: cannot clean up: {error:#}");
        }
        process::exit(130);
    });
    Ok(())
}

fn clean() -> Result<()> {
    namespace::check_privilege()?;
    for name in namespace::sweep_dead_runs()? {
        println!("removed {name}");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
