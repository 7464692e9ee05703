//! A program of segments, commands and losses against two connections in any state.
//!
//! In:    bytes, read as [`program::Program`]
//! Out:   a panic if the stack breaks, delivers what was not sent, or holds something at the end
//! Owns:  the stack, its user, and what the peer knows of both connections ([`peer::Peer`])
//! Never: expects anything of a peer that need not be honest
//!
//! Every byte that the peer sends, in whatever order and however often, is a function of its sequence number,
//! and every byte of the user one of its place. So whatever is delivered, and whatever goes out, can be checked.

mod peer;
pub(crate) mod program;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netstack::fib::{Fib, LinkId, WireId};
use netstack::{Arrival, ConnId, Keepalive, ListenerId, RestoreError};
use peer::Peer;
use program::{Action, Opening, Program, Setting, Side};
use smoltcp::wire::IpProtocol;

use crate::common::lab::Lab;
use crate::common::{OWN, PEER, PEER_MAC, Tcp, fib, ip_frame, link, see};
use crate::{assert_nothing_stays, speak};

/// Frames of the stack that a router may still speak of.
const OVERHEARD_MAX: usize = 16;

/// Ports of the two connections: the peer's are these, the stack's 80 or one of `STACK_PORTS`.
const PEER_PORTS: [u16; 2] = [4000, 4001];
const STACK_PORTS: [u16; 2] = [20_000, 20_001];

/// The longest silence: beyond the 24 days after which timestamps mean nothing (RFC 7323, section 5.5).
const IDLE_HOURS_MAX: u16 = 1000;

/// Timers of one wait; beyond, they are late. A neighbour that is not there is asked for every second.
const WAIT_TIMERS_MAX: usize = 1000;

/// Runs what `data` says.
pub fn run(data: &[u8]) {
    if let Some(program) = Program::parse(data) {
        let mut run = Run::new(&program.setting);
        for action in &program.actions {
            run.act(action);
        }
        run.end();
    }
}

/// What `data` says, to be read.
pub fn describe(data: &[u8]) -> String {
    let Some(program) = Program::parse(data) else { return "no program".to_owned() };
    let lines: Vec<String> =
        program.actions.iter().map(|action| format!("  {action:?}\n")).collect();
    format!("{:?}\n{}", program.setting, lines.concat())
}

/// A connection of the stack, from both ends.
struct Ends {
    user: User,
    peer: Peer,
}

/// What the user of a connection knows.
#[derive(Default)]
struct User {
    id: Option<ConnId>,
    /// Bytes that were read.
    read: u32,
    /// Bytes that were written, or moved from the other connection.
    written: Vec<u8>,
    shut: bool,
}

/// A run: the stack, and both ends of its two connections.
pub(crate) struct Run {
    lab: Lab,
    listeners: [ListenerId; 2],
    ends: [Ends; 2],
    overheard: Vec<Vec<u8>>,
    /// Frames that the peer will not hear.
    deaf: u8,
    has_route: bool,
    family: usize,
}

impl Run {
    pub(crate) fn new(setting: &Setting) -> Run {
        let mut lab = Lab::with(link(), |config| {
            config.buffers = [4, 40, 4096][setting.buffers as usize];
            config.tcp.receive_buffer_initial = [2000, 16_384, 65_536][setting.window as usize];
            config.source_ports = STACK_PORTS[0]..=STACK_PORTS[1];
            config.time_wait_max = 1 + setting.buffers as usize;
        });
        let family = usize::from(setting.ipv6);
        let listen = |ipv6| netstack::Listen {
            address: None,
            ipv6,
            port: 80,
            wire: None,
            backlog: 4,
            user: 7,
        };
        let listeners = [false, true].map(|ipv6| lab.stack.listen(listen(ipv6)).expect("a port"));
        let addresses = [PEER[family], OWN[family]];
        let ends = [0, 1].map(|side| Ends {
            user: User::default(),
            peer: Peer::new(addresses, [PEER_PORTS[side], 80], setting),
        });
        let (overheard, deaf) = (Vec::new(), 0);
        let mut run = Run { lab, listeners, ends, overheard, deaf, has_route: true, family };
        run.open(Side::Second, Opening::Passive);
        run.open(Side::First, setting.opening);
        run
    }

