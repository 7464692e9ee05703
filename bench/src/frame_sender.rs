//! Many frames out of an interface of the kernel, with as few system calls as it takes.
//!
//! In:    whole Ethernet frames
//! Out:   the same, at the other end of the interface
//! Owns:  one packet socket, which receives nothing
//! Never: drops a frame: it waits until the interface takes it
//! Read:  packet(7), sendmmsg(2)

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use crate::packet_socket::link_address;

/// Sends frames in batches.
pub struct FrameSender {
    fd: OwnedFd,
    headers: MultiHeaders<LinkAddr>,
    batch: usize,
}

impl FrameSender {
    /// Opens `interface` of the current network namespace, for at most `batch` frames at a time.
    pub fn open(interface: &str, batch: usize) -> io::Result<Self> {
        // Without a protocol the kernel hands it no frame.
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), &link_address(interface)?)?;
        Ok(Self { fd, headers: MultiHeaders::preallocate(batch, None), batch })
    }

    /// Sends a batch; returns how many of the frames the interface took. Those that it dropped are among them.
    pub fn send(&mut self, frames: &[impl AsRef<[u8]>]) -> io::Result<usize> {
        assert!(frames.len() <= self.batch, "{} frames in a batch of {}", frames.len(), self.batch);
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame.as_ref())]).collect();
        let nowhere_else = vec![None; frames.len()];
        let flags = MsgFlags::empty();
        let headers = &mut self.headers;
        loop {
            match sendmmsg(self.fd.as_raw_fd(), headers, &slices, &nowhere_else, [], flags) {
                Ok(sent) => return Ok(sent.count()),
                Err(Errno::EINTR) => {}
                // The interface's queue is full.
                Err(Errno::ENOBUFS) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
