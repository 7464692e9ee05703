//! The sockets and files that lines leave by.
//!
//! In:    a target and a line
//! Out:   a datagram, or bytes of a file
//! Owns:  one socket for each family, opened when it is first needed
//! Never: waits for a datagram to be taken

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use super::ring::Rings;
use crate::config::model::{LogAddress, LogTarget, Sampling};

/// Where lines leave.
pub(super) struct Sinks {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    unix: Option<UnixDatagram>,
    files: HashMap<i32, File>,
    rings: Rings,
    /// The number of the last line of targets with a sample, by the place of their `log` line.
    sampled: HashMap<((Arc<str>, u32), LogAddress), u32>,
}

impl Sinks {
    pub fn new<'a>(targets: impl Iterator<Item = &'a LogTarget>, rings: Rings) -> Self {
        let mut sinks = Sinks {
            v4: None,
            v6: None,
            unix: None,
            files: HashMap::new(),
            rings,
            sampled: HashMap::new(),
        };
        sinks.open_files(targets);
        sinks
    }

    /// For these targets too; with other rings, if they are given.
    pub fn adopt<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a LogTarget>,
        rings: Option<Rings>,
    ) {
        self.open_files(targets);
        if let Some(rings) = rings {
            self.rings = rings;
        }
    }

    /// By their names in the system: no file of ours is closed when these are.
    fn open_files<'a>(&mut self, targets: impl Iterator<Item = &'a LogTarget>) {
        for target in targets {
            let LogAddress::Fd(number) = target.address else { continue };
            let open = || OpenOptions::new().append(true).open(format!("/proc/self/fd/{number}"));
            if !self.files.contains_key(&number)
                && let Ok(file) = open()
            {
                self.files.insert(number, file);
            }
        }
    }

    /// Counts a line of a target; whether it is one of those that are sent.
    pub fn is_sampled(&mut self, target: &LogTarget) -> bool {
        let Some(Sampling { ranges, size }) = &target.sample else { return true };
        let key = (target.at.key(), target.address.clone());
        let number = self.sampled.entry(key).or_default();
        *number = *number % size + 1;
        ranges.iter().any(|range| range.contains(number))
    }

    /// Sends a line.
    pub fn send(&mut self, target: &LogTarget, line: &[u8]) -> io::Result<()> {
        match &target.address {
            LogAddress::Udp(to) => {
                let socket = match to {
                    SocketAddr::V4(_) => udp(&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into())?,
                    SocketAddr::V6(_) => udp(&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into())?,
                };
                socket.send_to(line, to).map(drop)
            }
            LogAddress::Unix(path) => {
                if self.unix.is_none() {
                    let socket = UnixDatagram::unbound()?;
                    socket.set_nonblocking(true)?;
                    self.unix = Some(socket);
                }
                let socket = self.unix.as_ref().expect("it was just opened");
                socket.send_to(line, path).map(drop)
            }
            LogAddress::Ring(name) => match self.rings.get(name) {
                Some(ring) => ring.push(line.strip_suffix(b"\n").unwrap_or(line)),
                None => Err(io::Error::from(io::ErrorKind::NotFound)),
            },
            LogAddress::Fd(1) => io::stdout().write_all(line),
            LogAddress::Fd(2) => io::stderr().write_all(line),
            LogAddress::Fd(number) => match self.files.get_mut(number) {
                Some(file) => file.write_all(line),
                None => Err(io::Error::from(io::ErrorKind::NotFound)),
            },
        }
    }
}

fn udp(socket: &mut Option<UdpSocket>, any: SocketAddr) -> io::Result<&UdpSocket> {
    if socket.is_none() {
        let opened = UdpSocket::bind(any)?;
        opened.set_nonblocking(true)?;
        *socket = Some(opened);
    }
    Ok(socket.as_ref().expect("it was just opened"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Rings {
        Rings::start(&[]).unwrap()
    }

    fn target(address: LogAddress, sample: Option<Sampling>) -> LogTarget {
        LogTarget {
            at: crate::config::model::Location { file: "x".into(), line: 1 },
            address,
            max_len: 1024,
            format: None,
            facility: 0,
            level: 7,
            min_level: 0,
            sample,
        }
    }

    #[test]
    fn a_sample_is_some_of_each_so_many() {
        let sampling = Sampling { ranges: [1..=1, 3..=4].into(), size: 5 };
        let target = target(LogAddress::Fd(1), Some(sampling));
        let mut sinks = Sinks::new(std::iter::empty(), none());
        let sent: Vec<bool> = (0..7).map(|_| sinks.is_sampled(&target)).collect();
        assert_eq!(sent, [true, false, true, true, false, true, false]);
    }

    #[test]
    fn datagrams_arrive() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = target(LogAddress::Udp(receiver.local_addr().unwrap()), None);
        Sinks::new(std::iter::empty(), none()).send(&target, b"hello\n").unwrap();
        let mut bytes = [0; 16];
        let len = receiver.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"hello\n");
    }
}
