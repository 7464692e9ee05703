//! Frames in.
//!
//! In:    frames, from the wire or from another worker
//! Out:   changed connections; replies; the word who else should see the frame
//! Never: keeps a frame
//! Read:  RFC 9293, section 3.10.7; RFC 826; RFC 792; RFC 4443; RFC 4861; RFC 1191; RFC 8201

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol, Icmpv4DstUnreachable,
    Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::allotment::stand_in_line;
use super::{Stack, StackConfig, enlist};
use crate::connection::{Context, State, Verdict};
use crate::counters::DropReason;
use crate::fib::{LinkId, Origin, Ownership, WireId};
use crate::flow::{ConnId, Endpoint, Flow, FourTuple, TimeWaitId};
use crate::packet::{
    Content, Envelope, Frame, IpPacket, emit_link_header, is_checksum_right, link_header_len,
};
use crate::rss;
use crate::segment::{Flags, Header, Segment, TCP_HEADER_LEN, header_len, ports};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// What an ICMP error is believed to be the least: who guesses one sequence number in flight must not make
/// a connection send tiny segments for the rest of its life. Linux's min_pmtu.
const IPV4_MTU_MIN: u16 = 552;
const BROADCAST: [u8; 6] = [0xff; 6];

/// How a frame came to this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// From its own queue.
    Wire,
    /// From another worker, after so many workers did not know its flow.
    Handed {
        /// Workers that were asked before.
        asked: u8,
    },
    /// A copy of what another worker has handled: only what can be learnt from it counts.
    Copy,
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing more.
    Done,
    /// This worker owns it.
    HandTo(usize),
    /// This worker does not know its flow; the next one may.
    HandOn,
    /// Every other worker should see a copy.
    CopyToAll,
}

/// Where a TCP segment came in.
pub(super) struct Tcp<'a> {
    pub tuple: FourTuple,
    pub link: LinkId,
    pub wire: WireId,
    pub arrival: Arrival,
    pub segment: Segment<'a>,
}

impl Stack {
    /// Takes a frame from wire `wire`.
    pub fn handle_frame(
        &mut self,
        wire: WireId,
        bytes: &[u8],
        arrival: Arrival,
        now: Instant,
    ) -> Disposition {
        self.counters.frames_in += 1;
        match self.dispatch(wire, bytes, arrival, now) {
            Ok(disposition) => disposition,
            Err(reason) => {
                self.counters.dropped(reason);
                Disposition::Done
            }
        }
    }

    fn dispatch(
        &mut self,
        wire: WireId,
        bytes: &[u8],
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let frame = Frame::parse(bytes)?;
        let link = self.fib.link_of(wire, frame.vlan).ok_or(DropReason::NotForUs)?;
        match &frame.content {
            Content::Arp(packet) => self.handle_arp(link, packet, arrival, now),
            Content::Ip(packet) => match packet.protocol {
                // Frames that are flooded or broadcast are for others too: none of them is a segment of ours.
                IpProtocol::Tcp if frame.destination != self.fib.link(link).mac => {
                    Err(DropReason::NotForUs)
                }
                IpProtocol::Tcp => self.handle_tcp(wire, link, packet, arrival, now),
                IpProtocol::Icmp => self.handle_icmpv4(link, frame.source, packet, arrival, now),
                IpProtocol::Icmpv6 => self.handle_icmpv6(link, frame.source, packet, arrival, now),
                _ => Err(DropReason::NotForUs),
            },
        }
    }

    // TCP.

    fn handle_tcp(
        &mut self,
        wire: WireId,
        link: LinkId,
        ip: &IpPacket<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        if !is_checksum_right(ip, self.fib.link(link).partial_checksums) {
            return Err(DropReason::Checksum);
        }
        let header_len = header_len(ip.payload).ok_or(DropReason::Malformed)?;
        let [source, destination] = ports(ip.payload);
        let segment = Segment::read(ip.payload, header_len);
        self.counters.segments_in += 1;
        let tuple = FourTuple {
            local: Endpoint::new(ip.destination, destination),
            remote: Endpoint::new(ip.source, source),
        };
        // Segments come in trains: the connection of the one before needs no look-up.
        if self.connections.get(self.last).is_some_and(|last| last.tuple == tuple) {
            self.handle_connection(self.last, &segment, now);
            return Ok(Disposition::Done);
        }
        match self.flows.get(&tuple) {
            Some(Flow::Connection(id)) => {
                self.last = id;
                self.handle_connection(id, &segment, now);
                Ok(Disposition::Done)
            }
            other => self.handle_other(other, &Tcp { tuple, link, wire, arrival, segment }, now),
        }
    }

