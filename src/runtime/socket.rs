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
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Runtime;
use super::session::{Client, Session};
use crate::config::model::{Bind, Carrier, Level};
use crate::log;
use crate::transport::kernel::sockets::{KernelListener, families};

/// How long a socket that cannot be served is left alone.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A socket that was opened, before anybody is served.
pub struct RuntimeSocket {
    listener: KernelListener,
    is_tcp: bool,
    level: Level,
}

impl RuntimeSocket {
    /// The process ends: nobody is to find the socket.
    pub fn remove_path(&self) {
        self.listener.remove_path();
    }
}

/// Opens the socket or sockets of a `stats socket` line.
pub fn open(bind: &Bind) -> io::Result<Vec<RuntimeSocket>> {
    let is_tcp = matches!(bind.carrier, Carrier::Kernel | Carrier::Wire);
    let socket = |&ipv6: &bool| {
        let listener = KernelListener::open(bind, ipv6)?;
        Ok(RuntimeSocket { listener, is_tcp, level: bind.level })
    };
    families(bind).iter().map(socket).collect()
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

/// Serves clients of these sockets until the process ends.
pub fn serve(sockets: Vec<Arc<RuntimeSocket>>, runtime: &Arc<Runtime>) -> io::Result<()> {
    let maxconn = runtime.config.global.stats.maxconn;
    let places = Arc::new(Places { free: Mutex::new(maxconn), freed: Condvar::new() });
    for socket in sockets {
        let (runtime, places) = (runtime.clone(), places.clone());
        std::thread::Builder::new()
            .name("runtime".into())
            .spawn(move || accept_all(&socket, &runtime, &places))?;
    }
    Ok(())
}

fn accept_all(socket: &RuntimeSocket, runtime: &Arc<Runtime>, places: &Arc<Places>) {
    loop {
        places.take();
        let client = match accept(socket) {
            Ok(client) => client,
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
        let (runtime, given) = (runtime.clone(), places.clone());
        let level = socket.level;
        let spawned = std::thread::Builder::new().name("runtime session".into()).spawn(move || {
            Session::new(&runtime, level).serve(client);
            given.give();
        });
        if let Err(error) = spawned {
            log::warning(format_args!("cannot serve a client of the runtime interface: {error}"));
            places.give();
        }
    }
}

/// Waits for the next client.
fn accept(socket: &RuntimeSocket) -> io::Result<Box<dyn Client>> {
    loop {
        let fd = socket.listener.fd();
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::net::accept_with(socket.listener.fd(), SocketFlags::CLOEXEC) {
            Ok(fd) => return client(fd, socket.is_tcp),
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
