//! Messages of the kernel made into plain records: interfaces, addresses, routes, neighbours.
//!
//! In:    decoded rtnetlink messages
//! Out:   records, or nothing for what does not concern us
//! Owns:  nothing
//! Never: does I/O; knows which interfaces are ours
//! Read:  `man 7 rtnetlink`; Linux `net/ipv4/fib_semantics.c` (`fib_dump_info`), `net/core/neighbour.c`

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// An interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's index of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address, when that has the shape of Ethernet's.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Switched on, and its carrier is there.
    pub up: bool,
    /// What it is a VLAN of, if it is one.
    pub vlan: Option<Vlan>,
}

/// An IEEE 802.1Q VLAN on an interface of the same namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the interface that carries the tagged frames.
    pub lower: u32,
    /// VLAN identifier.
    pub id: u16,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelAddress {
    pub(super) interface: u32,
    pub(super) net: IpNet,
}

/// A unicast route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) prefix: IpNet,
    pub(super) source: Option<IpAddr>,
    pub(super) metric: u32,
    /// In the kernel's order; one for an ordinary route.
    pub(super) hops: Vec<Hop>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) interface: u32,
    pub(super) gateway: Option<IpAddr>,
}

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelNeighbor {
    pub(super) interface: u32,
    pub(super) ip: IpAddr,
    pub(super) state: Nud,
}

/// The kernel's NUD states as far as a sender cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nud {
    /// REACHABLE, STALE, DELAY, PROBE: send to it; the kernel finds out when it no longer holds.
    Usable([u8; 6]),
    /// PERMANENT, NOARP: send to it, and never ask.
    Fixed([u8; 6]),
    /// NONE, INCOMPLETE: nobody knows yet.
    Unknown,
    /// FAILED (asked, and nobody answered), or deleted.
    Gone,
}

pub(super) fn interface(message: &RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = message else {
        return None;
    };
    // A bridge reports its ports as links of AF_BRIDGE.
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut interface = Interface {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        vlan: None,
    };
    let (mut lower, mut vlan_id, mut lower_elsewhere) = (None, None, false);
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Address(mac) => interface.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => lower_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => vlan_id = infos.iter().find_map(vlan_id_of),
            _ => {}
        }
    }
    // The index of a lower interface in another namespace says nothing in this one.
    if !lower_elsewhere {
        interface.vlan = lower.zip(vlan_id).map(|(lower, id)| Vlan { lower, id });
    }
    Some(interface)
}

/// IEEE 802.1ad puts another tag on the wire and is no VLAN of ours.
fn vlan_id_of(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(attributes)) = info else { return None };
    if attributes.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)) {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

pub(super) fn address(message: &RouteNetlinkMessage) -> Option<KernelAddress> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = message else {
        return None;
    };
    // Duplicate address detection has not ended well (yet): the kernel does not answer for it either.
    let unproven = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    if header.flags.intersects(unproven) && !header.flags.contains(AddressHeaderFlags::Optimistic) {
        return None;
    }
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL is ours. IPv6 without a peer has no IFA_LOCAL.
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let ip = local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })?;
    let net = IpNet::new(ip, header.prefix_len).ok()?;
    Some(KernelAddress { interface: header.index, net })
}

/// Left out: other tables than main, what is not unicast (blackholes among them), and what asks for more than an
/// address and an interface: routes by source or by type of service, and those that wrap packets into others.
pub(super) fn route(message: &RouteNetlinkMessage) -> Option<KernelRoute> {
    let RouteNetlinkMessage::NewRoute(RouteMessage { header, attributes, .. }) = message else {
        return None;
    };
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0_u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0_u8; 16]),
        _ => return None,
    };
    if header.kind != RouteType::Unicast || header.tos != 0 || header.source_prefix_length != 0 {
        return None;
    }
    let mut table = u32::from(header.table);
    let (mut destination, mut source, mut metric) = (unspecified, None, 0);
    let mut hops = Vec::new();
    for attribute in attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::PrefSource(address) => source = ip_of(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(list) => hops.extend(list.iter().filter_map(hop_of)),
            _ => {}
        }
    }
    let interface = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    hops.extend(interface.and_then(|interface| hop_over(interface, attributes)));
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let in_main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    (in_main && !hops.is_empty()).then_some(KernelRoute { prefix, source, metric, hops })
}