    fn open(&mut self, side: Side, opening: Opening) {
        if matches!(opening, Opening::SynSent | Opening::Simultaneous | Opening::Active) {
            self.connect(side);
        }
        if !matches!(opening, Opening::SynSent) {
            self.say(side, |peer| peer.syn(matches!(opening, Opening::Active)));
        }
        if matches!(opening, Opening::Passive | Opening::Active) {
            self.say(side, |peer| peer.ack(0, None, u16::MAX));
        }
    }

    pub(crate) fn act(&mut self, action: &Action) {
        match *action {
            Action::Segment(side, plan) => self.say(side, |peer| peer.segment(&plan)),
            Action::Data { side, len, hole } => self.say(side, |peer| peer.data(len, hole)),
            Action::Repeat { side, len } => self.say(side, |peer| peer.repeat(len)),
            Action::Ack { side, behind, block, window } => {
                self.say(side, |peer| peer.ack(behind, block, window));
            }
            Action::Fin { side } => self.say(side, Peer::fin),
            Action::Reset { side } => self.say(side, |peer| peer.reset()),
            Action::Send { side, len } => self.send(side, len),
            Action::Recv { side, len } => self.recv(side, usize::from(len)),
            Action::Forward { from, max } => self.forward(from, usize::from(max)),
            Action::Shut { side } => {
                if let Some(id) = self.ends[side as usize].user.id {
                    self.ends[side as usize].user.shut = true;
                    self.lab.stack.shut(id, self.lab.now);
                }
            }
            Action::Close { side } => self.close(side),
            Action::Abort { side } => {
                if let Some(id) = self.ends[side as usize].user.id.take() {
                    self.lab.stack.abort(id, self.lab.now);
                }
            }
            Action::Connect { side } => self.connect(side),
            Action::Wait { bits } => self.wait(Duration::from_micros(1 << (bits % 32))),
            Action::Timer => {
                if let Some(at) = self.lab.stack.poll_at() {
                    self.lab.now = self.lab.now.max(at);
                    self.lab.stack.handle_timers(self.lab.now);
                }
            }
            Action::Deaf { frames } => self.deaf = frames,
            Action::Icmp { back, code, mtu } => self.icmp(usize::from(back), code, mtu),
            Action::Route { exists } => {
                let fib = if exists { fib(link()) } else { no_route() };
                self.lab.stack.set_fib(Arc::new(fib), self.lab.now);
                self.has_route = exists;
            }
            Action::Dsack { side, behind, len, block } => {
                self.say(side, |peer| peer.dsack(behind, len, block));
            }
            Action::Keepalive { side, seconds } => self.set_keepalive(side, seconds),
            Action::UserTimeout { side, bits } => {
                if let Some(id) = self.ends[side as usize].user.id {
                    let timeout = (bits > 0).then(|| Duration::from_micros(1 << (bits % 40)));
                    self.lab.stack.set_user_timeout(id, timeout);
                }
            }
            Action::Idle { hours } => {
                self.wait(Duration::from_secs(u64::from(hours % IDLE_HOURS_MAX) * 3600));
            }
            Action::Move { side } => {
                let moved = self.move_connection(side, |_| {});
                assert!(
                    matches!(moved, None | Some(Ok(()))),
                    "what was taken is refused: {moved:?}"
                );
            }
        }
        self.listen_to_it();
    }

    /// The peer says something.
    fn say(&mut self, side: Side, make: impl FnOnce(&mut Peer) -> Tcp) {
        let peer = &mut self.ends[side as usize].peer;
        let tcp = make(peer);
        // Where a stream begins is known from the stack's first acknowledgment, which takes a route.
        if !self.has_route && !peer.is_acknowledged() {
            return;
        }
        peer.note_said(&tcp);
        let frame = tcp.frame();
        self.lab.stack.handle_frame(WireId(0), &frame, Arrival::Wire, self.lab.now);
        self.listen_to_it();
    }

