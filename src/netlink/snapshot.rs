//! Makes the forwarding table: what the kernel has on our interfaces, and what the configuration states.
//!
//! In:    the kernel's interfaces, addresses and routes; stated addresses and routes
//! Out:   a `Fib`, and which interface of the kernel each of its links is
//! Owns:  nothing
//! Never: does I/O; looks at interfaces that were not given
//! Read:  RFC 1122, section 3.3.1 (routing of a host)

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netstack::fib::{Address, Fib, Link, LinkId, Origin, Ownership, Route, WireId};

use super::records::{Interface, KernelAddress, KernelRoute};

/// An interface that xlb takes packets from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The kernel's index of it.
    pub index: u32,
    /// Its place among the interfaces given.
    pub id: WireId,
    /// Its link-layer address, as long as the kernel does not say otherwise.
    pub mac: [u8; 6],
    /// Largest IP packet that the driver and the frames hold, in bytes; the kernel's, if lower, counts.
    pub mtu: u16,
    /// See [`Link::partial_checksums`].
    pub partial_checksums: bool,
}

/// An address that only xlb owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatedAddress {
    /// The address with the prefix of its network.
    pub net: IpNet,
    /// The interface it is on.
    pub wire: WireId,
    /// IEEE 802.1Q VLAN identifier.
    pub vlan: Option<u16>,
}

/// A route for addresses that only xlb owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatedRoute {
    /// Destinations it covers.
    pub prefix: IpNet,
    /// The router.
    pub via: IpAddr,
    /// The interface to it; `None` when the router's network tells.
    pub wire: Option<WireId>,
    /// VLAN of the link to it; `None` when the router's network tells.
    pub vlan: Option<u16>,
}

/// What is stated and cannot be. Which entry of the slice it is leads to the line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatedError {
    /// An address.
    Address(usize, StatedAddress, AddressProblem),
    /// A route.
    Route(usize, StatedRoute, RouteProblem),
}

/// What is wrong with a stated address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressProblem {
    /// An interface of the kernel, named here, has it.
    OfKernel(String),
    /// An entry before this one states it.
    Twice,
    /// Unspecified, loopback, multicast or broadcast.
    NotUnicast,
}

/// What is wrong with a stated route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteProblem {
    /// The router is of the other family than the destinations.
    MixedFamilies,
    /// The router's address is an own one.
    ViaSelf,
    /// No stated address has a network with the router in it, there where the route says.
    NoNetwork,
    /// A link-local router is on every link.
    NoInterface,
}

/// The forwarding table, and where its links are in the kernel.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Links, addresses and routes.
    pub fib: Fib,
    /// By [`LinkId`]; `None` for a VLAN that the kernel does not have.
    interfaces: Vec<Option<u32>>,
}

impl Snapshot {
    /// The kernel's interface for a link: where [`Origin::Kernel`] next hops are resolved.
    pub fn interface_of(&self, link: LinkId) -> Option<u32> {
        self.interfaces[usize::from(link.0)]
    }

    /// The link that an interface of the kernel is, if it is one of ours.
    pub fn link_of(&self, interface: u32) -> Option<LinkId> {
        link_of(&self.interfaces, interface)
    }
}

/// Puts a snapshot together.
///
/// What is stated wins over what the kernel has: of routes with equal prefix and metric the table keeps the first,
/// and a kernel's metric is at best equal.
pub(super) fn build(
    interfaces: &[Interface],
    addresses: &[KernelAddress],
    routes: &[KernelRoute],
    wires: &[Wire],
    stated_addresses: &[StatedAddress],
    stated_routes: &[StatedRoute],
) -> Result<Snapshot, StatedError> {
    check_addresses(stated_addresses, addresses, interfaces)?;
    let mut draft = Draft::default();
    for wire in wires {
        draft.add_wire(wire, interfaces);
    }
    for wire in wires {
        draft.add_kernel_vlans(wire, interfaces);
    }
    for address in addresses {
        draft.add_kernel_address(address);
    }
    for stated in stated_addresses {
        draft.add_stated_address(stated, wires);
    }
    for address in addresses {
        draft.add_address_elsewhere(address);
    }
    for (index, stated) in stated_routes.iter().enumerate() {
        draft
            .add_stated_route(stated)
            .map_err(|problem| StatedError::Route(index, *stated, problem))?;
    }
    for route in routes {
        draft.add_kernel_route(route);
    }
    let Draft { links, interfaces, addresses, routes } = draft;
    Ok(Snapshot { fib: Fib::new(links, addresses, routes), interfaces })
}

