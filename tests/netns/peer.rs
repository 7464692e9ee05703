//! What this test binary does when it is started again as a peer, in a process and a namespace of its own.
//!
//! In:    `netns peer ROLE ARGUMENTS...`
//! Out:   a line that says `ready`, then service until it is killed
//! Owns:  its process: a limit of open files of its own, and a death of its own
//! Never: part of a test's verdict, but by what it sends

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use clap::Parser;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen};
use xlb_bench::{faulty_wire, syn_flood};

use crate::bytes;
use crate::lab::{Lab, Netns, Process};

/// Starts a peer in a namespace of the lab and waits until it is ready.
pub fn spawn(lab: &Lab, netns: &Netns, role: &str, arguments: &[&str]) -> Process {
    let mut process = start(lab, netns, role, arguments);
    process.wait_for_log("ready");
    process
}

/// Starts a peer that begins at once.
pub fn start(lab: &Lab, netns: &Netns, role: &str, arguments: &[&str]) -> Process {
    let this = std::env::current_exe().expect("a running program has a file");
    let this = this.to_str().expect("cargo's paths are plain");
    lab.spawn(netns, this, &[&["peer", role], arguments].concat())
}

/// The status to exit with, if this process is a peer.
pub fn run_if_asked() -> Option<i32> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, peer, role, rest @ ..] = arguments.as_slice() else { return None };
    if peer != "peer" {
        return None;
    }
    let result = match role.as_str() {
        "faulty-wire" => faulty_wire::run(&faulty_wire::Options::parse_from(&arguments[2..])),
        "syn-flood" => syn_flood::run(&syn_flood::Options::parse_from(&arguments[2..]))
            .map(|report| println!("{report}")),
        "echo" => echo_crowd(rest),
        "pour" => pour(rest),
        _ => Err(io::Error::other(format!("there is no role '{role}'"))),
    };
    Some(result.map_or_else(
        |error| {
            eprintln!("{role}: {error}");
            1
        },
        |()| 0,
    ))
}

fn listener(arguments: &[String]) -> io::Result<TcpListener> {
    let on: SocketAddr = arguments
        .first()
        .and_then(|on| on.parse().ok())
        .ok_or_else(|| io::Error::other("expects an address to listen on"))?;
    let listener = TcpListener::bind(on)?;
    listen(&listener, Backlog::MAXALLOWABLE)?;
    println!("ready");
    Ok(listener)
}

/// Sends the sequence to whoever connects, without an end.
fn pour(arguments: &[String]) -> io::Result<()> {
    let listener = listener(arguments)?;
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::spawn(move || bytes::send_bytes(&stream, u64::MAX));
    }
}

/// Echoes short messages on as many connections as there may be open files.
fn echo_crowd(arguments: &[String]) -> io::Result<()> {
    let listener = listener(arguments)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, key(&listener)))?;
    let mut streams: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = vec![EpollEvent::empty(); 256];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            if event.data() == key(&listener) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key(&stream)))?;
                    streams.insert(key(&stream), stream);
                }
            } else if !streams.get(&event.data()).is_some_and(echo_once) {
                streams.remove(&event.data());
            }
        }
    }
}

/// False when the connection is over. What is echoed is far smaller than a socket's buffer.
fn echo_once(mut stream: &TcpStream) -> bool {
    let mut message = [0; 4096];
    match stream.read(&mut message) {
        Ok(0) => false,
        Ok(count) => stream.write_all(&message[..count]).is_ok(),
        Err(error) => bytes::is_timeout(&error),
    }
}

/// What an event of this descriptor is known by.
fn key(fd: &impl AsRawFd) -> u64 {
    u64::try_from(fd.as_raw_fd()).expect("open descriptors are not negative")
}