    /// What the stack says, and what has become of its connections.
    fn listen_to_it(&mut self) {
        for frame in speak(&mut self.lab) {
            self.hear(&frame);
            self.overheard.push(frame);
        }
        if self.overheard.len() > OVERHEARD_MAX {
            self.overheard.drain(..self.overheard.len() - OVERHEARD_MAX);
        }
        while self.lab.stack.poll_event().is_some() {}
        for listener in self.listeners {
            while let Some(id) = self.lab.stack.accept(listener, 1) {
                self.accept(id);
            }
        }
    }

    fn accept(&mut self, id: ConnId) {
        let remote = self.lab.stack.tuple(id).expect("it was just accepted").remote;
        let known = self.ends.iter_mut().find(|ends| ends.peer.ports[0] == remote.port);
        let ends = known.expect("nobody else connects");
        // A connection that ended without its user's leave may still be known to it.
        if let Some(old) = ends.user.id.replace(id) {
            self.lab.stack.close(old, self.lab.now);
        }
        ends.user = User { id: Some(id), ..User::default() };
    }

    fn connect(&mut self, side: Side) {
        self.close(side);
        let Ends { user, peer } = &mut self.ends[side as usize];
        let remote = SocketAddr::new(PEER[self.family], peer.ports[0]);
        let Ok(id) = self.lab.stack.connect(remote, None, 2, self.lab.now) else { return };
        let local = self.lab.stack.tuple(id).expect("it was just begun").local;
        *user = User { id: Some(id), ..User::default() };
        peer.begin(local.port);
        self.listen_to_it();
    }

    fn hear(&mut self, frame: &[u8]) {
        let Some(seen) = see(frame) else { return };
        let tcp = 14 + [20, 40][self.family];
        let port = |at: usize| u16::from_be_bytes([frame[tcp + at], frame[tcp + at + 1]]);
        let ports = [port(2), port(0)];
        let Some(ends) = self.ends.iter_mut().find(|ends| ends.peer.ports == ports) else { return };
        let payload = &frame[frame.len() - seen.len..];
        let heard = self.deaf == 0;
        self.deaf = self.deaf.saturating_sub(1);
        ends.peer.note_heard(&seen, heard);
        if !ends.peer.is_checked {
            return;
        }
        if let Some(offset) = ends.peer.offset_of(&seen) {
            let User { written, shut, .. } = &ends.user;
            let meant = written.get(offset..offset + payload.len());
            assert_eq!(Some(payload), meant, "at {offset} of {}: {seen:?}", written.len());
            if seen.flags.contains('F') {
                assert!(*shut && offset + payload.len() == written.len(), "{seen:?}");
            }
        }
    }

    fn send(&mut self, side: Side, len: u16) {
        let User { id: Some(id), written, .. } = &mut self.ends[side as usize].user else { return };
        let begin = written.len();
        written.extend((begin..begin + usize::from(len)).map(user_byte));
        let taken = self.lab.stack.send(*id, &written[begin..], self.lab.now);
        written.truncate(begin + taken);
    }

    fn recv(&mut self, side: Side, len: usize) {
        let Ends { user, peer } = &mut self.ends[side as usize];
        let Some(id) = user.id else { return };
        let mut out = vec![0; len];
        let count = self.lab.stack.recv(id, &mut out, self.lab.now);
        if peer.is_checked {
            assert_eq!(out[..count], peer.bytes(user.read, count), "from {} on", user.read);
        }
        user.read += count as u32;
    }

    fn forward(&mut self, from: Side, max: usize) {
        let [first, second] = &mut self.ends;
        let (source, sink) = if from == Side::First { (first, second) } else { (second, first) };
        let (Some(from), Some(to)) = (source.user.id, sink.user.id) else { return };
        let count = self.lab.stack.forward(from, to, max, self.lab.now);
        sink.peer.is_checked &= source.peer.is_checked || count == 0;
        sink.user.written.extend(source.peer.bytes(source.user.read, count));
        source.user.read += count as u32;
    }