fn check_addresses(
    stated: &[StatedAddress],
    addresses: &[KernelAddress],
    interfaces: &[Interface],
) -> Result<(), StatedError> {
    for (index, entry) in stated.iter().enumerate() {
        let ip = entry.net.addr();
        let problem = if !is_unicast(entry.net) {
            Some(AddressProblem::NotUnicast)
        } else if stated[..index].iter().any(|before| before.net.addr() == ip) {
            Some(AddressProblem::Twice)
        } else {
            addresses
                .iter()
                .find(|address| address.net.addr() == ip)
                .map(|address| AddressProblem::OfKernel(name_of(address.interface, interfaces)))
        };
        if let Some(problem) = problem {
            return Err(StatedError::Address(index, *entry, problem));
        }
    }
    Ok(())
}

fn is_unicast(net: IpNet) -> bool {
    let ip = net.addr();
    // The two ends of an IPv4 network are no hosts, unless it is a point-to-point link (RFC 3021).
    let is_end = match net {
        IpNet::V4(v4) => v4.prefix_len() < 31 && (ip == net.network() || ip == net.broadcast()),
        IpNet::V6(_) => false,
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_end)
}

fn name_of(index: u32, interfaces: &[Interface]) -> String {
    let interface = interfaces.iter().find(|interface| interface.index == index);
    interface.map_or_else(|| format!("number {index}"), |interface| interface.name.clone())
}

fn link_of(interfaces: &[Option<u32>], interface: u32) -> Option<LinkId> {
    let index = interfaces.iter().position(|&known| known == Some(interface))?;
    Some(LinkId(index as u16))
}

