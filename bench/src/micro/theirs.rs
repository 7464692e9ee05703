//! One end of a flow on smoltcp's own socket.
//!
//! In:    frames, bytes of the user, the time
//! Out:   frames, bytes for the user
//! Owns:  an interface with a set of one socket
//! Never: polls more often than there is something to take or to send

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::frames::{Ends, Frames};
use super::pair::{Place, Side};

/// Bytes of its buffer in each direction: the more the better for it, up to here.
const BUFFER: usize = 1 << 20;
/// As long as ours.
const ACK_DELAY: Duration = Duration::from_millis(40);

/// One end; with or without RFC 7323 timestamps, which ours always asks for and smoltcp does not unless told.
pub struct Theirs<const TIMESTAMPS: bool> {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
}

fn at(now_us: u64) -> Instant {
    Instant::from_micros(now_us as i64)
}

impl<const TIMESTAMPS: bool> Theirs<TIMESTAMPS> {
    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }
}

impl<const TIMESTAMPS: bool> Side for Theirs<TIMESTAMPS> {
    fn new(place: Place) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(place.mac)));
        config.random_seed = u64::from(place.mac[5]);
        let (mut rx, mut tx) = (Frames::default(), Frames::default());
        let mut ends = Ends { rx: &mut rx, tx: &mut tx };
        let mut interface = Interface::new(config, &mut ends, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(place.ip.into(), 24)).expect("room for an address");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(ACK_DELAY.into()));
        if TIMESTAMPS {
            // The clock of the process: smoltcp hands none to this function, and any value will do.
            socket.set_tsval_generator(Some(|| 1));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Theirs { interface, sockets, socket }
    }

    fn listen(&mut self, port: u16) {
        self.socket().listen(port).expect("a fresh socket");
    }

    fn connect(&mut self, ip: Ipv4Addr, port: u16, _: u64) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        socket.connect(self.interface.context(), (ip, port), 40_000).expect("a fresh socket");
    }

    fn is_open(&self) -> bool {
        self.sockets.get::<tcp::Socket>(self.socket).state() == tcp::State::Established
    }

    #[inline(never)]
    fn ingest(&mut self, rx: &mut Frames, tx: &mut Frames, now_us: u64) {
        let mut count = super::frames::SLOTS - rx.room();
        let mut ends = Ends { rx, tx };
        // One call for each frame: a last one that finds nothing would only be for the books.
        while count > 0 {
            count -= 1;
            let taken =
                self.interface.poll_ingress_single(at(now_us), &mut ends, &mut self.sockets);
            if taken == PollIngressSingleResult::None {
                break;
            }
        }
    }

    #[inline(never)]
    fn emit(&mut self, rx: &mut Frames, tx: &mut Frames, budget: usize, now_us: u64) {
        let mut ends = Ends { rx, tx };
        for _ in 0..budget {
            let sent = self.interface.poll_egress(at(now_us), &mut ends, &mut self.sockets);
            if sent == PollResult::None {
                break;
            }
        }
    }

    #[inline(never)]
    fn write(&mut self, bytes: &[u8], _: u64) -> usize {
        self.socket().send_slice(bytes).expect("an open socket")
    }

    #[inline(never)]
    fn read(&mut self, out: &mut [u8], _: u64) -> usize {
        self.socket().recv_slice(out).expect("an open socket")
    }
}
