//! What the kernel knows of interfaces, addresses, routes and neighbours, kept fresh; and asking it for neighbours.
//!
//! In:    rtnetlink announcements, on a descriptor that the control thread polls
//! Out:   forwarding tables, neighbour updates
//! Owns:  a copy of the kernel's tables
//! Never: changes an interface, an address or a route; blocks; sees a packet
//! Read:  `man 7 rtnetlink`; Linux `net/core/neighbour.c` (`neigh_add`, `__neigh_update`)

mod records;
mod snapshot;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use netlink_packet_core::{NLM_F_CREATE, NetlinkPayload};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netstack::fib::WireId;

pub use self::records::{Interface, Vlan};
use self::records::{KernelAddress, KernelNeighbor, KernelRoute, Nud};
pub use self::snapshot::{
    AddressProblem, RouteProblem, Snapshot, StatedAddress, StatedError, StatedRoute, Wire,
};
use self::socket::{Announced, Announcements, Message, Requests};

/// A copy of the kernel's tables.
///
/// Announcements about interfaces, addresses and routes are a bell, not a feed: they make us read these tables
/// again. As a feed they would mislead: an IPv4 route that goes with its interface goes without a word, and a route
/// announced as deleted may be one next hop of several. Neighbours are a feed, since each announcement names one
/// entry whole; and where the kernel had to drop announcements, everything is read again.
///
/// The kernel does not see packets that xlb sends, so it takes neighbours that xlb uses for unused: they become
/// STALE and may be collected. [`KernelTables::resolve`], now and then for each one in use, keeps them.
pub struct KernelTables {
    announcements: Announcements,
    requests: Requests,
    tables: Tables,
    /// The usable ones, by interface and address.
    neighbors: BTreeMap<(u32, IpAddr), Neighbor>,
    heard: Heard,
}

#[derive(PartialEq)]
struct Tables {
    interfaces: Vec<Interface>,
    addresses: Vec<KernelAddress>,
    routes: Vec<KernelRoute>,
}

#[derive(Clone, Copy)]
struct Neighbor {
    mac: [u8; 6],
    /// Nobody probes it.
    fixed: bool,
}

/// What was announced and not handed out yet.
#[derive(Default)]
struct Heard {
    /// Our copy of interfaces, addresses and routes may be old.
    tables: bool,
    /// It was, and has been read again.
    changed: bool,
    /// Announcements were dropped.
    lost: bool,
    neighbors: Vec<NeighborUpdate>,
}

/// What [`KernelTables::handle_readable`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces, addresses or routes are no longer the same: time for another [`KernelTables::snapshot`].
    pub tables: bool,
    /// Neighbours, in the order of events.
    pub neighbors: Vec<NeighborUpdate>,
}

/// News of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborUpdate {
    /// The kernel's index of the interface it is on; [`Snapshot::link_of`] tells the link.
    pub interface: u32,
    /// Its address.
    pub ip: IpAddr,
    /// What is known of it.
    pub state: NeighborState,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Send to this link-layer address.
    Reachable([u8; 6]),
    /// The kernel has asked in vain, or has forgotten it.
    Gone,
}

impl KernelTables {
    /// Reads all tables of the namespace that the calling thread is in, and listens from then on.
    pub fn open() -> io::Result<Self> {
        // Listening before reading: a change in between is then heard of, if twice.
        let announcements = Announcements::open(&GROUPS)?;
        let mut requests = Requests::open()?;
        let tables = Tables::read(&mut requests)?;
        let mut kernel = KernelTables {
            announcements,
            requests,
            tables,
            neighbors: BTreeMap::new(),
            heard: Heard::default(),
        };
        kernel.read_neighbors()?;
        kernel.heard = Heard::default();
        Ok(kernel)
    }