#[derive(Default)]
struct Draft {
    links: Vec<Link>,
    interfaces: Vec<Option<u32>>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl Draft {
    fn add_wire(&mut self, wire: &Wire, interfaces: &[Interface]) {
        let interface = interfaces.iter().find(|interface| interface.index == wire.index);
        let link = Link {
            wire: wire.id,
            vlan: None,
            mac: interface.and_then(|interface| interface.mac).unwrap_or(wire.mac),
            mtu: interface.map_or(wire.mtu, |interface| lower_mtu(wire.mtu, interface.mtu)),
            partial_checksums: wire.partial_checksums,
        };
        self.add_link(link, Some(wire.index));
    }

    fn add_kernel_vlans(&mut self, wire: &Wire, interfaces: &[Interface]) {
        for interface in interfaces {
            let Some(vlan) = interface.vlan.filter(|vlan| vlan.lower == wire.index) else {
                continue;
            };
            let link = Link {
                wire: wire.id,
                vlan: Some(vlan.id),
                mac: interface.mac.unwrap_or(wire.mac),
                mtu: lower_mtu(wire.mtu, interface.mtu),
                partial_checksums: wire.partial_checksums,
            };
            self.add_link(link, Some(interface.index));
        }
    }

    fn add_link(&mut self, link: Link, interface: Option<u32>) -> LinkId {
        self.links.push(link);
        self.interfaces.push(interface);
        LinkId((self.links.len() - 1) as u16)
    }

    fn add_kernel_address(&mut self, address: &KernelAddress) {
        if let Some(link) = link_of(&self.interfaces, address.interface) {
            let net = address.net;
            self.addresses.push(Address { link, net, ownership: Ownership::Shared });
        }
    }

    /// An address of another interface: a VIP on `lo` or on a dummy is routed here and reached through ours.
    /// It stands behind all others and has no network, so that it is nobody's source by itself.
    fn add_address_elsewhere(&mut self, address: &KernelAddress) {
        let ip = address.net.addr();
        let is_known = self.addresses.iter().any(|own| own.net.addr() == ip);
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if is_known || is_link_local || ip.is_loopback() || self.links.is_empty() {
            return;
        }
        let net = IpNet::from(ip);
        self.addresses.push(Address { link: LinkId(0), net, ownership: Ownership::Shared });
    }

    fn add_stated_address(&mut self, stated: &StatedAddress, wires: &[Wire]) {
        let link = self.stated_link(stated, wires);
        let net = stated.net;
        self.addresses.push(Address { link, net, ownership: Ownership::Sole });
        if net.prefix_len() == net.max_prefix_len() {
            // An address alone: it has no network to reach.
            return;
        }
        self.routes.push(Route {
            prefix: net.trunc(),
            link,
            gateway: None,
            // Neighbours are asked on behalf of this address: their answers to a shared one go to the kernel.
            source: Some(net.addr()),
            metric: 0,
            origin: Origin::Stated,
        });
    }

    fn stated_link(&mut self, stated: &StatedAddress, wires: &[Wire]) -> LinkId {
        let same = |link: &Link| link.wire == stated.wire && link.vlan == stated.vlan;
        if let Some(index) = self.links.iter().position(same) {
            return LinkId(index as u16);
        }
        let untagged =
            self.links.iter().find(|link| link.wire == stated.wire && link.vlan.is_none());
        let Some(untagged) = untagged else {
            panic!("{stated:?} on none of the wires {wires:?}");
        };
        let link = Link { vlan: stated.vlan, ..untagged.clone() };
        self.add_link(link, None)
    }

    fn add_stated_route(&mut self, stated: &StatedRoute) -> Result<(), RouteProblem> {
        if stated.prefix.addr().is_ipv4() != stated.via.is_ipv4() {
            return Err(RouteProblem::MixedFamilies);
        }
        if self.addresses.iter().any(|address| address.net.addr() == stated.via) {
            return Err(RouteProblem::ViaSelf);
        }
        let near = self.address_near(stated)?;
        let (link, source) = (near.link, near.net.addr());
        self.routes.push(Route {
            prefix: stated.prefix.trunc(),
            link,
            gateway: Some(stated.via),
            source: Some(source),
            metric: 0,
            origin: Origin::Stated,
        });
        Ok(())
    }

    /// The stated address from which the router is reached.
    fn address_near(&self, stated: &StatedRoute) -> Result<&Address, RouteProblem> {
        let mut candidates = self.addresses.iter().filter(|address| {
            let link = &self.links[usize::from(address.link.0)];
            address.ownership == Ownership::Sole
                && address.net.addr().is_ipv4() == stated.via.is_ipv4()
                && stated.wire.is_none_or(|wire| wire == link.wire)
                && (stated.vlan.is_none() || stated.vlan == link.vlan)
        });
        if !is_link_local(stated.via) {
            return candidates
                .find(|address| address.net.contains(&stated.via))
                .ok_or(RouteProblem::NoNetwork);
        }
        // Which link a link-local router is on, only the statement can tell.
        let first = candidates.next().ok_or(RouteProblem::NoNetwork)?;
        if candidates.all(|address| address.link == first.link) {
            Ok(first)
        } else {
            Err(RouteProblem::NoInterface)
        }
    }

    /// Routes over other interfaces are left out; of several next hops the first over ours counts.
    fn add_kernel_route(&mut self, route: &KernelRoute) {
        let hop = route
            .hops
            .iter()
            .find_map(|hop| Some((link_of(&self.interfaces, hop.interface)?, hop.gateway)));
        let Some((link, gateway)) = hop else { return };
        // The kernel may prefer an address of an interface that is not ours (a loopback one, say).
        let is_own = |ip: &IpAddr| self.addresses.iter().any(|address| address.net.addr() == *ip);
        self.routes.push(Route {
            prefix: route.prefix.trunc(),
            link,
            gateway,
            source: route.source.filter(is_own),
            metric: route.metric,
            origin: Origin::Kernel,
        });
    }
}

fn lower_mtu(wire: u16, kernel: u32) -> u16 {
    u16::try_from(kernel).map_or(wire, |kernel| kernel.min(wire))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

impl fmt::Display for StatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatedError::Address(_, stated, problem) => {
                let ip = stated.net.addr();
                match problem {
                    AddressProblem::OfKernel(name) => write!(
                        f,
                        "address {ip} is stated here, but the kernel has it on interface {name}: remove this line \
                         to share it with the kernel, or remove it from the interface to own it alone."
                    ),
                    AddressProblem::Twice => write!(f, "address {ip} is stated more than once."),
                    AddressProblem::NotUnicast => write!(
                        f,
                        "{} cannot be the address of a host: it is unspecified, loopback, multicast, or an end of \
                         its own network.",
                        stated.net
                    ),
                }
            }
            StatedError::Route(_, StatedRoute { prefix, via, .. }, problem) => match problem {
                RouteProblem::MixedFamilies => write!(
                    f,
                    "route {prefix} goes via {via}, which is of another address family: destinations and router \
                     must both be IPv4 or both IPv6."
                ),
                RouteProblem::ViaSelf => write!(
                    f,
                    "route {prefix} goes via {via}, which is an address of this host: name the router's address."
                ),
                RouteProblem::NoNetwork => write!(
                    f,
                    "route {prefix} goes via {via}, which is on no stated network: state an address with a prefix \
                     that covers {via} on the interface and VLAN of this route."
                ),
                RouteProblem::NoInterface => write!(
                    f,
                    "route {prefix} goes via {via}, which is link-local, and addresses are stated on several links: \
                     say which with 'interface' and 'vlan'."
                ),
            },
        }
    }
}

