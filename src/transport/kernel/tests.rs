//! The transport against sockets of the standard library.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use super::*;
use crate::clock::Clock;
use crate::config::model::{Bind, Carrier, Families, Level, Location, SocketRights, UnixAddress};
use crate::transport::Failure;

const MIB: usize = 1024 * 1024;
const NOW: Instant = Instant::from_micros(0);

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("xlb-kernel-{}-{name}", std::process::id()))
}

fn bind(path: &std::path::Path) -> Bind {
    Bind {
        at: Location { file: "x".into(), line: 1 },
        address: None,
        families: Families::V4,
        port: 0,
        maxconn: 10,
        backlog: None,
        name: None,
        id: 1,
        interface: None,
        nice: 0,
        carrier: Carrier::Unix(UnixAddress::Path(path.to_owned())),
        level: Level::default(),
        rights: SocketRights { mode: Some(0o600), ..SocketRights::default() },
        accept_proxy: false,
        defer_accept: false,
        mss: None,
        user_timeout: None,
    }
}

/// Takes turns until something holds.
fn until(transport: &mut KernelTransport, mut holds: impl FnMut(&mut KernelTransport) -> bool) {
    let clock = Clock::start();
    loop {
        transport.poll(NOW);
        while transport.poll_event().is_some() {}
        if holds(transport) {
            return;
        }
        assert!(clock.now().micros() < 20_000_000, "not within 20 s");
        thread::yield_now();
    }
}

/// A transport with a listener on a path, and a connection that a client made to it.
fn accepted(name: &str) -> (KernelTransport, KernelConn, UnixStream, usize) {
    let path = path(name);
    let socket = Arc::new(KernelListener::open(&bind(&path), false).unwrap());
    let mut transport = KernelTransport::new(vec![Some(socket)]).unwrap();
    let at = ListenAt { place: Place::Kernel(0), backlog: 10, mss: None };
    let listener = transport.listen(&at, Token(1)).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    until(&mut transport, |transport| transport.has_waiting(listener));
    let conn = transport.accept(listener, Token(2)).unwrap();
    (transport, conn, client, listener)
}

fn to(remote: Remote) -> ConnectTo {
    ConnectTo { remote, source: super::super::Source::default(), options: ConnOptions::default() }
}

#[test]
fn bytes_go_both_ways_however_slowly_they_are_taken() {
    let (mut transport, front, mut client, listener) = accepted("bytes");
    let server_path = path("bytes-server");
    let _ = std::fs::remove_file(&server_path);
    let server = UnixListener::bind(&server_path).unwrap();
    let there = Remote::Unix(UnixAddress::Path(server_path.clone()));
    let back = transport.connect(&to(there), Token(2), NOW).unwrap();
    let (mut served, _) = server.accept().unwrap();
    let sent: Vec<u8> = (0..8 * MIB).map(|at| (at * 7 / 3) as u8).collect();
    let expected = sent.clone();
    let echo = thread::spawn(move || {
        let mut all = Vec::new();
        served.read_to_end(&mut all).unwrap();
        served.write_all(&all).unwrap();
    });
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let (mut is_shut, mut is_over) = (false, false);
    until(&mut transport, |transport| {
        transport.forward(front, back, MIB, NOW);
        if transport.status(front).unwrap().eof && !is_shut {
            transport.shut(back, NOW);
            is_shut = true;
        }
        transport.forward(back, front, MIB, NOW);
        if transport.status(back).unwrap().eof && !is_over {
            transport.shut(front, NOW);
            is_over = true;
        }
        is_shut && is_over
    });
    transport.close(front, NOW);
    transport.close(back, NOW);
    writing.join().unwrap();
    echo.join().unwrap();
    assert!(reading.join().unwrap() == expected, "bytes were lost or mixed up");
    assert_eq!(transport.connections_len(), 0);
    transport.unlisten(listener, NOW);
    drop(transport);
    assert!(!path("bytes").exists(), "the path goes with its socket");
    std::fs::remove_file(server_path).unwrap();
}

#[test]
fn nothing_is_held_of_an_idle_connection_and_bytes_can_be_looked_at() {
    let (mut transport, conn, mut client, _) = accepted("peek");
    client.write_all(b"hello").unwrap();
    until(&mut transport, |transport| transport.status(conn).unwrap().readable == 5);
    let mut bytes = [0; 8];
    assert_eq!(transport.peek(conn, 2, &mut bytes), 3);
    assert_eq!(&bytes[..3], b"llo");
    assert_eq!(transport.recv(conn, &mut bytes, NOW), 5);
    assert_eq!(transport.connections[conn].held(), 0);
    // The peer closes: its end is seen, and with it nothing to read.
    client.shutdown(std::net::Shutdown::Write).unwrap();
    until(&mut transport, |transport| transport.status(conn).unwrap().eof);
    assert!(transport.status(conn).unwrap().fin);
}

#[test]
fn refusals_and_resets_are_told() {
    let mut transport = KernelTransport::new(Vec::new()).unwrap();
    let nobody = Remote::Unix(UnixAddress::Path(path("nobody")));
    assert_eq!(transport.connect(&to(nobody), Token(1), NOW), Err(ConnectError::Refused));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let conn = transport.connect(&to(Remote::Kernel(at)), Token(1), NOW).unwrap();
    until(&mut transport, |transport| transport.status(conn).unwrap().is_open);
    assert_eq!(transport.ends(conn).unwrap().remote, Some(at));
    let (peer, _) = listener.accept().unwrap();
    transport.send(conn, b"unread", NOW);
    drop(peer);
    until(&mut transport, |transport| transport.status(conn).unwrap().failure.is_some());
    assert_eq!(transport.status(conn).unwrap().failure, Some(Failure::Reset));
    drop(listener);
    let conn = transport.connect(&to(Remote::Kernel(at)), Token(1), NOW).unwrap();
    until(&mut transport, |transport| transport.status(conn).unwrap().failure.is_some());
    assert_eq!(transport.status(conn).unwrap().failure, Some(Failure::Refused));
}

#[test]
fn a_connection_comes_from_where_it_is_told_to() {
    let mut transport = KernelTransport::new(Vec::new()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Remote::Kernel(listener.local_addr().unwrap());
    let source = super::super::Source {
        address: Some("127.0.0.9".parse().unwrap()),
        ports: Some(30_100..=30_101),
        ..super::super::Source::default()
    };
    let from = ConnectTo { source, ..to(remote) };
    for _ in 0..2 {
        transport.connect(&from, Token(1), NOW).unwrap();
    }
    let ports: Vec<_> = (0..2).map(|_| listener.accept().unwrap().1).collect();
    assert!(ports.iter().all(|end| end.ip().to_string() == "127.0.0.9"), "{ports:?}");
    assert!(ports.iter().all(|end| (30_100..=30_101).contains(&end.port())), "{ports:?}");
    assert_eq!(transport.connect(&from, Token(1), NOW), Err(ConnectError::NoSourcePort));
}