    /// A segment of no connection: of a handshake, of what is left of one, or of nothing that is known.
    #[cold]
    fn handle_other(
        &mut self,
        flow: Option<Flow>,
        tcp: &Tcp<'_>,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let FourTuple { local, remote } = tcp.tuple;
        if local.port == 0 || remote.port == 0 || is_multicast(remote.ip) {
            return Err(DropReason::Malformed);
        }
        match flow {
            Some(Flow::HalfOpen(id)) if self.handle_half_open(id, &tcp.segment, now) => {
                Ok(Disposition::Done)
            }
            Some(Flow::TimeWait(id)) => Ok(self.handle_time_wait(id, tcp, now)),
            _ => self.handle_unknown(tcp, now),
        }
    }

    /// A segment of a connection.
    pub(super) fn handle_connection(&mut self, id: ConnId, segment: &Segment<'_>, now: Instant) {
        let connection = &mut self.connections[id];
        let undone = connection.undone();
        let verdict = connection.handle_segment(segment, &mut context!(self, now));
        if verdict == Verdict::Accepted && !connection.orphan() {
            enlist(id, connection, &mut self.events, &mut self.ready);
            self.counters.undone += u64::from(connection.undone() - undone);
            return;
        }
        let tuple = connection.tuple;
        self.counters.undone += u64::from(connection.undone() - undone);
        stand_in_line(id, connection, &mut self.allotments, &self.pools.buffers);
        self.count_verdict(verdict, tuple, now);
        self.settle(id, now);
    }

    /// What became of a segment that was not simply taken.
    #[cold]
    fn count_verdict(&mut self, verdict: Verdict, tuple: FourTuple, now: Instant) {
        match verdict {
            Verdict::Accepted => {}
            Verdict::OutOfWindow => self.counters.out_of_window += 1,
            Verdict::OldTimestamp => self.counters.old_timestamp += 1,
            Verdict::BadAck => self.counters.bad_ack += 1,
            Verdict::Challenged => self.counters.challenged += 1,
            Verdict::Unexpected => self.counters.unexpected += 1,
            Verdict::NoBuffer => self.counters.no_buffer += 1,
            Verdict::Stale(seq) => {
                self.counters.bad_ack += 1;
                if self.may_reset(now) {
                    let header = Header::bare(seq, SeqNumber(0), Flags::RST);
                    self.replies.push_segment(tuple, header, &mut self.counters);
                }
            }
        }
    }

    /// Whether one more RST may be sent for what nobody owns; counted either way.
    fn may_reset(&mut self, now: Instant) -> bool {
        let may = self.reset_limit.allow(now);
        self.counters.resets_sent += u64::from(may);
        self.counters.resets_suppressed += u64::from(!may);
        may
    }

    fn handle_time_wait(&mut self, id: TimeWaitId, tcp: &Tcp<'_>, now: Instant) -> Disposition {
        let segment = &tcp.segment;
        // The peer may have begun anew with another worker. Only a SYN, a FIN or the RST that ends it is
        // surely for the record: an acknowledgment of old numbers would reach into the new connection.
        let ends = self.time_waits.get(id).is_some_and(|record| record.ends_by(segment));
        if !(segment.flags.syn || segment.flags.fin || ends)
            && let Some(elsewhere) = self.who_may_know(tcp)
        {
            return elsewhere;
        }
        let Some(record) = self.time_waits.get(id) else { return Disposition::Done };
        let begins = segment.flags.begin() && record.allows(segment);
        let listener = begins.then(|| self.listener_for(tcp.tuple.local, tcp.wire)).flatten();
        let least_iss = record.next_iss();
        if ends || listener.is_some() {
            self.time_waits.remove(id);
            self.flows.remove(&tcp.tuple);
        } else if let Some(header) = record.answer(segment, now) {
            self.replies.push_segment(tcp.tuple, header, &mut self.counters);
        }
        if let Some(listener) = listener {
            self.handle_syn(listener, tcp, segment, Some(least_iss), now);
        }
        Disposition::Done
    }