    fn close(&mut self, side: Side) {
        let user = &mut self.ends[side as usize].user;
        if let Some(id) = user.id.take() {
            user.shut = true;
            self.lab.stack.close(id, self.lab.now);
            self.listen_to_it();
        }
    }

    fn set_keepalive(&mut self, side: Side, seconds: Option<(u16, u8, u8)>) {
        let Some(id) = self.ends[side as usize].user.id else { return };
        let keepalive = seconds.map(|(idle, interval, count)| Keepalive {
            idle: Duration::from_secs(idle.into()),
            interval: Duration::from_secs(interval.into()),
            count,
        });
        self.lab.stack.set_keepalive(id, keepalive);
    }

    /// A connection goes on from its snapshot, after `change`; one that its user has left as well. `None`
    /// when there is none, or it is closed.
    pub(crate) fn move_connection(
        &mut self,
        side: Side,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Result<(), RestoreError>> {
        let Lab { stack, now } = &mut self.lab;
        let Ends { user, peer } = &mut self.ends[side as usize];
        let ports =
            |id: &ConnId| stack.tuple(*id).map(|tuple| [tuple.remote.port, tuple.local.port]);
        let orphan = || stack.connection_ids().find(|id| ports(id) == Some(peer.ports));
        let id = user.id.or_else(orphan)?;
        let taken = stack.snapshot(id, *now)?;
        let mut bytes = taken.clone();
        change(&mut bytes);
        stack.abandon(id, *now);
        let is_whole = bytes == taken;
        peer.is_checked &= is_whole;
        let restored = stack.restore(&bytes, 2, *now);
        stack.assert_invariants();
        // Whom a change gave a user again has one.
        if user.id.is_some() || !is_whole {
            user.id = restored.ok();
        }
        Some(restored.map(drop))
    }

    fn wait(&mut self, time: Duration) {
        let end = self.lab.now + time;
        for _ in 0..WAIT_TIMERS_MAX {
            let Some(at) = self.lab.stack.poll_at().filter(|&at| at <= end) else { break };
            self.lab.now = self.lab.now.max(at);
            self.lab.stack.handle_timers(self.lab.now);
            self.listen_to_it();
        }
        self.lab.now = end;
    }

    fn icmp(&mut self, back: usize, code: u8, mtu: u16) {
        let Some(index) = self.overheard.len().checked_sub(1 + back) else { return };
        let packet = &self.overheard[index][14..];
        let quoted = &packet[..packet.len().min(60)];
        let addresses = [PEER[self.family], OWN[self.family]];
        let mtu = mtu.to_be_bytes();
        let (protocol, head) = if self.family == 0 {
            (IpProtocol::Icmp, [3, code % 16, 0, 0, 0, 0, mtu[0], mtu[1]])
        } else {
            (IpProtocol::Icmpv6, [1 + code % 2, code / 2, 0, 0, 0, 0, mtu[0], mtu[1]])
        };
        let mut frame = ip_frame(addresses, protocol, 64, None, &[&head, quoted].concat());
        crate::common::repair::repair(&mut frame);
        self.lab.stack.handle_frame(WireId(0), &frame, Arrival::Wire, self.lab.now);
    }

    /// Everybody leaves; the peer is silent.
    pub(crate) fn end(&mut self) {
        self.lab.stack.set_fib(Arc::new(fib(link())), self.lab.now);
        for address in PEER {
            self.lab.stack.set_neighbor(LinkId(0), address, Some(PEER_MAC), self.lab.now);
        }
        self.listen_to_it();
        for side in [Side::First, Side::Second] {
            self.recv(side, 1 << 24);
            self.close(side);
        }
        assert_nothing_stays(&mut self.lab);
    }
}

/// Links and addresses, and no way to anybody.
fn no_route() -> Fib {
    let whole = fib(link());
    Fib::new(whole.links().to_vec(), whole.addresses().to_vec(), Vec::new())
}

/// What the user writes at a place of its stream.
fn user_byte(place: usize) -> u8 {
    (place.wrapping_mul(31) ^ (place >> 8).wrapping_mul(17)) as u8
}