fn hop_of(hop: &RouteNextHop) -> Option<Hop> {
    if hop.flags.contains(RouteNextHopFlags::Dead) {
        return None;
    }
    hop_over(hop.interface_index, &hop.attributes)
}

fn hop_over(interface: u32, attributes: &[RouteAttribute]) -> Option<Hop> {
    let mut gateway = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => gateway = Some(ip_of(address)?),
            // A router of the other family (RFC 8950).
            RouteAttribute::Via(RouteVia::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => gateway = Some(IpAddr::V6(*ip)),
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => return None,
            _ => {}
        }
    }
    Some(Hop { interface, gateway })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

pub(super) fn neighbor(message: &RouteNetlinkMessage) -> Option<KernelNeighbor> {
    let (NeighbourMessage { header, attributes, .. }, deleted) = match message {
        RouteNetlinkMessage::NewNeighbour(message) => (message, false),
        RouteNetlinkMessage::DelNeighbour(message) => (message, true),
        _ => return None,
    };
    // Bridges announce their forwarding tables as AF_BRIDGE neighbours, and proxy entries are addresses for which
    // this host answers, not neighbours.
    let is_ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !is_ip || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let ip = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    // Groups have entries too: their link-layer address is a matter of arithmetic, and TCP has no business there.
    if ip.is_multicast() {
        return None;
    }
    let mac = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => <[u8; 6]>::try_from(mac.as_slice()).ok(),
        _ => None,
    });
    let state = if deleted { Nud::Gone } else { nud(header.state, mac) };
    Some(KernelNeighbor { interface: header.ifindex, ip, state })
}