    /// A flow that this worker does not know: a new one, another worker's, or nobody's.
    fn handle_unknown(&mut self, tcp: &Tcp<'_>, now: Instant) -> Result<Disposition, DropReason> {
        let flags = tcp.segment.flags;
        if self.fib.address(tcp.tuple.local.ip).is_none() {
            return self.handle_unknown_of_others(tcp);
        }
        if self.silenced.has(&tcp.tuple, now) {
            return Err(DropReason::Silenced);
        }
        if flags.begin()
            && let Some(listener) = self.listener_for(tcp.tuple.local, tcp.wire)
        {
            self.handle_syn(listener, tcp, &tcp.segment, None, now);
            return Ok(Disposition::Done);
        }
        let cookie_for = self.listener_for_cookie(tcp, now);
        if cookie_for.is_some_and(|listener| self.handle_cookie(listener, tcp, now)) {
            return Ok(Disposition::Done);
        }
        if let Some(elsewhere) = self.who_may_know(tcp) {
            return Ok(elsewhere);
        }
        self.counters.cookies_failed += u64::from(cookie_for.is_some());
        self.reset_unknown(tcp, now);
        Err(DropReason::NoFlow)
    }

    /// A segment to an address that is not ours: another worker may have a connection from there. If none has
    /// it may well be somebody else's, who should not be reset by us.
    #[cold]
    fn handle_unknown_of_others(&mut self, tcp: &Tcp<'_>) -> Result<Disposition, DropReason> {
        if self.config.has_foreign_sources
            && let Some(elsewhere) = self.who_may_know(tcp)
        {
            return Ok(elsewhere);
        }
        Err(DropReason::NotForUs)
    }

    /// The worker whose port it is.
    fn owner_of(&self, port: u16) -> Option<usize> {
        let StackConfig { source_ports, port_ranges, workers, .. } = &self.config;
        let stated = port_ranges.iter().find(|range| range.contains(&port));
        rss::owner_of(port, stated.unwrap_or(source_ports).clone(), *workers)
    }

    /// The worker to ask: the owner of a source port, else one after the other.
    fn who_may_know(&mut self, tcp: &Tcp<'_>) -> Option<Disposition> {
        let workers = self.config.workers;
        let asked = match tcp.arrival {
            Arrival::Wire => 0,
            Arrival::Handed { asked } => usize::from(asked),
            Arrival::Copy => return None,
        };
        if let Some(owner) = self.owner_of(tcp.tuple.local.port) {
            let home = owner == self.config.worker || asked > 0;
            self.counters.handed_to_owner += u64::from(!home);
            return (!home).then_some(Disposition::HandTo(owner));
        }
        let everyone_asked = asked + 1 >= workers;
        self.counters.handed_on += u64::from(!everyone_asked);
        (!everyone_asked).then_some(Disposition::HandOn)
    }

    /// RFC 9293, section 3.10.7.1: CLOSED.
    fn reset_unknown(&mut self, tcp: &Tcp<'_>, now: Instant) {
        let segment = &tcp.segment;
        if segment.flags.rst || !self.may_reset(now) {
            return;
        }
        let header = if segment.flags.ack {
            Header::bare(segment.ack, SeqNumber(0), Flags::RST)
        } else {
            Header::bare(SeqNumber(0), segment.end(), Flags::RST_ACK)
        };
        self.replies.push_segment(tcp.tuple, header, &mut self.counters);
    }

    // ARP and neighbour discovery, for addresses that nobody else answers for.

