//! Which packets are xlb's: the addresses, ports and source ports that the XDP program takes.
//!
//! In:    what the listeners bind, which addresses are whose, which source ports are reserved
//! Out:   the difference between two such sets, as writes to the program's maps, additions first
//! Owns:  the layout of the keys, which bpf/xlb.bpf.c shares
//! Never: talks to the kernel

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Everything that the XDP program of an interface takes from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Own addresses: those that xlb serves on this interface.
    pub addresses: BTreeMap<IpAddr, AddressOwner>,
    /// Bound ports.
    pub listeners: BTreeSet<Listener>,
    /// Ports that xlb's own connections leave from. Packets to them, on an own address, are taken.
    /// An empty range reserves none.
    pub source_ports: RangeInclusive<u16>,
    /// Servers that xlb connects to from addresses of others: what they send to an address that is not ours is
    /// taken, if it is to a source port, or to any port.
    pub servers: BTreeMap<SocketAddr, ReplyPorts>,
}

/// Which ports replies of a server are taken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPorts {
    /// Source ports.
    Reserved,
    /// Any: connections have the ports of clients.
    Any,
}

/// Who answers for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOwner {
    /// The kernel has it on an interface: only what is bound or reserved is taken.
    Shared,
    /// No interface has it: xlb takes everything to it and answers ARP, neighbour discovery and ICMP.
    Sole,
}

/// One bound port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Address, or `None` for every own address of the family.
    pub address: Option<IpAddr>,
    /// Family of a listener without an address; one with an address has the address's family.
    pub ipv6: bool,
    /// TCP port.
    pub port: u16,
}

impl Default for Steering {
    /// Takes nothing.
    fn default() -> Self {
        Self {
            addresses: BTreeMap::new(),
            listeners: BTreeSet::new(),
            source_ports: NO_SOURCE_PORTS,
            servers: BTreeMap::new(),
        }
    }
}

// The empty range is the point: no port is in it.
#[allow(clippy::reversed_empty_ranges)]
const NO_SOURCE_PORTS: RangeInclusive<u16> = 1..=0;

/// Most own addresses of an interface. The map in bpf/xlb.bpf.c holds twice as many: additions come
/// before removals.
pub(crate) const ADDRESSES_MAX: usize = 4096;
/// Most bound ports of an interface. The map in bpf/xlb.bpf.c holds twice as many.
pub(crate) const LISTENERS_MAX: usize = 65536;

/// Key of the map `addresses`: IPv4 as ::ffff:a.b.c.d.
pub(crate) type AddressKey = [u8; 16];
/// Key of the map `listeners`: address (zero for any), port in network order, family, zero.
pub(crate) type ListenerKey = [u8; 20];
/// Value of the map `config`: lowest and highest source port, longest frame, in machine order.
pub(crate) type ConfigValue = [u8; 8];

/// What the maps hold, in the form in which they hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) addresses: BTreeMap<AddressKey, u8>,
    pub(crate) listeners: BTreeSet<ListenerKey>,
    pub(crate) source_ports: (u16, u16),
    pub(crate) servers: BTreeMap<ListenerKey, u8>,
}

/// One write to the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    SetAddress(AddressKey, u8),
    SetSourcePorts(u16, u16),
    AddListener(ListenerKey),
    RemoveListener(ListenerKey),
    SetServer(ListenerKey, u8),
    RemoveServer(ListenerKey),
    RemoveAddress(AddressKey),
}

impl Contents {
    pub(crate) fn of(steering: &Steering) -> Self {
        let addresses = &steering.addresses;
        Self {
            addresses: addresses.iter().map(|(a, o)| (address_key(*a), owner_value(*o))).collect(),
            listeners: steering.listeners.iter().map(listener_key).collect(),
            source_ports: (*steering.source_ports.start(), *steering.source_ports.end()),
            servers: steering
                .servers
                .iter()
                .map(|(s, p)| (server_key(s), reply_value(*p)))
                .collect(),
        }
    }

    /// The writes that lead from here to `new`. Additions come first, so that nothing which is in
    /// both is ever left out; listeners go before the addresses they are on.
    pub(crate) fn diff(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, owner) in &new.addresses {
            if self.addresses.get(address) != Some(owner) {
                changes.push(Change::SetAddress(*address, *owner));
            }
        }
        if self.source_ports != new.source_ports {
            changes.push(Change::SetSourcePorts(new.source_ports.0, new.source_ports.1));
        }
        let (old_listeners, new_listeners) = (&self.listeners, &new.listeners);
        changes.extend(new_listeners.difference(old_listeners).copied().map(Change::AddListener));
        changes
            .extend(old_listeners.difference(new_listeners).copied().map(Change::RemoveListener));
        for (server, ports) in &new.servers {
            if self.servers.get(server) != Some(ports) {
                changes.push(Change::SetServer(*server, *ports));
            }
        }
        let gone = self.servers.keys().filter(|server| !new.servers.contains_key(*server));
        changes.extend(gone.copied().map(Change::RemoveServer));
        let gone = self.addresses.keys().filter(|address| !new.addresses.contains_key(*address));
        changes.extend(gone.copied().map(Change::RemoveAddress));
        changes
    }

    /// Notes a write that was made.
    pub(crate) fn record(&mut self, change: Change) {
        match change {
            Change::SetAddress(address, owner) => {
                self.addresses.insert(address, owner);
            }
            Change::SetSourcePorts(low, high) => self.source_ports = (low, high),
            Change::AddListener(listener) => {
                self.listeners.insert(listener);
            }
            Change::RemoveListener(listener) => {
                self.listeners.remove(&listener);
            }
            Change::SetServer(server, ports) => {
                self.servers.insert(server, ports);
            }
            Change::RemoveServer(server) => {
                self.servers.remove(&server);
            }
            Change::RemoveAddress(address) => {
                self.addresses.remove(&address);
            }
        }
    }
}

