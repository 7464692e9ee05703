//! Where a packet goes: links, addresses, routes. A snapshot, replaced whole when something changes.
//!
//! In:    what the kernel has (read by netlink) and what the configuration states
//! Out:   for a destination: link, next hop, source address
//! Owns:  the forwarding table
//! Never: knows link-layer addresses of neighbours (see `neighbor`), talks to the kernel
//! Read:  RFC 1812, section 5.2.4 (longest match); RFC 6724 only as far as "same link, same family"

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// A wire of the worker: the index of an interface in the order they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireId(pub u8);

/// An index into [`Fib::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u16);

/// A link: an interface, or a VLAN on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The wire that carries it.
    pub wire: WireId,
    /// IEEE 802.1Q VLAN identifier, when frames on this link are tagged.
    pub vlan: Option<u16>,
    /// Own link-layer address.
    pub mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Local peers may hand over frames whose TCP checksum is still only the pseudo-header's sum
    /// (CHECKSUM_PARTIAL on veth and virtio).
    pub partial_checksums: bool,
}

/// Who answers for an address on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The kernel has it too: the kernel answers ARP and neighbour discovery, xlb only takes ports.
    Shared,
    /// No interface has it: xlb answers for it.
    Sole,
}

/// An own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where it is.
    pub link: LinkId,
    /// The address with the prefix of its network.
    pub net: IpNet,
    /// Who answers for it.
    pub ownership: Ownership,
}

/// Who resolves the next hops of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A route of the kernel: its neighbour table is read by netlink.
    Kernel,
    /// A route or a network stated in the configuration: resolved by ARP and neighbour discovery of our own.
    Stated,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations it covers.
    pub prefix: IpNet,
    /// Where they are reached.
    pub link: LinkId,
    /// The router, or none when the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel prefers for it.
    pub source: Option<IpAddr>,
    /// Lower is better among routes of the same prefix.
    pub metric: u32,
    /// Who resolves its next hops.
    pub origin: Origin,
}

/// The forwarding table of all workers: links, own addresses and routes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    links: Vec<Link>,
    addresses: Vec<Address>,
    /// Where in `addresses` each is: asked for with every SYN.
    address_index: HashMap<IpAddr, usize>,
    routes_v4: PrefixMap<Ipv4Net, Route>,
    routes_v6: PrefixMap<Ipv6Net, Route>,
}

/// What [`Fib::lookup`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The link to send on.
    pub link: LinkId,
    /// The neighbour to send to: the router, or the destination itself.
    pub address: IpAddr,
    /// Who resolves it.
    pub origin: Origin,
}

impl Fib {
    /// A table of these links, addresses and routes. Of routes with one prefix the lowest metric stays.
    pub fn new(links: Vec<Link>, addresses: Vec<Address>, routes: Vec<Route>) -> Self {
        // Of two records of one address the first counts.
        let by_ip = addresses.iter().enumerate().rev().map(|(at, own)| (own.net.addr(), at));
        let address_index = by_ip.collect();
        let mut fib = Fib { links, addresses, address_index, ..Default::default() };
        for route in routes {
            fib.insert(route);
        }
        fib
    }

    fn insert(&mut self, route: Route) {
        assert!(
            usize::from(route.link.0) < self.links.len(),
            "route on an unknown link: {route:?}"
        );
        match route.prefix {
            IpNet::V4(prefix) => {
                if self.routes_v4.get(&prefix).is_none_or(|old| old.metric > route.metric) {
                    self.routes_v4.insert(prefix, route);
                }
            }
            IpNet::V6(prefix) => {
                if self.routes_v6.get(&prefix).is_none_or(|old| old.metric > route.metric) {
                    self.routes_v6.insert(prefix, route);
                }
            }
        }
    }

    /// All links; a [`LinkId`] is an index into them.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The link of an identifier.
    pub fn link(&self, id: LinkId) -> &Link {
        &self.links[usize::from(id.0)]
    }

    /// The link that frames of this wire and VLAN belong to.
    pub fn link_of(&self, wire: WireId, vlan: Option<u16>) -> Option<LinkId> {
        // A handful of links: a scan is cheaper than a table.
        let index = self.links.iter().position(|link| link.wire == wire && link.vlan == vlan)?;
        Some(LinkId(index as u16))
    }

    /// All own addresses.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The own address record of `ip`.
    pub fn address(&self, ip: IpAddr) -> Option<&Address> {
        self.address_index.get(&ip).map(|&at| &self.addresses[at])
    }

    /// All routes, in no order that means anything.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes_v4.values().chain(self.routes_v6.values())
    }

    /// Longest match, or `None` when no route covers `destination`.
    pub fn route(&self, destination: IpAddr) -> Option<&Route> {
        match destination {
            IpAddr::V4(ip) => self.routes_v4.get_lpm(&Ipv4Net::from(ip)).map(|(_, route)| route),
            IpAddr::V6(ip) => self.routes_v6.get_lpm(&Ipv6Net::from(ip)).map(|(_, route)| route),
        }
    }

    /// The neighbour to send to for `destination`.
    pub fn lookup(&self, destination: IpAddr) -> Option<NextHop> {
        let route = self.route(destination)?;
        Some(NextHop {
            link: route.link,
            address: route.gateway.unwrap_or(destination),
            origin: route.origin,
        })
    }

    /// The own address to use towards `destination`: the route's preferred one, else one whose network
    /// holds the next hop, else the first of the same family on the link.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let route = self.route(destination)?;
        if let Some(source) = route.source {
            return Some(source);
        }
        let next_hop = route.gateway.unwrap_or(destination);
        let on_link = || {
            self.addresses
                .iter()
                .filter(|a| a.link == route.link && a.net.addr().is_ipv4() == destination.is_ipv4())
        };
        on_link()
            .find(|address| address.net.contains(&next_hop))
            .or_else(|| on_link().find(|address| !is_link_local(address.net.addr())))
            .map(|address| address.net.addr())
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
