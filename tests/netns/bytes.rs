//! Servers of the tests, and streams of bytes of which every single one is checked.
//!
//! In:    a listening socket, connections
//! Out:   bytes of a sequence that does not repeat; where a stream first differs from it
//! Owns:  the threads of a server
//! Never: waits longer than the sockets' time limits
//!
//! A received stream is compared with the sequence itself: stronger than a hash of it, for it tells the first wrong byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::lab::{Netns, PATIENCE};

const CHUNK: usize = 64 << 10;
pub const MIB: u64 = 1 << 20;

/// Accepts until it is dropped; each connection has a thread of its own.
pub struct Server {
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(
        netns: &Netns,
        on: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = Arc::new(netns.listen(on));
        let accepting = Arc::clone(&listener);
        let serve = Arc::new(serve);
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let limits = [
                        stream.set_read_timeout(Some(PATIENCE)),
                        stream.set_write_timeout(Some(PATIENCE)),
                    ];
                    assert!(limits.iter().all(Result::is_ok), "{limits:?}");
                    serve(stream);
                });
            }
        });
        Self { listener, accepting: Some(accepting) }
    }

    /// Sends its name to whoever connects.
    pub fn naming(netns: &Netns, on: SocketAddr, name: &'static str) -> Self {
        Self::start(netns, on, move |mut stream| {
            // The peer may be gone already; that is its test's business.
            let _ = stream.write_all(name.as_bytes());
        })
    }

    /// Sends back what it gets.
    pub fn echoing(netns: &Netns, on: SocketAddr) -> Self {
        Self::start(netns, on, |stream| {
            let _ = io::copy(&mut &stream, &mut &stream);
        })
    }

    /// Hands each connection to the test.
    pub fn handing_over(netns: &Netns, on: SocketAddr) -> (Self, Receiver<TcpStream>) {
        let (sender, receiver) = channel();
        let server = Self::start(netns, on, move |stream| {
            let _ = sender.send(stream);
        });
        (server, receiver)
    }

    /// Takes part in `exchange`, and tells how it went on its side.
    pub fn exchanging(netns: &Netns, on: SocketAddr) -> (Self, Receiver<io::Result<()>>) {
        let (sender, receiver): (Sender<io::Result<()>>, _) = channel();
        let server = Self::start(netns, on, move |stream| {
            let _ = sender.send(serve_exchange(&stream));
        });
        (server, receiver)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The only way to wake a thread out of accept().
        let _ =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Sends `up` bytes and takes `down` bytes at the same time, with a server that is `exchanging`.
pub fn exchange(stream: &TcpStream, served: &Receiver<io::Result<()>>, up: u64, down: u64) {
    exchange_half(stream, up, down);
    verdict(served);
}

/// The client's side of an exchange.
pub fn exchange_half(stream: &TcpStream, up: u64, down: u64) {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&up.to_be_bytes());
    header[8..].copy_from_slice(&down.to_be_bytes());
    let mut writer = stream;
    writer
        .write_all(&header)
        .and_then(|()| both_ways(stream, up, down))
        .unwrap_or_else(|error| panic!("the client of an exchange: {error}"));
}

/// How the next exchange went for the server.
pub fn verdict(served: &Receiver<io::Result<()>>) {
    served
        .recv_timeout(PATIENCE)
        .expect("the server finishes with the client")
        .unwrap_or_else(|error| panic!("the server of an exchange: {error}"));
}

fn serve_exchange(stream: &TcpStream) -> io::Result<()> {
    let mut header = [0; 16];
    (&*stream).read_exact(&mut header)?;
    let [up, down] = [&header[..8], &header[8..]]
        .map(|half| u64::from_be_bytes(half.try_into().expect("half of 16 bytes")));
    both_ways(stream, down, up)
}

fn both_ways(stream: &TcpStream, send: u64, receive: u64) -> io::Result<()> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            send_bytes(stream, send)?;
            stream.shutdown(Shutdown::Write)
        });
        let received = receive_bytes(stream, receive).and_then(|()| expect_end(stream));
        if received.is_err() {
            // The test has failed: nobody needs to wait for the time limits of the other half.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sending.join().expect("a sender does not panic");
        received.and(sent)
    })
}

/// Sends the first `length` bytes of the sequence.
pub fn send_bytes(mut stream: &TcpStream, length: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < length {
        fill(&mut chunk, sent);
        let part = (length - sent).min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..part]).map_err(|error| at("sending", sent, &error))?;
        sent += part as u64;
    }
    Ok(())
}

/// Receives `length` bytes, which must be the first ones of the sequence.
pub fn receive_bytes(stream: &TcpStream, length: u64) -> io::Result<()> {
    match receive_some(stream, length) {
        (received, Ok(())) if received == length => Ok(()),
        (received, Ok(())) => Err(at("receiving", received, &io::ErrorKind::UnexpectedEof.into())),
        (_, Err(error)) => Err(error),
    }
}

/// Receives up to `length` bytes or the end of the stream: how many were right, and what went wrong behind them.
pub fn receive_some(mut stream: &TcpStream, length: u64) -> (u64, io::Result<()>) {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; 2 * CHUNK]);
    let mut received = 0;
    while received < length {
        let part = (length - received).min(CHUNK as u64) as usize;
        let count = match stream.read(&mut chunk[..part]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return (received, Err(at("receiving", received, &error))),
        };
        // The sequence is made in words; the stream comes in any pieces.
        let skip = (received % 8) as usize;
        fill(&mut expected[..(skip + count).next_multiple_of(8)], received - skip as u64);
        let pairs = chunk[..count].iter().zip(&expected[skip..]);
        let right = pairs.take_while(|(got, expected)| got == expected).count();
        received += right as u64;
        if right < count {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a wrong byte");
            return (received, Err(at("receiving", received, &error)));
        }
    }
    (received, Ok(()))
}

/// The stream must end here, in good order.
pub fn expect_end(mut stream: &TcpStream) -> io::Result<()> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a byte behind the end")),
        Err(error) => Err(error),
    }
}

/// Waits for the end of a stream, by FIN or RST; true if it ended and did not just stay silent.
pub fn ends(mut stream: &TcpStream) -> bool {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !is_timeout(&error),
        }
    }
}

pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn at(what: &str, offset: u64, error: &io::Error) -> io::Error {
    let stalled = if is_timeout(error) { "stalled: " } else { "" };
    io::Error::new(error.kind(), format!("{what}, at byte {offset}: {stalled}{error}"))
}

/// Bytes of the sequence from `offset` on, which is a multiple of 8: splitmix64 of the word's number.
fn fill(chunk: &mut [u8], offset: u64) {
    debug_assert!(offset.is_multiple_of(8) && chunk.len().is_multiple_of(8));
    for (word, number) in chunk.chunks_exact_mut(8).zip(offset / 8..) {
        let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
}
