//! `natlab`: prove the NATs, run the matrix, clean up. Needs root.

use std::io::IsTerminal as _;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, process, thread};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use p2p_natlab::cases::{self, Case, Programs, Verdict};
use p2p_natlab::matrix::Matrix;
use p2p_natlab::measure::{self, Samples, Setting, Stack};
use p2p_natlab::report::{self, Report};
use p2p_natlab::{
    broker, crossing, early_packet, echo, forward, http, ice_player, lossy_direct, migration,
    namespace, netcheck, node_package, page, player, probe, punch, udp_blocked,
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
}

#[derive(Subcommand)]
enum Verb {
    /// Show that every NAT is what it claims, with coturn's natdiscovery and a plain punch.
    Prove,
    /// Run the real binaries through every pair of NATs.
    Cells,
    /// Measure every pair, far apart, again and again, beside webrtc-ice.
    Matrix {
        /// Runs of each pair and each stack.
        #[arg(long, default_value_t = 10)]
        runs: u32,
        /// Percent of the packets that are lost in the second half; 0 leaves it away.
        #[arg(long, default_value_t = 2.0)]
        loss: f64,
        /// Measure only this; what was measured before of the others stays.
        #[arg(long, value_enum)]
        stack: Vec<Stack>,
        /// Write the tables as a page to this file.
        #[arg(long)]
        write: Option<PathBuf>,
        /// Where the samples are kept.
        #[arg(long)]
        samples: PathBuf,
    },
    /// Prove the NATs, then the cells, netcheck, forward, the host without UDP and the Node.js package.
    All,
    /// Take the path away in the middle of a file transfer, in every way there is.
    Migrate {
        /// How often each.
        #[arg(long, default_value_t = 1)]
        runs: u32,
    },
    /// Send a file where the direct path loses packets and the relay does not.
    LossyDirect,
    /// Remove what dead runs have left behind.
    Clean,
    /// Echo server, for the lab's hosts.
    #[command(hide = true)]
    Echo { listen: SocketAddrV4 },
    /// HTTP server with one page, for the lab's hosts.
    #[command(hide = true)]
    Http { listen: SocketAddrV4 },
    /// Our listener of a measured run.
    #[command(hide = true)]
    Listen {
        #[arg(long)]
        server: String,
        #[arg(long)]
        token: String,
        #[arg(long)]
        name: String,
    },
    /// Our caller of a measured run.
    #[command(hide = true)]
    Call {
        #[arg(long)]
        server: String,
        #[arg(long)]
        token: String,
        #[arg(long)]
        name: String,
        #[arg(long)]
        peer: String,
        #[arg(long)]
        window_ms: u64,
    },
    /// Signaling for webrtc-ice.
    #[command(hide = true)]
    Broker { listen: SocketAddrV4 },
    /// The listener of a measured run of webrtc-ice.
    #[command(hide = true)]
    IceListen(ice_player::IceArgs),
    /// The caller of a measured run of webrtc-ice.
    #[command(hide = true)]
    IceCall(ice_player::IceArgs),
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
        Verb::Cells => matrix.cases(),
        Verb::LossyDirect => lossy_direct::cases(),
        Verb::Migrate { runs } => migration::all(runs),
        Verb::Matrix { runs, loss, ref stack, ref write, ref samples } => {
            return measure(runs, loss, stack, write.as_deref(), samples, arguments);
        }
        Verb::All => {
            let programs = [forward::cases(), udp_blocked::cases(), node_package::cases()];
            let lab = [prove(), matrix.cases(), netcheck::cases(), migration::cases()];
            lab.into_iter().chain(programs).flatten().collect()
        }
        Verb::Clean => return clean().map(|()| true),
        Verb::Echo { listen } => return echo::serve(listen).map(|()| true),
        Verb::Http { listen } => return http::serve(listen).map(|()| true),
        Verb::Listen { ref server, ref token, ref name } => {
            return player::listen(server, token, name).map(|()| true);
        }
        Verb::Call { ref server, ref token, ref name, ref peer, window_ms } => {
            let window = Duration::from_millis(window_ms);
            return player::call(server, token, name, peer, window).map(|()| true);
        }
        Verb::Broker { listen } => return broker::serve(listen).map(|()| true),
        Verb::IceListen(ref ice) => return ice_player::listen(ice).map(|()| true),
        Verb::IceCall(ref ice) => return ice_player::call(ice).map(|()| true),
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

/// Measures every pair, without loss and with it; then writes the page.
fn measure(
    runs: u32,
    loss: f64,
    stacks: &[Stack],
    page: Option<&Path>,
    samples: &Path,
    arguments: &Arguments,
) -> Result<bool> {
    let stacks = if stacks.is_empty() { Stack::ALL.to_vec() } else { stacks.to_vec() };
    let (kept, pairs) = (Samples::read(samples)?, measure::pairs());
    let losses = if loss > 0.0 { vec![0.0, loss] } else { vec![0.0] };
    let settings = losses.iter().flat_map(|loss| pairs.iter().map(move |pair| (*loss, *pair)));
    let cases = settings.zip(1..).map(|((loss, (caller, listener)), seed)| {
        kept.case(Setting { caller, listener, loss, runs, seed }, stacks.clone())
    });
    let passed = run(cases.collect(), &Matrix::default(), arguments)?;
    if let Some(path) = page {
        write(path, &page::render(&kept.all(), &pairs))?;
    }
    Ok(passed)
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