pub(crate) fn config_value(low: u16, high: u16, frame_len_max: u32) -> ConfigValue {
    let mut value = [0; 8];
    value[..2].copy_from_slice(&low.to_ne_bytes());
    value[2..4].copy_from_slice(&high.to_ne_bytes());
    value[4..].copy_from_slice(&frame_len_max.to_ne_bytes());
    value
}

fn owner_value(owner: AddressOwner) -> u8 {
    match owner {
        AddressOwner::Shared => 1,
        AddressOwner::Sole => 2,
    }
}

fn server_key(server: &SocketAddr) -> ListenerKey {
    listener_key(&Listener { address: Some(server.ip()), ipv6: false, port: server.port() })
}

fn reply_value(ports: ReplyPorts) -> u8 {
    match ports {
        ReplyPorts::Reserved => 1,
        ReplyPorts::Any => 2,
    }
}

fn address_key(address: IpAddr) -> AddressKey {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn listener_key(listener: &Listener) -> ListenerKey {
    let mut key = [0; 20];
    if let Some(address) = listener.address {
        key[..16].copy_from_slice(&address_key(address));
    }
    let ipv6 = listener.address.map_or(listener.ipv6, |address| address.is_ipv6());
    key[16..18].copy_from_slice(&listener.port.to_be_bytes());
    key[18] = if ipv6 { 6 } else { 4 };
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steering(addresses: &[(&str, AddressOwner)], ports: &[u16]) -> Steering {
        Steering {
            addresses: addresses.iter().map(|(a, o)| (a.parse().unwrap(), *o)).collect(),
            listeners: ports
                .iter()
                .map(|&port| Listener { address: None, ipv6: false, port })
                .collect(),
            source_ports: 40000..=49999,
            servers: BTreeMap::new(),
        }
    }

    fn diff(old: &Steering, new: &Steering) -> Vec<Change> {
        let (mut old, new) = (Contents::of(old), Contents::of(new));
        let changes = old.diff(&new);
        for change in &changes {
            old.record(*change);
        }
        assert_eq!(old, new, "the changes lead from the old to the new");
        changes
    }

    #[test]
    fn nothing_changes_between_equals() {
        let one = steering(&[("10.0.0.1", AddressOwner::Shared)], &[80]);
        assert_eq!(diff(&one, &one.clone()), []);
    }

    #[test]
    fn from_nothing_all_is_added() {
        let one = steering(&[("10.0.0.1", AddressOwner::Sole)], &[80]);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
        let mut listener = [0; 20];
        listener[17..19].copy_from_slice(&[80, 4]);
        assert_eq!(
            diff(&Steering::default(), &one),
            [
                Change::SetAddress(mapped, 2),
                Change::SetSourcePorts(40000, 49999),
                Change::AddListener(listener),
            ]
        );
    }

    #[test]
    fn additions_come_before_removals() {
        let old = steering(&[("10.0.0.1", AddressOwner::Shared)], &[80, 81]);
        let new = steering(&[("10.0.0.2", AddressOwner::Shared)], &[80, 82]);
        let kinds: Vec<_> = diff(&old, &new)
            .iter()
            .map(|change| match change {
                Change::SetAddress(..)
                | Change::SetSourcePorts(..)
                | Change::SetServer(..)
                | Change::AddListener(_) => '+',
                Change::RemoveListener(_) | Change::RemoveServer(_) | Change::RemoveAddress(_) => {
                    '-'
                }
            })
            .collect();
        assert_eq!(kinds, ['+', '+', '-', '-']);
    }

    #[test]
    fn a_new_owner_overwrites_the_old() {
        let old = steering(&[("2001:db8::1", AddressOwner::Shared)], &[]);
        let new = steering(&[("2001:db8::1", AddressOwner::Sole)], &[]);
        let key = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(diff(&old, &new), [Change::SetAddress(key, 2)]);
    }

    #[test]
    fn wildcards_are_per_family() {
        let ipv4 = Listener { address: None, ipv6: false, port: 80 };
        let ipv6 = Listener { address: None, ipv6: true, port: 80 };
        assert_ne!(listener_key(&ipv4), listener_key(&ipv6));
    }

    #[test]
    fn the_address_decides_the_family() {
        let address = Some("10.0.0.1".parse().unwrap());
        let mut old = Steering::default();
        old.listeners.insert(Listener { address, ipv6: false, port: 80 });
        let mut new = Steering::default();
        new.listeners.insert(Listener { address, ipv6: true, port: 80 });
        assert_eq!(diff(&old, &new), []);
    }
}