    /// The descriptor that becomes readable when there is something for [`KernelTables::handle_readable`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.announcements.fd()
    }

    /// Takes in what the kernel announced. Never blocks.
    ///
    /// After an error, call it again, readable or not: what was announced is not forgotten.
    pub fn handle_readable(&mut self) -> io::Result<Changes> {
        self.hear()?;
        if self.heard.tables || self.heard.lost {
            let tables = Tables::read(&mut self.requests)?;
            self.heard.changed |= tables != self.tables;
            self.tables = tables;
            self.heard.tables = false;
        }
        if self.heard.lost {
            self.read_neighbors()?;
            self.heard.lost = false;
        }
        let Heard { changed, neighbors, .. } = std::mem::take(&mut self.heard);
        Ok(Changes { tables: changed, neighbors })
    }

    fn hear(&mut self) -> io::Result<()> {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.announcements.read()? {
                Announced::Datagram(datagram) => {
                    for message in socket::split(&datagram) {
                        self.hear_message(&message);
                    }
                }
                Announced::Lost => self.heard.lost = true,
                Announced::Empty => break,
            }
        }
        Ok(())
    }

    fn hear_message(&mut self, message: &Message<'_>) {
        if !NEIGHBOR_MESSAGES.contains(&message.kind) {
            self.heard.tables = true;
            return;
        }
        if let Some(NetlinkPayload::InnerMessage(message)) = message.decode()
            && let Some(neighbor) = records::neighbor(&message)
        {
            self.learn(&neighbor);
        }
    }

    /// Reads the neighbour table and hears of all that differs from ours.
    fn read_neighbors(&mut self) -> io::Result<()> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let neighbors = self.requests.dump(&request, records::neighbor)?;
        let present: BTreeSet<_> = neighbors.iter().map(|n| (n.interface, n.ip)).collect();
        let absent: Vec<_> =
            self.neighbors.keys().filter(|key| !present.contains(key)).copied().collect();
        for (interface, ip) in absent {
            self.learn(&KernelNeighbor { interface, ip, state: Nud::Gone });
        }
        for neighbor in &neighbors {
            self.learn(neighbor);
        }
        Ok(())
    }

    fn learn(&mut self, neighbor: &KernelNeighbor) {
        let &KernelNeighbor { interface, ip, state } = neighbor;
        let key = (interface, ip);
        let update = match state {
            Nud::Usable(mac) | Nud::Fixed(mac) => {
                let fixed = matches!(state, Nud::Fixed(_));
                let before = self.neighbors.insert(key, Neighbor { mac, fixed });
                before.is_none_or(|b| b.mac != mac).then_some(NeighborState::Reachable(mac))
            }
            Nud::Unknown => self.neighbors.remove(&key).map(|_| NeighborState::Gone),
            Nud::Gone => {
                // Said even of one that was not known: somebody may wait for the answer.
                self.neighbors.remove(&key);
                Some(NeighborState::Gone)
            }
        };
        self.heard.neighbors.extend(update.map(|state| NeighborUpdate { interface, ip, state }));
    }

    /// The forwarding table of `wires`: what the kernel has on them and on VLANs over them, and what is stated.
    ///
    /// Links are numbered in the order of the wires, then VLANs; so a [`netstack::fib::LinkId`] is good for one
    /// snapshot only.
    pub fn snapshot(
        &self,
        wires: &[Wire],
        stated_addresses: &[StatedAddress],
        stated_routes: &[StatedRoute],
    ) -> Result<Snapshot, StatedError> {
        let Tables { interfaces, addresses, routes } = &self.tables;
        snapshot::build(interfaces, addresses, routes, wires, stated_addresses, stated_routes)
    }

    /// The interface of this name.
    pub fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.tables.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Whether an interface of the kernel has this address, ours or not.
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.tables.addresses.iter().any(|address| address.net.addr() == ip)
    }

    /// The wire whose network holds `ip`.
    pub fn wire_towards(&self, wires: &[Wire], ip: IpAddr) -> Option<WireId> {
        let address = self.tables.addresses.iter().find(|address| {
            address.net.contains(&ip) && wires.iter().any(|wire| wire.index == address.interface)
        })?;
        wires.iter().find(|wire| wire.index == address.interface).map(|wire| wire.id)
    }

    /// Objects that the kernel listed and the decoder did not understand. Such an interface, address or route is
    /// missing from the snapshot.
    pub fn undecoded(&self) -> u64 {
        self.requests.undecoded()
    }

    /// All usable neighbours of all interfaces, as news for somebody who knows none.
    pub fn neighbors(&self) -> impl Iterator<Item = NeighborUpdate> {
        self.neighbors.iter().map(|(&(interface, ip), neighbor)| NeighborUpdate {
            interface,
            ip,
            state: NeighborState::Reachable(neighbor.mac),
        })
    }

    /// Has the kernel find out about a neighbour: an unknown or failed one is asked for on the wire, a stale one is
    /// probed, a reachable one is left alone. News of it comes from [`KernelTables::handle_readable`].
    ///
    /// Returns what is known already, since there is no news of what does not change.
    ///
    /// Over IPv6 the kernel asks only on an interface that has a link-local address, and says nothing if it has none.
    pub fn resolve(&mut self, interface: u32, ip: IpAddr) -> io::Result<Option<NeighborUpdate>> {
        let known = self.neighbors.get(&(interface, ip)).copied();
        // The kernel would take PERMANENT off the entry and ask for it like for any other.
        if !known.is_some_and(|neighbor| neighbor.fixed) {
            self.requests.command(use_neighbor(interface, ip), NLM_F_CREATE)?;
        }
        Ok(known.map(|neighbor| NeighborUpdate {
            interface,
            ip,
            state: NeighborState::Reachable(neighbor.mac),
        }))
    }
}

impl Tables {
    fn read(requests: &mut Requests) -> io::Result<Self> {
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let routes = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        Ok(Tables {
            interfaces: requests.dump(&links, records::interface)?,
            addresses: requests.dump(&addresses, records::address)?,
            routes: requests.dump(&routes, records::route)?,
        })
    }
}

/// `ip neighbour add IP dev INTERFACE use`: acts as if a packet had been sent there.
fn use_neighbor(interface: u32, ip: IpAddr) -> RouteNetlinkMessage {
    let (family, destination) = match ip {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = interface;
    message.header.flags = NeighbourFlags::Use;
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    RouteNetlinkMessage::NewNeighbour(message)
}

/// RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, NEXTHOP (routes that share a next hop
/// object change with it).
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 32];

/// RTM_NEWNEIGH, RTM_DELNEIGH.
const NEIGHBOR_MESSAGES: [u16; 2] = [28, 29];

/// Beyond that the control thread has other work first; the descriptor stays readable.
const DATAGRAMS_PER_TURN: usize = 4096;
