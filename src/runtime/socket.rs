//! Runtime sockets: who comes in, and how many at once.
//!
//! In:    `stats socket` lines
//! Out:   a [`session`] on a thread of its own for each client, `stats maxconn` at most
//! Owns:  the listening sockets
//! Never: refuses anybody: who is one too many waits in the kernel's queue

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Operators;
use super::session::{Client, Session};
use crate::boot::place_in_words;
use crate::config::model::{Bind, Carrier, Config, Families, Level};
use crate::log;
use crate::transport::kernel::sockets::{KernelListener, families};

/// How long a socket that cannot be served is left alone.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A socket that was opened, before anybody is served.
struct RuntimeSocket {
    listener: KernelListener,
    is_tcp: bool,
    level: Level,
    /// Nobody is served any more.
    is_left: AtomicBool,
}

impl RuntimeSocket {
    /// Opens the socket or sockets of a `stats socket` line.
    fn open(bind: &Bind) -> io::Result<Vec<Arc<Self>>> {
        let is_tcp = matches!(bind.carrier, Carrier::Kernel | Carrier::Wire);
        let socket = |&ipv6: &bool| {
            let listener = KernelListener::open(bind, ipv6)?;
            let (level, is_left) = (bind.level, AtomicBool::new(false));
            Ok(Arc::new(RuntimeSocket { listener, is_tcp, level, is_left }))
        };
        families(bind).iter().map(socket).collect()
    }
}

/// All sockets of the runtime interface.
#[derive(Default)]
pub struct RuntimeSockets {
    open: Vec<(Bind, Vec<Arc<RuntimeSocket>>)>,
    /// Once somebody is served.
    places: Option<Arc<Places>>,
}

impl RuntimeSockets {
    /// Those of a configuration: what is open already stays, the others are opened. Or a sentence.
    pub fn successor(&self, config: &Config) -> Result<Self, String> {
        let mut open = Vec::new();
        for bind in &config.global.stats.sockets {
            let known = self.open.iter().find(|(known, _)| known == bind);
            let sockets = match known {
                Some((_, sockets)) => sockets.clone(),
                None => RuntimeSocket::open(bind).map_err(|error| {
                    let (file, line) = (&bind.at.file, bind.at.line);
                    let place = place_in_words(bind, bind.families == Families::V6);
                    format!("[{file}:{line}]: cannot open the stats socket {place}: {error}")
                })?,
            };
            open.push((bind.clone(), sockets));
        }
        Ok(RuntimeSockets { open, places: self.places.clone() })
    }

    /// Serves clients of these sockets from now on, until another configuration has them no more.
    pub fn serve(&mut self, operators: &Arc<Operators>) -> io::Result<()> {
        let maxconn = operators.current().config.global.stats.maxconn;
        let places = Places { free: Mutex::new(maxconn), freed: Condvar::new() };
        self.places = Some(Arc::new(places));
        self.serve_all(operators, |_| true)
    }

    /// Serves clients of `next` instead; sessions that are under way go on.
    pub fn replace(&mut self, next: RuntimeSockets, operators: &Arc<Operators>) {
        let before = std::mem::replace(self, next);
        let has = |all: &RuntimeSockets, bind: &Bind| all.open.iter().any(|(one, _)| one == bind);
        if let Err(error) = self.serve_all(operators, |bind| !has(&before, bind)) {
            log::alert(format_args!("cannot start a thread of the runtime interface: {error}"));
        }
        let left = before.open.iter().filter(|(bind, _)| !has(self, bind));
        for socket in left.flat_map(|(_, sockets)| sockets) {
            socket.is_left.store(true, Ordering::SeqCst);
            socket.listener.remove_path();
            socket.listener.stop();
        }
    }

    fn serve_all(
        &self,
        operators: &Arc<Operators>,
        is_new: impl Fn(&Bind) -> bool,
    ) -> io::Result<()> {
        let Some(places) = &self.places else { return Ok(()) };
        let new = self.open.iter().filter(|(bind, _)| is_new(bind));
        for socket in new.flat_map(|(_, sockets)| sockets) {
            let (socket, operators, places) = (socket.clone(), operators.clone(), places.clone());
            std::thread::Builder::new()
                .name("runtime".into())
                .spawn(move || accept_all(&socket, &operators, &places))?;
        }
        Ok(())
    }

    /// The process ends: nobody is to find the sockets.
    pub fn remove_paths(&self) {
        self.open.iter().flat_map(|(_, sockets)| sockets).for_each(|socket| {
            socket.listener.remove_path();
        });
    }
}

/// Sessions at once, over all sockets.
struct Places {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Places {
    fn take(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
    }

    fn give(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}

fn accept_all(socket: &RuntimeSocket, operators: &Arc<Operators>, places: &Arc<Places>) {
    loop {
        places.take();
        let client = match accept(socket) {
            Ok(Some(client)) => client,
            Ok(None) => return places.give(),
            Err(error) => {
                // What the process is short of, such as descriptors, may come back: the next client waits for it.
                log::warning(format_args!(
                    "cannot accept a client of the runtime interface: {error}"
                ));
                places.give();
                let _ = poll(&mut [], Some(&PAUSE));
                continue;
            }
        };
        let (operators, given) = (operators.clone(), places.clone());
        let level = socket.level;
        let spawned = std::thread::Builder::new().name("runtime session".into()).spawn(move || {
            Session::new(&operators, level).serve(client);
            given.give();
        });
        if let Err(error) = spawned {
            log::warning(format_args!("cannot serve a client of the runtime interface: {error}"));
            places.give();
        }
    }
}

/// Waits for the next client; `None` when the socket was left.
fn accept(socket: &RuntimeSocket) -> io::Result<Option<Box<dyn Client>>> {
    loop {
        let fd = socket.listener.fd();
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if socket.is_left.load(Ordering::SeqCst) {
            return Ok(None);
        }
        match rustix::net::accept_with(socket.listener.fd(), SocketFlags::CLOEXEC) {
            Ok(fd) => return client(fd, socket.is_tcp).map(Some),
            // It has gone again, or another process that shares the socket took it.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn client(fd: OwnedFd, is_tcp: bool) -> io::Result<Box<dyn Client>> {
    rustix::io::ioctl_fionbio(fd.as_fd(), false)?;
    Ok(if is_tcp { Box::new(TcpStream::from(fd)) } else { Box::new(UnixStream::from(fd)) })
}
