//! The switch between the sites and the servers: one thread that moves frames between packet sockets
//! in a namespace of its own, as [`crate::fabric`] says.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::fabric::{Counts, Fabric, Port, Weather};
use crate::namespace::Namespace;

/// The largest frame that a socket hands over.
const FRAME_BYTES: usize = 65_536;

/// Room for a burst that comes while the thread waits for its turn on a busy machine: a frame that
/// finds none would be lost without being counted.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// A running switch. Dropping it stops it.
#[derive(Debug)]
pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    fabric: Mutex<Fabric>,
    wake: EventFd,
    stop: AtomicBool,
    /// Frames that an interface would not take: too long for it, or it is down.
    refused: AtomicU64,
}

impl Switch {
    /// Starts a switch on these interfaces of a namespace.
    pub fn start(
        namespace: &Namespace,
        interfaces: [(Port, &str); 3],
        weather: Weather,
    ) -> Result<Self> {
        let sockets = open_sockets(namespace, interfaces)?;
        let shared = Arc::new(Shared {
            fabric: Mutex::new(Fabric::new(weather)),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            stop: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("switch".into()).spawn(move || {
                if let Err(error) = forward(&sockets, &shared) {
                    eprintln!("natlab: the switch has stopped: {error:#}");
                }
            })?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes the weather from the next frame on.
    pub fn change_weather(&self, change: impl FnOnce(&mut Weather)) {
        let mut fabric = self.shared.fabric();
        let mut weather = fabric.weather();
        change(&mut weather);
        fabric.set_weather(weather);
    }

    pub fn counts(&self) -> Counts {
        self.shared.fabric().counts()
    }

    /// Makes sure that nothing was lost that the weather did not take: a frame that fits no interface
    /// comes of an offload that is left on, and one that found no room of a flood.
    pub fn check(&self) -> Result<()> {
        let refused = self.shared.refused.load(Ordering::Relaxed);
        ensure!(refused == 0, "{refused} frames did not fit the switch");
        let overflowed = self.counts().overflowed;
        ensure!(overflowed == 0, "{overflowed} frames found no room in the switch");
        Ok(())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Err(error) = self.shared.wake.write(1) {
            eprintln!("natlab: cannot wake the switch: {error}");
            return;
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Sockets = [(Port, OwnedFd); 3];

/// Opens one packet socket for each interface. A thread of its own enters the namespace for that;
/// sockets stay where they were opened.
fn open_sockets(namespace: &Namespace, interfaces: [(Port, &str); 3]) -> Result<Sockets> {
    let path = namespace.path();
    let opened = thread::scope(|scope| {
        let work = || -> Result<Vec<(Port, OwnedFd)>> {
            let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            setns(file, CloneFlags::CLONE_NEWNET).context("entering the switch's namespace")?;
            interfaces.map(|(port, name)| Ok((port, open_socket(name)?))).into_iter().collect()
        };
        scope.spawn(work).join()
    });
    let opened = opened.map_err(|_| anyhow::anyhow!("opening the switch's sockets panicked"))??;
    opened.try_into().map_err(|_| anyhow::anyhow!("three sockets were asked for"))
}

fn open_socket(interface: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .context("a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
        .context("room for a burst in a packet socket")?;
    bind(socket.as_raw_fd(), &link_address(interface)?)
        .with_context(|| format!("binding a packet socket to {interface}"))?;
    // What other interfaces got before it was bound.
    let mut buffer = [0; FRAME_BYTES];
    while recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).is_ok() {}
    Ok(socket)
}

fn link_address(interface: &str) -> Result<LinkAddr> {
    let found = getifaddrs()?.find_map(|entry| {
        let address = entry.address.filter(|_| entry.interface_name == interface)?;
        SockaddrStorage::as_link_addr(&address).copied()
    });
    found.with_context(|| format!("no interface {interface}"))
}

/// Moves frames until told to stop.
fn forward(sockets: &Sockets, shared: &Shared) -> Result<()> {
    let mut buffer = vec![0; FRAME_BYTES];
    while !shared.stop.load(Ordering::Relaxed) {
        wait(sockets, shared)?;
        for (port, socket) in sockets {
            loop {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(len) => shared.fabric().accept(*port, &buffer[..len], Instant::now()),
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR | Errno::ENETDOWN) => {}
                    Err(error) => return Err(error).context("receiving"),
                }
            }
        }
        deliver(sockets, shared);
    }
    Ok(())
}

fn deliver(sockets: &Sockets, shared: &Shared) {
    while let Some((to, frame)) = { shared.fabric().take_due(Instant::now()) } {
        let socket = sockets.iter().find(|(port, _)| *port == to);
        let sent = socket.map(|(_, socket)| send(socket.as_raw_fd(), &frame, MsgFlags::empty()));
        if !matches!(sent, Some(Ok(_))) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits for a frame, for one that is due, or to be woken.
fn wait(sockets: &Sockets, shared: &Shared) -> Result<()> {
    let due = { shared.fabric().next_due() };
    let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let [(_, one), (_, two), (_, three)] = sockets;
    let mut fds = [one, two, three].map(|socket| watch(socket.as_fd())).to_vec();
    fds.push(watch(shared.wake.as_fd()));
    match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("waiting for frames"),
    }
}