impl std::error::Error for StatedError {}

#[cfg(test)]
mod tests {
    use super::super::records::{Hop, Vlan};
    use super::*;

    const WIRE: WireId = WireId(0);
    const OTHER_PORT: WireId = WireId(1);

    /// eth0 (7, ours) with VLAN 100 on it (9), eth1 (8, ours), eth2 (3, not ours).
    #[derive(Clone, Default)]
    struct Kernel {
        addresses: Vec<KernelAddress>,
        routes: Vec<KernelRoute>,
        stated_addresses: Vec<StatedAddress>,
        stated_routes: Vec<StatedRoute>,
    }

    impl Kernel {
        fn address(mut self, interface: u32, net: &str) -> Self {
            self.addresses.push(KernelAddress { interface, net: net.parse().unwrap() });
            self
        }

        fn route(self, prefix: &str, metric: u32, hops: &[(u32, Option<&str>)]) -> Self {
            self.route_from(prefix, None, metric, hops)
        }

        fn route_from(
            mut self,
            prefix: &str,
            source: Option<&str>,
            metric: u32,
            hops: &[(u32, Option<&str>)],
        ) -> Self {
            let hops = hops
                .iter()
                .map(|&(interface, gateway)| Hop { interface, gateway: gateway.map(ip) });
            self.routes.push(KernelRoute {
                prefix: prefix.parse().unwrap(),
                source: source.map(ip),
                metric,
                hops: hops.collect(),
            });
            self
        }

        fn state(mut self, net: &str, wire: WireId, vlan: Option<u16>) -> Self {
            self.stated_addresses.push(StatedAddress { net: net.parse().unwrap(), wire, vlan });
            self
        }

        fn state_route(mut self, prefix: &str, via: &str) -> Self {
            let prefix = prefix.parse().unwrap();
            self.stated_routes.push(StatedRoute { prefix, via: ip(via), wire: None, vlan: None });
            self
        }

        fn try_build(&self) -> Result<Snapshot, StatedError> {
            build(
                &[
                    interface(3, None),
                    interface(9, Some(Vlan { lower: 7, id: 100 })),
                    interface(7, None),
                    interface(8, None),
                    interface(10, Some(Vlan { lower: 3, id: 200 })),
                ],
                &self.addresses,
                &self.routes,
                &[wire(7, WIRE), wire(8, OTHER_PORT)],
                &self.stated_addresses,
                &self.stated_routes,
            )
        }

        fn build(&self) -> Snapshot {
            self.try_build().unwrap()
        }

