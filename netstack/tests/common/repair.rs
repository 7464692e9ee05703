//! Frames that were changed, made such that they get past the checks of sums.
//!
//! In:    a frame, whatever it is
//! Out:   the same frame with right checksums, or with numbers of the flow that it belongs to
//! Never: fails: what cannot be taken apart stays as it is

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// Makes the checksums of a frame right, as far as it can be taken apart.
pub fn repair(frame: &mut [u8]) {
    let Some(kind) = frame.get(12..14).map(|kind| [kind[0], kind[1]]) else { return };
    let packet = &mut frame[14..];
    if kind == [0x08, 0x00] && packet.len() >= 20 {
        let header = usize::from(packet[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if header < 20 || total < header || total > packet.len() {
            return;
        }
        let mut ip = Ipv4Packet::new_unchecked(&mut *packet);
        ip.fill_checksum();
        let (source, destination, protocol) = (ip.src_addr(), ip.dst_addr(), ip.next_header());
        let ends = [source, destination].map(|ip: Ipv4Addr| IpAddress::from(ip));
        repair_payload(&mut packet[header..total], protocol, ends);
    } else if kind == [0x86, 0xdd] && packet.len() >= 40 {
        let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        if total > packet.len() {
            return;
        }
        let ip = Ipv6Packet::new_unchecked(&*packet);
        let (source, destination, protocol) = (ip.src_addr(), ip.dst_addr(), ip.next_header());
        let ends = [source, destination].map(|ip: Ipv6Addr| IpAddress::from(ip));
        repair_payload(&mut packet[40..total], protocol, ends);
    }
}

fn repair_payload(bytes: &mut [u8], protocol: IpProtocol, [source, destination]: [IpAddress; 2]) {
    match protocol {
        IpProtocol::Tcp if bytes.len() >= 20 => {
            TcpPacket::new_unchecked(bytes).fill_checksum(&source, &destination);
        }
        IpProtocol::Icmp if bytes.len() >= 8 => Icmpv4Packet::new_unchecked(bytes).fill_checksum(),
        IpProtocol::Icmpv6 if bytes.len() >= 4 => {
            if let (IpAddress::Ipv6(source), IpAddress::Ipv6(destination)) = (source, destination) {
                Icmpv6Packet::new_unchecked(bytes).fill_checksum(&source, &destination);
            }
        }
        _ => {}
    }
}

/// Adds `seq` and `ack` to the numbers of a segment, if the frame is one of this family and these ports and
/// carries no tag.
pub fn shift(frame: &mut [u8], ipv6: bool, ports: [u8; 4], seq: u32, ack: u32) {
    let (ethertype, protocol, tcp) = if ipv6 { ([0x86, 0xdd], 20, 54) } else { ([8, 0], 23, 34) };
    let is_meant = frame.len() >= tcp + 20
        && frame[12..14] == ethertype
        && frame[protocol] == 6
        && frame[tcp..tcp + 4] == ports;
    if !is_meant {
        return;
    }
    for (place, by) in [(tcp + 4, seq), (tcp + 8, ack)] {
        let field = &mut frame[place..place + 4];
        let number = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        field.copy_from_slice(&number.wrapping_add(by).to_be_bytes());
    }
}
