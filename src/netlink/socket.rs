//! Talks rtnetlink: asks the kernel and takes its answer; hears what it announces.
//!
//! In:    requests; the kernel's datagrams
//! Out:   decoded messages
//! Owns:  one socket for requests, one for announcements
//! Never: knows what a message means
//! Read:  `man 7 netlink`, `man 7 rtnetlink`; Linux `Documentation/userspace-api/netlink/intro.rst`

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

/// The request socket: one request at a time, answered before the call returns.
///
/// rtnetlink does its work inside `sendmsg` and fills the next part of a dump inside `recvmsg`, so the answer is
/// always there already. The socket does not block all the same: a missing answer is an error, not a hang.
pub(super) struct Requests {
    socket: Socket,
    sequence: u32,
    undecoded: u64,
}

#[derive(PartialEq)]
enum Dump {
    Consistent,
    Interrupted,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind_auto()?;
        Ok(Requests { socket, sequence: 0, undecoded: 0 })
    }

    /// All objects of one kind that `parse` makes something of.
    ///
    /// The kernel marks a dump during which its table changed: entries may be missing or doubled. It is asked again
    /// then, but not for ever: such a change is announced too, and an announcement leads to another dump.
    pub(super) fn dump<T>(
        &mut self,
        request: &RouteNetlinkMessage,
        parse: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut objects = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            objects.clear();
            let sequence = self.send(request.clone(), NLM_F_DUMP)?;
            let take = |object: &_| objects.extend(parse(object));
            if self.receive_dump(sequence, take)? == Dump::Consistent {
                break;
            }
        }
        Ok(objects)
    }

    fn receive_dump(
        &mut self,
        sequence: u32,
        mut take: impl FnMut(&RouteNetlinkMessage),
    ) -> io::Result<Dump> {
        let mut dump = Dump::Consistent;
        loop {
            let datagram = receive(&self.socket)?;
            for message in split(&datagram).filter(|message| message.sequence == sequence) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    dump = Dump::Interrupted;
                }
                match message.decode() {
                    Some(NetlinkPayload::InnerMessage(object)) => take(&object),
                    Some(NetlinkPayload::Done(done)) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    Some(NetlinkPayload::Done(_)) => return Ok(dump),
                    Some(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    None => self.undecoded += 1,
                    Some(_) => {}
                }
            }
        }
    }

    /// Objects in dumps that the decoder did not understand.
    pub(super) fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// Has something done, with `flags` beside the request's own.
    pub(super) fn command(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(request, NLM_F_ACK | flags)?;
        loop {
            let datagram = receive(&self.socket)?;
            for message in split(&datagram).filter(|message| message.sequence == sequence) {
                if let Some(NetlinkPayload::Error(outcome)) = message.decode() {
                    // An acknowledgement is an error message without an error.
                    return outcome.code.map_or(Ok(()), |_| Err(outcome.to_io()));
                }
            }
        }
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(KERNEL, 0), 0)?;
        Ok(self.sequence)
    }
}

/// The announcement socket.
pub(super) struct Announcements {
    socket: Socket,
}

/// What one read of the announcement socket gives.
pub(super) enum Announced {
    /// Messages, for [`split`].
    Datagram(Vec<u8>),
    /// The kernel had to drop some: only a dump tells what is now.
    Lost,
    /// Nothing more for now.
    Empty,
}

impl Announcements {
    pub(super) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(RECEIVE_BYTES)?;
        socket.bind_auto()?;
        for &group in groups {
            socket.add_membership(group)?;
        }
        Ok(Announcements { socket })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn read(&self) -> io::Result<Announced> {
        match receive(&self.socket) {
            Ok(datagram) => Ok(Announced::Datagram(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Announced::Empty),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                Ok(Announced::Lost)
            }
            Err(error) => Err(error),
        }
    }
}

/// One message of a datagram, not decoded yet.
pub(super) struct Message<'a> {
    /// `RTM_NEWLINK` and so on.
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'a [u8],
}

impl Message<'_> {
    /// `None` when the decoder does not understand it.
    pub(super) fn decode(&self) -> Option<NetlinkPayload<RouteNetlinkMessage>> {
        NetlinkMessage::deserialize(self.bytes).ok().map(|message| message.payload)
    }
}

/// The messages of a datagram; what is left after one with an impossible length is dropped.
pub(super) fn split(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = header.length() as usize;
        let message = Message {
            kind: header.message_type(),
            flags: header.flags(),
            sequence: header.sequence_number(),
            bytes: &datagram[..length],
        };
        // The last one need not be padded.
        datagram = &datagram[length.next_multiple_of(ALIGN_BYTES).min(datagram.len())..];
        Some(message)
    })
}

/// One datagram of the kernel; empty when it was somebody else's.
fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let (datagram, sender) = socket.recv_from_full()?;
    let from_kernel = sender.port_number() == KERNEL;
    Ok(if from_kernel { datagram } else { Vec::new() })
}

/// The kernel's netlink port.
const KERNEL: u32 = 0;

/// `NLMSG_ALIGNTO`.
const ALIGN_BYTES: usize = 4;

/// A table that changes during each of so many dumps in a row is read as it comes.
const DUMP_ATTEMPTS: usize = 4;

/// Room for announcements between two turns of the control thread. The kernel cuts it to net.core.rmem_max; running
/// out costs a dump, not correctness.
const RECEIVE_BYTES: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kinds: &[u16], body_bytes: usize) -> Vec<u8> {
        let mut datagram = Vec::new();
        for &kind in kinds {
            let length = 16 + body_bytes;
            datagram.extend((length as u32).to_ne_bytes());
            datagram.extend(kind.to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.resize(datagram.len() + body_bytes.next_multiple_of(4), 0xaa);
        }
        datagram
    }

    fn kinds(datagram: &[u8]) -> Vec<u16> {
        split(datagram).map(|message| message.kind).collect()
    }

    #[test]
    fn split_steps_over_padding() {
        assert_eq!(kinds(&datagram(&[16, 24, 28], 5)), [16, 24, 28]);
        assert_eq!(kinds(&datagram(&[16, 24, 28], 0)), [16, 24, 28]);
        let mut unpadded = datagram(&[16, 24], 5);
        unpadded.truncate(unpadded.len() - 3);
        assert_eq!(kinds(&unpadded), [16, 24]);
    }

    #[test]
    fn split_ends_at_an_impossible_length() {
        assert_eq!(kinds(&[]), Vec::<u16>::new());
        let whole = datagram(&[16, 24], 8);
        for end in 0..whole.len() {
            assert!(kinds(&whole[..end]).len() < 2, "{end}");
        }
        // A length below the header's own, 0 among them, must not loop.
        for length in 0..16_u32 {
            let mut short = whole.clone();
            short[24..28].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(kinds(&short), [16], "{length}");
        }
    }

    #[test]
    fn nonsense_does_not_decode() {
        let bytes = datagram(&[24], 3);
        assert!(split(&bytes).next().unwrap().decode().is_none());
    }
}
