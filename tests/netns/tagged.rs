//! A TCP peer that lives in a VLAN: a whole small stack over a packet socket that tags what it sends.
//!
//! In:    tagged frames of one VLAN from the namespace's eth0
//! Out:   tagged frames
//! Owns:  a packet socket, one smoltcp interface, one TCP connection
//! Never: sees an untagged frame, or one of another VLAN

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use xlb_bench::packet_socket::PacketSocket;

use crate::lab::PATIENCE;

/// Locally administered, and of nobody else in the lab.
const MAC: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x99]);
const LOCAL_PORT: u16 = 40_000;
const ADDRESSES: usize = 12;
const TPID: [u8; 2] = [0x81, 0x00];
const VLAN_ID: u16 = 0x0fff;

/// Connects from `from` in the VLAN, sends the request, and gives all that comes until the end of the stream.
pub fn ask(vlan: u16, from: &str, to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut device = Tagged::open(vlan);
    let start = Instant::now();
    let now =
        || Time::from_micros(i64::try_from(start.elapsed().as_micros()).expect("a short test"));
    let mut interface =
        Interface::new(Config::new(HardwareAddress::Ethernet(MAC)), &mut device, now());
    let own: IpAddr = from.parse().expect("the lab's addresses are written well");
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(own.into(), 24)).expect("room for one address");
    });
    let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
    sockets
        .get_mut::<tcp::Socket>(handle)
        .connect(interface.context(), (to.ip(), to.port()), LOCAL_PORT)
        .expect("a new socket can connect");

    let mut answer = Vec::new();
    let mut unsent = Some(request);
    while start.elapsed() < PATIENCE {
        interface.poll(now(), &mut device, &mut sockets);
        let socket = sockets.get_mut::<tcp::Socket>(handle);
        if socket.may_send()
            && let Some(request) = unsent.take()
        {
            let sent = socket.send_slice(request).expect("an open connection sends");
            assert_eq!(sent, request.len(), "a request is small");
        }
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    answer.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .expect("an open connection receives");
        }
        if unsent.is_none() && !socket.may_recv() {
            socket.close();
            if !socket.is_active() || socket.state() == tcp::State::TimeWait {
                return answer;
            }
        }
        device.wait();
    }
    let state = sockets.get::<tcp::Socket>(handle).state();
    panic!("no end within {PATIENCE:?}: in {state}, {} bytes of an answer", answer.len());
}

/// A device that adds and takes away the tag.
struct Tagged {
    socket: PacketSocket,
    vlan: u16,
}

impl Tagged {
    fn open(vlan: u16) -> Self {
        Self { socket: PacketSocket::open("eth0").expect("the namespace has an eth0"), vlan }
    }

    /// For a frame or a little while: timers of the stack are looked at in between.
    fn wait(&self) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(5u8)).expect("a packet socket can be polled");
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        while let Some(frame) = self.socket.recv().expect("a packet socket receives") {
            let [head @ .., hi, lo] = &frame[..ADDRESSES + 4] else { continue };
            if head[ADDRESSES..] == TPID && u16::from_be_bytes([*hi, *lo]) & VLAN_ID == self.vlan {
                return Some([&frame[..ADDRESSES], &frame[ADDRESSES + 4..]].concat());
            }
        }
        None
    }
}

impl Device for Tagged {
    type RxToken<'a> = Received;
    type TxToken<'a> = Tag<'a>;

    fn receive(&mut self, _: Time) -> Option<(Received, Tag<'_>)> {
        let frame = self.next_frame()?;
        Some((Received(frame), Tag(self)))
    }

    fn transmit(&mut self, _: Time) -> Option<Tag<'_>> {
        Some(Tag(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Tag<'a>(&'a Tagged);

impl phy::TxToken for Tag<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        let (addresses, rest) = frame.split_at(ADDRESSES);
        let tagged = [addresses, &TPID, &self.0.vlan.to_be_bytes(), rest].concat();
        // A full queue is a loss like any other: the stack sends again.
        let _ = self.0.socket.send(&tagged).expect("a packet socket sends");
        result
    }
}
