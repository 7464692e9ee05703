//! An end over the kernel's sockets: a thread for each flow.
//!
//! In:    sockets that block, but not for longer than patience
//! Out:   bytes of the pattern, or their comparison
//! Owns:  the threads
//! Never: tunes a socket but for its congestion control: the kernel's own tuning is what is measured

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, TcpCongestion};
use nix::sys::socket::{getsockopt, setsockopt};

use super::{Limit, Meter, PATIENCE, Role, Seat};
use crate::figures::Figures;
use crate::pattern::Pattern;

/// Bytes read or written at a time.
const PIECE: usize = 64 << 10;

pub(super) fn run(role: &Role, seat: &Seat) -> Result<Figures, String> {
    match *role {
        Role::Source { to, flows, seconds, bytes } => {
            source(to, flows, Limit::new(seconds, bytes), &seat.congestion)
        }
        Role::Sink { on, flows, seconds } => sink(on, flows, seconds),
    }
}

/// What a flow of a source ends with.
#[derive(Clone, Copy, Default)]
struct Sent {
    bytes: u64,
    retransmits: u64,
}

fn source(to: SocketAddr, flows: usize, limit: Limit, congestion: &str) -> Result<Figures, String> {
    let pattern = Pattern::default();
    let streams = thread::scope(|scope| {
        let connecting: Vec<_> =
            (0..flows).map(|_| scope.spawn(|| connect(to, congestion))).collect();
        let joined = connecting.into_iter().map(|thread| thread.join().expect("does not panic"));
        joined.collect::<Result<Vec<TcpStream>, String>>()
    })?;
    let started = Instant::now();
    let sent = thread::scope(|scope| {
        let pattern = &pattern;
        let begin = |stream| scope.spawn(move || send(stream, pattern, limit, started));
        let sending: Vec<_> = streams.into_iter().map(begin).collect();
        let joined = sending.into_iter().map(|thread| thread.join().expect("does not panic"));
        joined.collect::<Result<Vec<Sent>, String>>()
    })?;
    let mut figures = Figures::default();
    figures.push("bytes", sent.iter().map(|sent| sent.bytes).sum::<u64>() as f64);
    figures.push("seconds", started.elapsed().as_secs_f64());
    figures.push("retransmits", sent.iter().map(|sent| sent.retransmits).sum::<u64>() as f64);
    Ok(figures)
}

fn connect(to: SocketAddr, congestion: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)
        .map_err(|error| format!("cannot connect to {to}: {error}"))?;
    be_patient(&stream)?;
    setsockopt(&stream, TcpCongestion, &OsString::from(congestion))
        .map_err(|error| format!("cannot use the congestion control '{congestion}': {error}"))?;
    Ok(stream)
}

fn be_patient(stream: &TcpStream) -> Result<(), String> {
    let set = stream.set_read_timeout(Some(PATIENCE));
    set.and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(|error| error.to_string())
}

fn send(
    mut stream: TcpStream,
    pattern: &Pattern,
    limit: Limit,
    started: Instant,
) -> Result<Sent, String> {
    let mut sent = Sent::default();
    while !limit.is_reached(sent.bytes, started.elapsed()) {
        let piece = pattern.piece(sent.bytes, limit.left(sent.bytes).min(PIECE));
        let count = stream
            .write(piece)
            .map_err(|error| format!("cannot send after {} bytes: {error}", sent.bytes))?;
        sent.bytes += count as u64;
    }
    let shut = stream.shutdown(Shutdown::Write);
    shut.map_err(|error| format!("cannot half-close: {error}"))?;
    let rest = stream.read(&mut [0; 1]);
    if !matches!(rest, Ok(0)) {
        return Err(format!("the sink did not close: {rest:?}"));
    }
    let info = getsockopt(&stream, TcpInfo).map_err(|error| format!("TCP_INFO: {error}"))?;
    sent.retransmits = u64::from(info.tcpi_total_retrans);
    Ok(sent)
}

fn sink(on: SocketAddr, flows: usize, seconds: f64) -> Result<Figures, String> {
    let listener =
        TcpListener::bind(on).map_err(|error| format!("cannot listen on {on}: {error}"))?;
    println!("ready");
    let pattern = Pattern::default();
    let meter = Mutex::new(Meter::new(seconds));
    let begin = Instant::now();
    thread::scope(|scope| {
        let (pattern, meter) = (&pattern, &meter);
        let mut receiving = Vec::with_capacity(flows);
        for _ in 0..flows {
            let (stream, _) =
                listener.accept().map_err(|error| format!("cannot accept: {error}"))?;
            receiving.push(scope.spawn(move || receive(stream, pattern, meter, begin)));
        }
        let mut joined = receiving.into_iter().map(|thread| thread.join().expect("does not panic"));
        joined.try_for_each(|result| result)
    })?;
    Ok(meter.into_inner().unwrap_or_else(PoisonError::into_inner).figures())
}

fn receive(
    mut stream: TcpStream,
    pattern: &Pattern,
    meter: &Mutex<Meter>,
    begin: Instant,
) -> Result<(), String> {
    be_patient(&stream)?;
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        let count = stream
            .read(&mut buffer)
            .map_err(|error| format!("cannot receive after {bytes} bytes: {error}"))?;
        if count == 0 {
            return Ok(());
        }
        if !pattern.matches(bytes, &buffer[..count]) {
            return Err(format!("wrong bytes after {bytes} of them"));
        }
        bytes += count as u64;
        let now: Duration = begin.elapsed();
        meter.lock().unwrap_or_else(PoisonError::into_inner).count(count, now);
    }
}

#[derive(Clone, Copy)]
struct TcpInfo;
nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    GetStruct<libc::tcp_info>
);
