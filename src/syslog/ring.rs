//! Rings: lines that wait in memory for who will have them.
//!
//! In:    lines
//! Out:   lines in their order, to the ring's servers over TCP, each from where it is
//! Owns:  the lines; a thread for each server
//! Never: grows beyond its size: the oldest lines go first, read or not

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::config::model::{LogTransport, Ring as RingConfig, RingServer};

/// How long a connection may take, and a line to be taken, where the section says nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a connection that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the process waits for lines to be told.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a server that says nothing is looked at: it may have closed.
const LOOK: Duration = Duration::from_millis(500);

/// The lines of a ring.
pub(super) struct Ring {
    state: Mutex<State>,
    grown: Condvar,
    /// Bytes that its lines may have.
    size: usize,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// The number of the oldest line.
    first: u64,
    is_closed: bool,
}

/// What a reader finds.
enum Found {
    /// A line, and its number.
    Line(u64, Arc<[u8]>),
    /// Nothing new yet.
    Nothing,
    /// Nothing, and nothing will come.
    End,
}

impl Ring {
    fn new(size: usize) -> Self {
        Ring { state: Mutex::default(), grown: Condvar::new(), size }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Lines are whole whatever happened to who held the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line; the oldest make room for it.
    pub fn push(&self, line: &[u8]) -> io::Result<()> {
        if line.len() > self.size {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut state = self.lock();
        while state.bytes + line.len() > self.size {
            let Some(oldest) = state.lines.pop_front() else { break };
            state.bytes -= oldest.len();
            state.first += 1;
        }
        state.bytes += line.len();
        state.lines.push_back(line.into());
        drop(state);
        self.grown.notify_all();
        Ok(())
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.grown.notify_all();
    }

    /// The line with this number, or the oldest after it; waits for one.
    fn wait(&self, number: u64, patience: Duration) -> Found {
        let state = self.lock();
        let is_there = |state: &State| number < state.first + state.lines.len() as u64;
        let (state, _) = self
            .grown
            .wait_timeout_while(state, patience, |state| !is_there(state) && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        if is_there(&state) {
            let number = number.max(state.first);
            return Found::Line(number, state.lines[(number - state.first) as usize].clone());
        }
        if state.is_closed { Found::End } else { Found::Nothing }
    }

    /// Whether it is closed; waits for it.
    fn is_closed_within(&self, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self.grown.wait_timeout_while(state, patience, |state| !state.is_closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }
}

/// The rings of a configuration, and who reads them.
pub(super) struct Rings {
    rings: Vec<(Arc<str>, Arc<Ring>)>,
    /// Nothing is ever said here: it is closed by the last of the tellers.
    tellers: Receiver<()>,
}

impl Rings {
    pub fn start(configs: &[RingConfig]) -> io::Result<Self> {
        let (alive, tellers) = bounded(0);
        let mut all = Rings { rings: Vec::new(), tellers };
        for config in configs {
            let ring = Arc::new(Ring::new(config.size));
            all.rings.push((config.name.clone(), ring.clone()));
            for server in &config.servers {
                let teller = Teller {
                    ring: ring.clone(),
                    server: server.clone(),
                    connect_timeout: config.connect_timeout.unwrap_or(PATIENCE),
                    write_timeout: config.server_timeout.unwrap_or(PATIENCE),
                    next: 0,
                    _alive: alive.clone(),
                };
                let thread = std::thread::Builder::new().name("log ring".into());
                thread.spawn(move || teller.run())?;
            }
        }
        Ok(all)
    }

    pub fn get(&self, name: &str) -> Option<&Ring> {
        self.rings.iter().find(|(known, _)| **known == *name).map(|(_, ring)| &**ring)
    }
}

impl Drop for Rings {
    /// Servers that can be reached still get what is there; the others do not keep the process from its end.
    fn drop(&mut self) {
        self.rings.iter().for_each(|(_, ring)| ring.close());
        let _ = self.tellers.recv_timeout(LAST_WORDS);
    }
}

/// Tells one server the lines of a ring.
struct Teller {
    ring: Arc<Ring>,
    server: RingServer,
    connect_timeout: Duration,
    write_timeout: Duration,
    /// The number of the next line.
    next: u64,
    _alive: Sender<()>,
}

impl Teller {
    fn run(mut self) {
        loop {
            let told = self.connect().and_then(|stream| self.tell(&stream));
            if told.is_ok() || self.ring.is_closed_within(PAUSE) {
                return;
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.server.address, self.connect_timeout)?;
        stream.set_write_timeout(Some(self.write_timeout))?;
        Ok(stream)
    }

    /// Up to the end of the ring; fails when the server does.
    fn tell(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        loop {
            let found = self.ring.wait(self.next, LOOK);
            // What is said to a server that has closed would be lost.
            if has_ended(stream)? {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match found {
                Found::End => return Ok(()),
                Found::Nothing => {}
                Found::Line(number, line) => {
                    stream.write_all(&framed(self.server.transport, &line))?;
                    self.next = number + 1;
                }
            }
        }
    }
}

/// Whether the server has closed.
fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(count) => Ok(count == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// RFC 6587, section 3.4.
fn framed(transport: LogTransport, line: &[u8]) -> Vec<u8> {
    match transport {
        LogTransport::OctetCount => [format!("{} ", line.len()).as_bytes(), line].concat(),
        LogTransport::Legacy => [line, b"\n"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ring: &Ring, number: u64) -> Option<(u64, String)> {
        match ring.wait(number, Duration::ZERO) {
            Found::Line(number, line) => Some((number, String::from_utf8(line.to_vec()).unwrap())),
            _ => None,
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let ring = Ring::new(10);
        for line in ["one", "two", "three", "four"] {
            ring.push(line.as_bytes()).unwrap();
        }
        assert_eq!(found(&ring, 0), Some((2, "three".into())), "what is gone is passed over");
        assert_eq!(found(&ring, 3), Some((3, "four".into())));
        assert_eq!(found(&ring, 4), None);
        assert!(ring.push(b"more than ten").is_err());
        ring.close();
        assert!(matches!(ring.wait(4, Duration::MAX), Found::End));
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(framed(LogTransport::OctetCount, b"a line"), b"6 a line");
        assert_eq!(framed(LogTransport::Legacy, b"a line"), b"a line\n");
    }
}