    #[cold]
    fn handle_arp(
        &mut self,
        link: LinkId,
        packet: &[u8],
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let packet = ArpPacket::new_checked(packet).map_err(|_| DropReason::Malformed)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).map_err(|_| DropReason::Malformed)?
        else {
            return Err(DropReason::Malformed);
        };
        if !self.is_sole(target_protocol_addr.into(), link) {
            return Err(DropReason::NotForUs);
        }
        let mac = unicast(source_hardware_addr.0)?;
        self.learn(link, source_protocol_addr.into(), mac, now);
        if operation == ArpOperation::Request && arrival == Arrival::Wire {
            let reply = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress(self.fib.link(link).mac),
                source_protocol_addr: target_protocol_addr,
                target_hardware_addr: EthernetAddress(mac),
                target_protocol_addr: source_protocol_addr,
            };
            self.send_arp(link, mac, &reply);
        }
        Ok(self.share(arrival))
    }

    fn send_arp(&mut self, link_id: LinkId, to: [u8; 6], arp: &ArpRepr) {
        let link = self.fib.link(link_id);
        let mut bytes = vec![0; link_header_len(link) + arp.buffer_len()];
        let body = emit_link_header(&mut bytes, link, to, EthernetProtocol::Arp);
        arp.emit(&mut ArpPacket::new_unchecked(body));
        self.replies.push_frame(link.wire, bytes, &mut self.counters);
    }

    /// Asks the link for a neighbour, with an address of our own as the asker.
    pub(super) fn solicit(&mut self, link_id: LinkId, address: IpAddr) {
        let asker = self.fib.addresses().iter().find(|own| {
            own.link == link_id
                && own.ownership == Ownership::Sole
                && own.net.addr().is_ipv4() == address.is_ipv4()
        });
        let Some(asker) = asker.map(|own| own.net.addr()) else { return };
        let mac = self.fib.link(link_id).mac;
        match (asker, address) {
            (IpAddr::V4(asker), IpAddr::V4(address)) => {
                let request = ArpRepr::EthernetIpv4 {
                    operation: ArpOperation::Request,
                    source_hardware_addr: EthernetAddress(mac),
                    source_protocol_addr: asker,
                    target_hardware_addr: EthernetAddress([0; 6]),
                    target_protocol_addr: address,
                };
                self.send_arp(link_id, BROADCAST, &request);
            }
            (IpAddr::V6(asker), IpAddr::V6(address)) => {
                let group = solicited_node(address);
                let octets = group.octets();
                let to = [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]];
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: address,
                    lladdr: Some(RawHardwareAddress::from(EthernetAddress(mac))),
                };
                self.send_ndisc(link_id, to, asker, group, &solicit);
            }
            _ => unreachable!("asker and neighbour are of one family"),
        }
    }

    fn send_ndisc(
        &mut self,
        link_id: LinkId,
        to: [u8; 6],
        source: Ipv6Addr,
        destination: Ipv6Addr,
        ndisc: &NdiscRepr<'_>,
    ) {
        let link = self.fib.link(link_id);
        let (from, destined) = (source.into(), destination.into());
        let envelope = Envelope::with_hop_limit(255, link, to, from, destined, IpProtocol::Icmpv6);
        let len = ndisc.buffer_len();
        let mut bytes = vec![0; envelope.len() + len];
        let mut packet = Icmpv6Packet::new_unchecked(envelope.emit(&mut bytes, len));
        ndisc.emit(&mut packet);
        packet.fill_checksum(&source, &destination);
        self.replies.push_frame(link.wire, bytes, &mut self.counters);
    }

    fn is_sole(&self, address: IpAddr, link: LinkId) -> bool {
        self.fib
            .address(address)
            .is_some_and(|own| own.ownership == Ownership::Sole && own.link == link)
    }

    fn learn(&mut self, link: LinkId, address: IpAddr, mac: [u8; 6], now: Instant) {
        let stated = self.fib.lookup(address).is_some_and(|hop| hop.origin == Origin::Stated);
        let waiters = if stated {
            self.neighbors.update(link, address, Some(mac))
        } else {
            self.neighbors.confirm(link, address, mac)
        };
        self.resume(waiters, now);
    }

    /// What one worker learns all should.
    fn share(&self, arrival: Arrival) -> Disposition {
        if arrival == Arrival::Wire && self.config.workers > 1 {
            Disposition::CopyToAll
        } else {
            Disposition::Done
        }
    }

    // ICMP.

    #[cold]
    fn handle_icmpv4(
        &mut self,
        link: LinkId,
        sender: [u8; 6],
        ip: &IpPacket<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let packet = Icmpv4Packet::new_checked(ip.payload).map_err(|_| DropReason::Malformed)?;
        if !packet.verify_checksum() {
            return Err(DropReason::Checksum);
        }
        match packet.msg_type() {
            Icmpv4Message::EchoRequest if self.is_sole(ip.destination, link) => {
                let mut message = ip.payload.to_vec();
                let mut reply = Icmpv4Packet::new_unchecked(&mut message[..]);
                reply.set_msg_type(Icmpv4Message::EchoReply);
                reply.fill_checksum();
                self.send_echo(link, sender, ip, &message);
                Ok(Disposition::Done)
            }
            Icmpv4Message::DstUnreachable => {
                let error = match Icmpv4DstUnreachable::from(packet.msg_code()) {
                    Icmpv4DstUnreachable::FragRequired => {
                        // RFC 1191, section 4: the MTU is in the second half of the unused word.
                        PathError::TooBig(u16::from_be_bytes([ip.payload[6], ip.payload[7]]))
                    }
                    _ => PathError::Unreachable,
                };
                let flow = embedded_v4(packet.data()).ok_or(DropReason::Malformed)?;
                self.handle_path_error(&flow, error, arrival, now)
            }
            _ => Err(DropReason::NotForUs),
        }
    }

    #[cold]
    fn handle_icmpv6(
        &mut self,
        link: LinkId,
        sender: [u8; 6],
        ip: &IpPacket<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else {
            return Err(DropReason::Malformed);
        };
        let packet = Icmpv6Packet::new_checked(ip.payload).map_err(|_| DropReason::Malformed)?;
        if !packet.verify_checksum(&source, &destination) {
            return Err(DropReason::Checksum);
        }
        match packet.msg_type() {
            Icmpv6Message::EchoRequest if self.is_sole(ip.destination, link) => {
                let mut message = ip.payload.to_vec();
                let mut reply = Icmpv6Packet::new_unchecked(&mut message[..]);
                reply.set_msg_type(Icmpv6Message::EchoReply);
                reply.fill_checksum(&destination, &source);
                self.send_echo(link, sender, ip, &message);
                Ok(Disposition::Done)
            }
            Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert => {
                // RFC 4861, section 7.1: what was forwarded by a router is not from the link.
                if ip.hop_limit != 255 {
                    return Err(DropReason::Malformed);
                }
                let ndisc = NdiscRepr::parse(&packet).map_err(|_| DropReason::Malformed)?;
                self.handle_ndisc(link, sender, source, ndisc, arrival, now)
            }
            Icmpv6Message::PktTooBig => {
                let mtu = packet.pkt_too_big_mtu().min(u32::from(u16::MAX)) as u16;
                let flow = embedded_v6(packet.payload()).ok_or(DropReason::Malformed)?;
                self.handle_path_error(&flow, PathError::TooBig(mtu), arrival, now)
            }
            Icmpv6Message::DstUnreachable => {
                let flow = embedded_v6(packet.payload()).ok_or(DropReason::Malformed)?;
                self.handle_path_error(&flow, PathError::Unreachable, arrival, now)
            }
            _ => Err(DropReason::NotForUs),
        }
    }

    fn send_echo(&mut self, link_id: LinkId, to: [u8; 6], ip: &IpPacket<'_>, message: &[u8]) {
        // RFC 1122, section 3.2.2.6: to one host alone.
        if is_multicast(ip.source) {
            return;
        }
        let link = self.fib.link(link_id);
        let envelope = Envelope::new(link, to, ip.destination, ip.source, ip.protocol);
        let mut bytes = vec![0; envelope.len() + message.len()];
        envelope.emit(&mut bytes, message.len()).copy_from_slice(message);
        self.replies.push_frame(link.wire, bytes, &mut self.counters);
    }

    fn handle_ndisc(
        &mut self,
        link: LinkId,
        sender: [u8; 6],
        source: Ipv6Addr,
        ndisc: NdiscRepr<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        match ndisc {
            NdiscRepr::NeighborSolicit { target_addr, lladdr } => {
                if !self.is_sole(target_addr.into(), link) {
                    return Err(DropReason::NotForUs);
                }
                let mac = unicast(lladdr.map_or(Ok(sender), mac_of)?)?;
                // RFC 4861, section 7.2.4: who detects a duplicate address asks from none.
                let probing = source.is_unspecified();
                if !probing {
                    self.learn(link, source.into(), mac, now);
                }
                if arrival == Arrival::Wire {
                    let own = self.fib.link(link).mac;
                    let solicited = NdiscNeighborFlags::SOLICITED;
                    let advert = NdiscRepr::NeighborAdvert {
                        flags: NdiscNeighborFlags::OVERRIDE
                            | if probing { NdiscNeighborFlags::empty() } else { solicited },
                        target_addr,
                        lladdr: Some(RawHardwareAddress::from(EthernetAddress(own))),
                    };
                    let (to, destination) =
                        if probing { ([0x33, 0x33, 0, 0, 0, 1], ALL_NODES) } else { (mac, source) };
                    self.send_ndisc(link, to, target_addr, destination, &advert);
                }
                Ok(self.share(arrival))
            }
            NdiscRepr::NeighborAdvert { target_addr, lladdr, .. } => {
                let mac = unicast(lladdr.map_or(Ok(sender), mac_of)?)?;
                self.learn(link, target_addr.into(), mac, now);
                Ok(self.share(arrival))
            }
            _ => Err(DropReason::NotForUs),
        }
    }

    /// An ICMP error about a segment of ours: believed only for what is in flight.
    fn handle_path_error(
        &mut self,
        about: &Embedded,
        error: PathError,
        arrival: Arrival,
        now: Instant,
    ) -> Result<Disposition, DropReason> {
        let Some(Flow::Connection(id)) = self.flows.get(&about.tuple) else {
            let segment = Segment {
                seq: about.seq,
                ack: SeqNumber(0),
                flags: Flags::RST,
                window: 0,
                options: Default::default(),
                payload: &[],
            };
            let tcp =
                Tcp { tuple: about.tuple, link: LinkId(0), wire: WireId(0), arrival, segment };
            return self.who_may_know(&tcp).ok_or(DropReason::NoFlow);
        };
        let connection = &mut self.connections[id];
        if !connection.is_in_flight(about.seq) {
            return Err(DropReason::NoFlow);
        }
        match error {
            PathError::TooBig(mtu) => {
                let peer = about.tuple.remote.ip;
                let overhead = crate::packet::ip_header_len(peer) + TCP_HEADER_LEN;
                let mss = usize::from(credible_mtu(peer, mtu)).saturating_sub(overhead);
                connection.reduce_mss(mss as u16, &mut context!(self, now));
            }
            // RFC 1122, section 4.2.3.9: soft errors; only a connection that is not open yet gives up.
            PathError::Unreachable if connection.state() == State::SynSent => {
                connection.unreachable(&mut context!(self, now));
            }
            PathError::Unreachable => {}
        }
        self.settle(id, now);
        Ok(Disposition::Done)
    }
}