fn nud(state: NeighbourState, mac: Option<[u8; 6]>) -> Nud {
    use NeighbourState::{Delay, Failed, Noarp, Permanent, Probe, Reachable, Stale};
    match (state, mac) {
        (Reachable | Stale | Delay | Probe, Some(mac)) => Nud::Usable(mac),
        (Permanent | Noarp, Some(mac)) => Nud::Fixed(mac),
        (Failed, _) => Nud::Gone,
        _ => Nud::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::link::{InfoKind, LinkLayerType};
    use netlink_packet_route::route::RouteNextHopFlags;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// The message as it comes out of the kernel's bytes: encoded and decoded once.
    fn over_the_wire(message: RouteNetlinkMessage) -> RouteNetlinkMessage {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        match NetlinkMessage::deserialize(&bytes).unwrap().payload {
            NetlinkPayload::InnerMessage(message) => message,
            payload => panic!("{payload:?}"),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // Interfaces

    fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![
            LinkAttribute::IfName(format!("eth{index}")),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Address(MAC.to_vec()),
        ];
        message.attributes.extend(attributes);
        message
    }

    fn vlan_info(id: u16, protocol: VlanProtocol) -> LinkAttribute {
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)])),
        ])
    }

    fn interface_of(message: LinkMessage) -> Option<Interface> {
        interface(&over_the_wire(RouteNetlinkMessage::NewLink(message)))
    }

    #[test]
    fn an_interface() {
        let expected = Interface {
            index: 7,
            name: "eth7".to_owned(),
            mac: Some(MAC),
            mtu: 1500,
            up: true,
            vlan: None,
        };
        assert_eq!(interface_of(link(7, vec![])), Some(expected));
    }

    #[test]
    fn an_interface_without_carrier_is_not_up() {
        let mut message = link(7, vec![]);
        message.header.flags = LinkFlags::Up;
        assert!(!interface_of(message).unwrap().up);
    }

    #[test]
    fn a_vlan_names_its_lower_interface() {
        let info = vlan_info(100, VlanProtocol::Ieee8021Q);
        let vlan = interface_of(link(9, vec![LinkAttribute::Link(7), info])).unwrap().vlan;
        assert_eq!(vlan, Some(Vlan { lower: 7, id: 100 }));
    }

    #[test]
    fn other_stacked_interfaces_are_no_vlans() {
        let provider = vlan_info(100, VlanProtocol::Ieee8021Ad);
        assert_eq!(
            interface_of(link(9, vec![LinkAttribute::Link(7), provider])).unwrap().vlan,
            None
        );
        let info = vlan_info(100, VlanProtocol::Ieee8021Q);
        let elsewhere = vec![LinkAttribute::Link(7), LinkAttribute::LinkNetNsId(0), info];
        assert_eq!(interface_of(link(9, elsewhere)).unwrap().vlan, None);
        let veth = vec![
            LinkAttribute::Link(7),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        assert_eq!(interface_of(link(9, veth)).unwrap().vlan, None);
    }

    #[test]
    fn a_bridge_port_is_not_an_interface() {
        let mut message = link(7, vec![]);
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(interface(&RouteNetlinkMessage::NewLink(message)), None);
    }

    #[test]
    fn a_tunnel_has_no_mac() {
        let mut message = link(7, vec![]);
        message.attributes[2] = LinkAttribute::Address(vec![10, 0, 0, 1]);
        assert_eq!(interface_of(message).unwrap().mac, None);
    }

    // Addresses

    fn address_of(
        flags: AddressHeaderFlags,
        prefix_len: u8,
        attributes: Vec<AddressAttribute>,
    ) -> Option<IpNet> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        if let Some(AddressAttribute::Address(IpAddr::V6(_))) = attributes.first() {
            message.header.family = AddressFamily::Inet6;
        }
        message.header.index = 7;
        message.header.prefix_len = prefix_len;
        message.header.flags = flags;
        message.attributes = attributes;
        address(&over_the_wire(RouteNetlinkMessage::NewAddress(message))).map(|a| a.net)
    }

    #[test]
    fn an_address_keeps_its_host_bits() {
        let attributes = vec![
            AddressAttribute::Address(ip("10.0.0.1")),
            AddressAttribute::Local(ip("10.0.0.1")),
        ];
        let net = address_of(AddressHeaderFlags::Permanent, 24, attributes).unwrap();
        assert_eq!(net.to_string(), "10.0.0.1/24");
    }

    #[test]
    fn the_own_end_of_a_point_to_point_address() {
        let attributes = vec![
            AddressAttribute::Address(ip("10.0.0.2")),
            AddressAttribute::Local(ip("10.0.0.1")),
        ];
        let net = address_of(AddressHeaderFlags::Permanent, 32, attributes).unwrap();
        assert_eq!(net.to_string(), "10.0.0.1/32");
    }

    #[test]
    fn an_address_counts_once_it_is_proven_unique() {
        let of = |flags| address_of(flags, 64, vec![AddressAttribute::Address(ip("2001:db8::1"))]);
        assert_eq!(of(AddressHeaderFlags::Tentative), None);
        assert_eq!(of(AddressHeaderFlags::Dadfailed), None);
        assert!(of(AddressHeaderFlags::Tentative | AddressHeaderFlags::Optimistic).is_some());
        assert!(of(AddressHeaderFlags::Permanent).is_some());
    }

    // Routes

    fn route_message(prefix: &str, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let prefix: IpNet = prefix.parse().unwrap();
        let mut message = RouteMessage::default();
        message.header.address_family = match prefix {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        message.header.destination_prefix_length = prefix.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        if prefix.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(prefix.addr().into()));
        }
        message
    }

    fn route_of(message: RouteMessage) -> Option<KernelRoute> {
        route(&over_the_wire(RouteNetlinkMessage::NewRoute(message)))
    }

    fn oif(index: u32) -> RouteAttribute {
        RouteAttribute::Oif(index)
    }

    fn gateway(text: &str) -> RouteAttribute {
        RouteAttribute::Gateway(ip(text).into())
    }

    fn hop(interface: u32, gateway: Option<&str>) -> Hop {
        Hop { interface, gateway: gateway.map(ip) }
    }

    #[test]
    fn a_connected_route() {
        let source = RouteAttribute::PrefSource(ip("10.0.0.1").into());
        let expected = KernelRoute {
            prefix: "10.0.0.0/24".parse().unwrap(),
            source: Some(ip("10.0.0.1")),
            metric: 0,
            hops: vec![hop(7, None)],
        };
        assert_eq!(route_of(route_message("10.0.0.0/24", vec![oif(7), source])), Some(expected));
    }

    #[test]
    fn a_default_route_has_no_destination_attribute() {
        for (prefix, router) in [("0.0.0.0/0", "10.0.0.254"), ("::/0", "fe80::1")] {
            let attributes = vec![RouteAttribute::Priority(100), gateway(router), oif(7)];
            let route = route_of(route_message(prefix, attributes)).unwrap();
            assert_eq!(route.prefix, prefix.parse().unwrap());
            assert_eq!((route.metric, route.hops), (100, vec![hop(7, Some(router))]));
        }
    }

    #[test]
    fn a_router_of_the_other_family() {
        let via = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
        let route = route_of(route_message("10.1.0.0/16", vec![oif(7), via])).unwrap();
        assert_eq!(route.hops, vec![hop(7, Some("fe80::1"))]);
    }

    #[test]
    fn multipath_keeps_the_hops_that_live() {
        let next_hop = |index, router, flags| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes = vec![gateway(router)];
            hop.flags = flags;
            hop
        };
        let list = RouteAttribute::MultiPath(vec![
            next_hop(7, "10.0.0.1", RouteNextHopFlags::Dead),
            next_hop(8, "10.0.1.1", RouteNextHopFlags::empty()),
            next_hop(9, "10.0.2.1", RouteNextHopFlags::empty()),
        ]);
        let route = route_of(route_message("0.0.0.0/0", vec![list])).unwrap();
        assert_eq!(route.hops, vec![hop(8, Some("10.0.1.1")), hop(9, Some("10.0.2.1"))]);
    }

    #[test]
    fn the_main_table_only() {
        let of = |number: u32| {
            let mut message = route_message("10.0.0.0/24", vec![oif(7)]);
            message.header.table = number.try_into().unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
            message.attributes.push(RouteAttribute::Table(number));
            route_of(message)
        };
        assert!(of(254).is_some());
        // local; one beyond what the header can say.
        assert_eq!((of(255), of(1_000)), (None, None));
    }

    #[test]
    fn routes_that_are_more_than_a_destination_are_left_out() {
        let with = |change: &dyn Fn(&mut RouteMessage)| {
            let mut message = route_message("10.0.0.0/24", vec![oif(7)]);
            change(&mut message);
            route_of(message)
        };
        assert!(with(&|_| {}).is_some());
        assert_eq!(with(&|message| message.header.kind = RouteType::BlackHole), None);
        assert_eq!(with(&|message| message.header.tos = 8), None);
        assert_eq!(with(&|message| message.header.source_prefix_length = 8), None);
        assert_eq!(with(&|message| message.attributes.retain(|a| *a != oif(7))), None);
    }

    // Neighbours

    fn neighbor_message(state: NeighbourState) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 7;
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet("10.0.0.2".parse().unwrap())),
            NeighbourAttribute::LinkLayerAddress(MAC.to_vec()),
        ];
        message
    }

    fn neighbor_of(message: NeighbourMessage) -> Option<KernelNeighbor> {
        neighbor(&over_the_wire(RouteNetlinkMessage::NewNeighbour(message)))
    }

    #[test]
    fn states_that_a_sender_can_use() {
        use NeighbourState::*;
        for (state, expected) in [
            (Reachable, Nud::Usable(MAC)),
            (Stale, Nud::Usable(MAC)),
            (Delay, Nud::Usable(MAC)),
            (Probe, Nud::Usable(MAC)),
            (Permanent, Nud::Fixed(MAC)),
            (Noarp, Nud::Fixed(MAC)),
            (Incomplete, Nud::Unknown),
            (None, Nud::Unknown),
            (Failed, Nud::Gone),
        ] {
            let neighbor = neighbor_of(neighbor_message(state)).unwrap();
            assert_eq!(
                (neighbor.interface, neighbor.ip, neighbor.state),
                (7, ip("10.0.0.2"), expected),
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_neighbor_without_a_mac_is_unknown() {
        let mut message = neighbor_message(NeighbourState::Reachable);
        message.attributes.pop();
        assert_eq!(neighbor_of(message).unwrap().state, Nud::Unknown);
    }

    #[test]
    fn a_deleted_neighbor_is_gone_whatever_its_state_was() {
        let message = neighbor_message(NeighbourState::Reachable);
        let message = over_the_wire(RouteNetlinkMessage::DelNeighbour(message));
        assert_eq!(neighbor(&message).unwrap().state, Nud::Gone);
    }

    #[test]
    fn groups_bridge_and_proxy_entries_are_no_neighbors() {
        let mut message = neighbor_message(NeighbourState::Noarp);
        message.attributes[0] =
            NeighbourAttribute::Destination(NeighbourAddress::Inet("224.0.0.22".parse().unwrap()));
        assert_eq!(neighbor_of(message), None);
        let mut message = neighbor_message(NeighbourState::Permanent);
        message.header.flags = NeighbourFlags::Proxy;
        assert_eq!(neighbor_of(message), None);
        let mut message = neighbor_message(NeighbourState::Permanent);
        message.header.family = AddressFamily::Bridge;
        assert_eq!(neighbor(&RouteNetlinkMessage::NewNeighbour(message)), None);
    }
}