        /// The sentence that the operator reads.
        fn complaint(&self) -> String {
            self.try_build().unwrap_err().to_string()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn mac(index: u32) -> [u8; 6] {
        [2, 0, 0, 0, 0, index as u8]
    }

    fn interface(index: u32, vlan: Option<Vlan>) -> Interface {
        let name = format!("if{index}");
        Interface { index, name, mac: Some(mac(index)), mtu: 1500, up: true, vlan }
    }

    fn wire(index: u32, wire: WireId) -> Wire {
        Wire { index, id: wire, mac: [0xee; 6], mtu: 3498, partial_checksums: index == 7 }
    }

    #[test]
    fn links_are_the_ports_and_the_vlans_on_them() {
        let snapshot = Kernel::default().build();
        let links: Vec<_> =
            snapshot.fib.links().iter().map(|link| (link.wire, link.vlan, link.mac)).collect();
        let expected =
            [(WIRE, None, mac(7)), (OTHER_PORT, None, mac(8)), (WIRE, Some(100), mac(9))];
        assert_eq!(links, expected);
        assert_eq!(snapshot.interface_of(LinkId(2)), Some(9));
        assert_eq!(snapshot.link_of(9), Some(LinkId(2)));
        assert_eq!((snapshot.link_of(3), snapshot.link_of(10)), (None, None));
        let partial: Vec<_> = snapshot.fib.links().iter().map(|l| l.partial_checksums).collect();
        assert_eq!(partial, [true, false, true]);
    }

    #[test]
    fn the_lower_mtu_counts() {
        let mtu_of = |kernel| {
            let interface = Interface { mtu: kernel, ..interface(7, None) };
            let snapshot = build(&[interface], &[], &[], &[wire(7, WIRE)], &[], &[]).unwrap();
            snapshot.fib.links()[0].mtu
        };
        assert_eq!((mtu_of(1400), mtu_of(9000), mtu_of(65_536)), (1400, 3498, 3498));
    }

    #[test]
    fn a_port_that_the_kernel_has_lost_stays_as_it_was_given() {
        let snapshot = build(&[], &[], &[], &[wire(7, WIRE)], &[], &[]).unwrap();
        assert_eq!((snapshot.fib.links()[0].mac, snapshot.fib.links()[0].mtu), ([0xee; 6], 3498));
    }

    #[test]
    fn addresses_of_the_kernel_are_shared() {
        let kernel = Kernel::default()
            .address(7, "10.0.0.1/24")
            .address(3, "10.9.0.1/24")
            .address(9, "10.1.0.1/24");
        let fib = kernel.build().fib;
        let shared = |link, net: &str| Address {
            link: LinkId(link),
            net: net.parse().unwrap(),
            ownership: Ownership::Shared,
        };
        let elsewhere = shared(0, "10.9.0.1/32");
        assert_eq!(
            fib.addresses(),
            [shared(0, "10.0.0.1/24"), shared(2, "10.1.0.1/24"), elsewhere],
            "an address of another interface, as a VIP on lo, is reached through the first of ours"
        );
    }

    #[test]
    fn kernel_routes() {
        let kernel = Kernel::default()
            .address(7, "10.0.0.1/24")
            .route_from("10.0.0.0/24", Some("10.0.0.1"), 0, &[(7, None)])
            .route("0.0.0.0/0", 100, &[(7, Some("10.0.0.254"))])
            .route("10.9.0.0/24", 0, &[(3, None)]);
        let fib = kernel.build().fib;
        let near = fib.lookup(ip("10.0.0.77")).unwrap();
        assert_eq!((near.link, near.address), (LinkId(0), ip("10.0.0.77")));
        let far = fib.lookup(ip("192.0.2.1")).unwrap();
        assert_eq!((far.address, far.origin), (ip("10.0.0.254"), Origin::Kernel));
        assert_eq!(fib.source_for(ip("192.0.2.1")), Some(ip("10.0.0.1")));
        // The interface that leads there is not ours; what is left is the default.
        assert_eq!(fib.lookup(ip("10.9.0.1")).unwrap().address, ip("10.0.0.254"));
    }

    #[test]
    fn of_several_next_hops_the_first_over_our_interfaces() {
        let hops = [(3, Some("10.9.0.1")), (8, Some("10.2.0.1")), (7, Some("10.0.0.254"))];
        let fib = Kernel::default().route("0.0.0.0/0", 0, &hops).build().fib;
        let hop = fib.lookup(ip("192.0.2.1")).unwrap();
        assert_eq!((hop.link, hop.address), (LinkId(1), ip("10.2.0.1")));
    }

    #[test]
    fn a_preferred_source_that_nobody_has_is_not_used() {
        let kernel = Kernel::default().address(7, "10.0.0.1/24").address(3, "10.9.0.1/24");
        let hops = [(7, Some("10.0.0.254"))];
        let source_of = |preferred| {
            let kernel = kernel.clone().route_from("0.0.0.0/0", Some(preferred), 0, &hops);
            kernel.build().fib.source_for(ip("192.0.2.1"))
        };
        assert_eq!(source_of("10.9.9.9"), Some(ip("10.0.0.1")));
        assert_eq!(source_of("10.9.0.1"), Some(ip("10.9.0.1")), "a VIP on lo may be the source");
    }

    #[test]
    fn a_stated_address_brings_its_network() {
        let fib = Kernel::default().state("10.5.0.5/24", WIRE, None).build().fib;
        let address = fib.address(ip("10.5.0.5")).unwrap();
        assert_eq!((address.link, address.ownership), (LinkId(0), Ownership::Sole));
        let hop = fib.lookup(ip("10.5.0.77")).unwrap();
        assert_eq!((hop.address, hop.origin), (ip("10.5.0.77"), Origin::Stated));
        assert_eq!(fib.source_for(ip("10.5.0.77")), Some(ip("10.5.0.5")));
    }

    #[test]
    fn a_stated_address_alone_brings_no_network() {
        let fib = Kernel::default().state("10.5.0.5/32", WIRE, None).build().fib;
        assert!(fib.address(ip("10.5.0.5")).is_some());
        assert_eq!(fib.route(ip("10.5.0.5")), None);
    }

    #[test]
    fn a_stated_vlan_makes_a_link_where_the_kernel_has_none() {
        let kernel = Kernel::default()
            .state("10.1.0.5/24", WIRE, Some(100))
            .state("10.3.0.5/24", OTHER_PORT, Some(300))
            .state("2001:db8:3::5/64", OTHER_PORT, Some(300));
        let snapshot = kernel.build();
        let link_of = |text| snapshot.fib.address(ip(text)).unwrap().link;
        assert_eq!(link_of("10.1.0.5"), LinkId(2));
        assert_eq!((link_of("10.3.0.5"), link_of("2001:db8:3::5")), (LinkId(3), LinkId(3)));
        let expected = Link {
            wire: OTHER_PORT,
            vlan: Some(300),
            mac: mac(8),
            mtu: 1500,
            partial_checksums: false,
        };
        assert_eq!(*snapshot.fib.link(LinkId(3)), expected);
        assert_eq!(snapshot.interface_of(LinkId(3)), None);
    }

    #[test]
    fn what_is_stated_wins() {
        let kernel = Kernel::default()
            .address(7, "10.0.0.1/24")
            .route_from("10.0.0.0/24", Some("10.0.0.1"), 0, &[(7, None)])
            .route("0.0.0.0/0", 0, &[(7, Some("10.0.0.253"))])
            .state("10.0.0.5/24", WIRE, None)
            .state_route("0.0.0.0/0", "10.0.0.254");
        let fib = kernel.build().fib;
        assert_eq!(fib.lookup(ip("10.0.0.77")).unwrap().origin, Origin::Stated);
        assert_eq!(fib.source_for(ip("10.0.0.77")), Some(ip("10.0.0.5")));
        let far = fib.lookup(ip("192.0.2.1")).unwrap();
        assert_eq!((far.address, far.origin), (ip("10.0.0.254"), Origin::Stated));
        assert_eq!(fib.source_for(ip("192.0.2.1")), Some(ip("10.0.0.5")));
    }

    #[test]
    fn a_stated_route_goes_where_its_router_is() {
        let kernel = Kernel::default()
            .state("10.0.0.5/24", WIRE, None)
            .state("10.3.0.5/24", OTHER_PORT, Some(300))
            .state_route("10.8.0.0/16", "10.3.0.1");
        let fib = kernel.build().fib;
        assert_eq!(fib.lookup(ip("10.8.1.1")).unwrap().link, LinkId(3));
        assert_eq!(fib.source_for(ip("10.8.1.1")), Some(ip("10.3.0.5")));
    }

    #[test]
    fn a_link_local_router() {
        let mut kernel =
            Kernel::default().state("2001:db8::5/64", WIRE, None).state_route("::/0", "fe80::1");
        let hop = kernel.build().fib.lookup(ip("2001:db8:9::1")).unwrap();
        assert_eq!((hop.link, hop.address), (LinkId(0), ip("fe80::1")));

        kernel = kernel.state("2001:db8:3::5/64", OTHER_PORT, Some(300));
        assert!(
            kernel.complaint().contains("say which with 'interface'"),
            "{}",
            kernel.complaint()
        );
        kernel.stated_routes[0].vlan = Some(300);
        assert_eq!(kernel.build().fib.lookup(ip("2001:db8:9::1")).unwrap().link, LinkId(3));
        kernel.stated_routes[0].vlan = None;
        kernel.stated_routes[0].wire = Some(WIRE);
        assert_eq!(kernel.build().fib.lookup(ip("2001:db8:9::1")).unwrap().link, LinkId(0));
    }

    #[test]
    fn a_stated_address_that_the_kernel_has() {
        let kernel = Kernel::default()
            .address(3, "10.9.0.1/24")
            .state("10.0.0.5/24", WIRE, None)
            .state("10.9.0.1/32", WIRE, None);
        assert!(matches!(kernel.try_build(), Err(StatedError::Address(1, ..))));
        let complaint = kernel.complaint();
        assert!(complaint.contains("10.9.0.1") && complaint.contains("if3"), "{complaint}");
    }

    #[test]
    fn a_stated_address_that_cannot_be() {
        for net in
            ["10.0.0.0/24", "10.0.0.255/24", "127.0.0.1/8", "224.0.0.5/24", "ff02::1/64", "::/0"]
        {
            let kernel = Kernel::default().state(net, WIRE, None);
            assert!(kernel.complaint().contains("cannot be the address of a host"), "{net}");
        }
        for net in ["10.0.0.0/31", "10.0.0.0/32", "2001:db8::/64"] {
            assert!(Kernel::default().state(net, WIRE, None).try_build().is_ok(), "{net}");
        }
        let twice =
            Kernel::default().state("10.0.0.5/24", WIRE, None).state("10.0.0.5/16", WIRE, None);
        assert!(twice.complaint().contains("more than once"));
    }

    #[test]
    fn a_stated_route_that_cannot_be() {
        let stated =
            || Kernel::default().address(7, "10.1.0.1/24").state("10.0.0.5/24", WIRE, None);
        for (prefix, via, expected) in [
            ("0.0.0.0/0", "10.1.0.254", "which is on no stated network"),
            ("0.0.0.0/0", "10.0.0.5", "which is an address of this host"),
            ("0.0.0.0/0", "10.1.0.1", "which is an address of this host"),
            ("::/0", "10.0.0.254", "another address family"),
            ("::/0", "fe80::1", "which is on no stated network"),
        ] {
            let kernel = stated().state_route(prefix, via);
            assert!(matches!(kernel.try_build(), Err(StatedError::Route(0, ..))));
            assert!(kernel.complaint().contains(expected), "{via}: {}", kernel.complaint());
        }
        let mut elsewhere = stated().state_route("0.0.0.0/0", "10.0.0.254");
        assert!(elsewhere.try_build().is_ok());
        elsewhere.stated_routes[0].wire = Some(OTHER_PORT);
        assert!(elsewhere.complaint().contains("which is on no stated network"));
    }

    #[test]
    #[should_panic(expected = "on none of the wires")]
    fn a_stated_address_on_an_unknown_port_is_our_mistake() {
        let _ = Kernel::default().state("10.0.0.5/24", WireId(9), None).try_build();
    }
}
