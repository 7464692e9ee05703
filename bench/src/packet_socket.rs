//! Whole Ethernet frames from and to an interface of the kernel.
//!
//! In:    frames that arrive at the interface, with the VLAN tag that the kernel took out put back in
//! Out:   frames as they are
//! Owns:  one packet socket, bound to one interface, not blocking
//! Never: reads what the kernel or this process sends out of the same interface
//! Read:  packet(7), PACKET_AUXDATA

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, RcvBufForce, SetBool};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    getsockopt, recvmsg, send, setsockopt, socket,
};

/// The addresses of an Ethernet header; a VLAN tag goes behind them.
const ADDRESSES: usize = 12;
/// Identifier and control information of a tag.
const TAG_LEN: usize = 4;
/// No device of a lab carries more in one frame.
const FRAME_MAX: usize = 65536 + 18;
/// A burst of a Gbit/s while the reader waits 100 ms for its core; the kernel's default holds some 90 frames.
const RECEIVE_BUFFER: usize = 64 << 20;
/// An 802.1Q tag, where the kernel does not say which kind it took out.
const TPID_DEFAULT: u16 = 0x8100;

/// One interface, frame by frame.
pub struct PacketSocket {
    fd: OwnedFd,
    ifindex: usize,
    buffer: Vec<u8>,
    cmsg: Vec<u8>,
}

impl PacketSocket {
    /// Opens `interface` of the current network namespace.
    pub fn open(interface: &str) -> io::Result<Self> {
        let address = link_address(interface)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        // The address has no protocol in it: the kernel keeps the socket's, which is all of them.
        bind(fd.as_raw_fd(), &address)?;
        setsockopt(&fd, PacketAuxdata, &true)?;
        setsockopt(&fd, PacketIgnoreOutgoing, &true)?;
        setsockopt(&fd, RcvBufForce, &RECEIVE_BUFFER)?;
        Ok(Self {
            fd,
            ifindex: address.ifindex(),
            buffer: vec![0; TAG_LEN + FRAME_MAX],
            cmsg: nix::cmsg_space!([u8; 64]),
        })
    }

    /// The next frame, or nothing where none waits.
    pub fn recv(&mut self) -> io::Result<Option<&mut [u8]>> {
        let (len, tag) = loop {
            match self.recv_untagged() {
                Ok(Some(received)) => break received,
                // A frame of another interface, from between the making of the socket and its binding.
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let Some(Tag { tpid, tci }) = tag else {
            return Ok(Some(&mut self.buffer[TAG_LEN..TAG_LEN + len]));
        };
        self.buffer.copy_within(TAG_LEN..TAG_LEN + ADDRESSES, 0);
        self.buffer[ADDRESSES..ADDRESSES + 2].copy_from_slice(&tpid.to_be_bytes());
        self.buffer[ADDRESSES + 2..ADDRESSES + 4].copy_from_slice(&tci.to_be_bytes());
        Ok(Some(&mut self.buffer[..TAG_LEN + len]))
    }

    /// Sends one frame; false where the interface has no room for it.
    pub fn send(&self, frame: &[u8]) -> io::Result<bool> {
        loop {
            match send(self.fd.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Frames that the kernel dropped since the last call, because they were not read in time.
    pub fn take_overruns(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.fd, PacketStatistics)?.tp_drops)
    }

    /// Leaves `TAG_LEN` bytes free in front of the frame.
    fn recv_untagged(&mut self) -> nix::Result<Option<(usize, Option<Tag>)>> {
        let mut iov = [IoSliceMut::new(&mut self.buffer[TAG_LEN..])];
        let cmsg = Some(self.cmsg.as_mut_slice());
        let message =
            recvmsg::<LinkAddr>(self.fd.as_raw_fd(), &mut iov, cmsg, MsgFlags::MSG_DONTWAIT)?;
        if message.address.is_some_and(|from| from.ifindex() != self.ifindex) {
            return Ok(None);
        }
        let tag = message.cmsgs()?.find_map(|cmsg| match cmsg {
            ControlMessageOwned::Unknown(unknown) => vlan_tag(&unknown.data_bytes),
            _ => None,
        });
        Ok(Some((message.bytes, tag)))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address.and_then(|address| address.as_link_addr().copied()))
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no interface '{interface}'"))
        })
}

/// A VLAN tag: protocol identifier and control information.
#[derive(Debug, PartialEq)]
struct Tag {
    tpid: u16,
    tci: u16,
}

/// From a `struct tpacket_auxdata`.
fn vlan_tag(auxdata: &[u8]) -> Option<Tag> {
    let status = u32::from_ne_bytes(auxdata.get(..4)?.try_into().ok()?);
    let half = |at: usize| Some(u16::from_ne_bytes(auxdata.get(at..at + 2)?.try_into().ok()?));
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { half(18)? } else { TPID_DEFAULT };
    Some(Tag { tpid, tci: half(16)? })
}

#[derive(Clone, Copy)]
struct PacketAuxdata;
nix::setsockopt_impl!(PacketAuxdata, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, SetBool);

#[derive(Clone, Copy)]
struct PacketIgnoreOutgoing;
nix::setsockopt_impl!(
    PacketIgnoreOutgoing,
    libc::SOL_PACKET,
    libc::PACKET_IGNORE_OUTGOING,
    bool,
    SetBool
);

#[derive(Clone, Copy)]
struct PacketStatistics;
nix::getsockopt_impl!(
    PacketStatistics,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats,
    GetStruct<libc::tpacket_stats>
);

#[cfg(test)]
mod tests {
    use super::*;

    fn auxdata(status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut bytes = status.to_ne_bytes().to_vec();
        bytes.extend([0; 12]);
        bytes.extend(tci.to_ne_bytes());
        bytes.extend(tpid.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_tag_is_read_from_auxdata() {
        let both = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(vlan_tag(&auxdata(both, 100, 0x88a8)), Some(Tag { tpid: 0x88a8, tci: 100 }));
        assert_eq!(
            vlan_tag(&auxdata(libc::TP_STATUS_VLAN_VALID, 0x6064, 0)),
            Some(Tag { tpid: TPID_DEFAULT, tci: 0x6064 })
        );
    }

    #[test]
    fn an_untagged_frame_has_no_tag() {
        assert_eq!(vlan_tag(&auxdata(libc::TP_STATUS_VLAN_TPID_VALID, 100, 0x8100)), None);
        assert_eq!(vlan_tag(&[]), None);
    }
}