/// RFC 8201, section 4: no IPv6 path takes less than 1280 bytes. RFC 1191, section 4: a router that does
/// not know better says zero; 576 is what every host takes.
fn credible_mtu(peer: IpAddr, mtu: u16) -> u16 {
    match mtu {
        _ if peer.is_ipv6() => mtu.max(1280),
        0 => 576,
        _ => mtu.max(IPV4_MTU_MIN),
    }
}

#[derive(Clone, Copy)]
enum PathError {
    /// The next hop takes packets of so many bytes.
    TooBig(u16),
    Unreachable,
}

/// The segment of ours that an ICMP error is about.
struct Embedded {
    tuple: FourTuple,
    seq: SeqNumber,
}

impl Embedded {
    fn new(source: IpAddr, destination: IpAddr, tcp: &[u8]) -> Option<Embedded> {
        // RFC 792 promises eight bytes: ports and sequence number.
        let tcp: &[u8; 8] = tcp.get(..8)?.try_into().ok()?;
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Some(Embedded {
            tuple: FourTuple {
                local: Endpoint::new(source, port(0)),
                remote: Endpoint::new(destination, port(2)),
            },
            seq: SeqNumber(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])),
        })
    }
}

fn embedded_v4(bytes: &[u8]) -> Option<Embedded> {
    // The embedded packet is cut short: only its header can be checked.
    if bytes.len() < 20 {
        return None;
    }
    let packet = Ipv4Packet::new_unchecked(bytes);
    let header_len = usize::from(packet.header_len());
    if packet.version() != 4 || header_len < 20 || packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = bytes.get(header_len..)?;
    Embedded::new(packet.src_addr().into(), packet.dst_addr().into(), tcp)
}

fn embedded_v6(bytes: &[u8]) -> Option<Embedded> {
    if bytes.len() < 40 {
        return None;
    }
    let packet = Ipv6Packet::new_unchecked(bytes);
    if packet.version() != 6 || packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    Embedded::new(packet.src_addr().into(), packet.dst_addr().into(), &bytes[40..])
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// RFC 4291, section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    let low = u16::from_be_bytes([octets[14], octets[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(octets[13]), low)
}

fn is_multicast(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) || ip.is_unspecified()
}

fn unicast(mac: [u8; 6]) -> Result<[u8; 6], DropReason> {
    if EthernetAddress(mac).is_unicast() { Ok(mac) } else { Err(DropReason::Malformed) }
}

fn mac_of(raw: RawHardwareAddress) -> Result<[u8; 6], DropReason> {
    raw.as_bytes().try_into().map_err(|_| DropReason::Malformed)
}
