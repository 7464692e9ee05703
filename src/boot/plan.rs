//! What a configuration and the machine make together: addresses, listeners, what the programs take.
//!
//! In:    a checked configuration, interfaces, the kernel's tables
//! Out:   plans; or one sentence that says what to change
//! Never: attaches anything; opens only sockets of the kernel, which is how it finds out whether they can be

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use netstack::fib::{Fib, Ownership, WireId};
use nic::{AddressOwner, Interface, ReplyPorts, Steering};

use super::{BootError, Stated};
use crate::backend::server_address;
use crate::config::model::{
    Bind, Carrier, Config, ProxyIndex, SourceAddress, SourcePorts, UnixAddress,
};
use crate::kernel_ports;
use crate::limit::Limit;
use crate::netlink::{KernelTables, StatedAddress, StatedRoute, Wire as KernelWire};
use crate::proxies::ListenerPlan;
use crate::transport::kernel::sockets::{self, KernelListener};
use crate::transport::{ListenAt, Place, WirePlace};

/// Addresses and routes of the configuration, with those of `bind` lines that nobody has.
pub(super) fn state(
    config: &Config,
    interfaces: &[Interface],
    kernel: &KernelTables,
) -> Result<Stated, BootError> {
    let wires: Vec<KernelWire> = interfaces
        .iter()
        .enumerate()
        .map(|(index, interface)| KernelWire {
            index: interface.index,
            id: WireId(index as u8),
            mac: interface.mac,
            mtu: interface.mtu.min(FRAME_MTU_MAX) as u16,
            partial_checksums: interface.has_partial_checksums(),
        })
        .collect();
    let place = |name: &Option<String>, at: &crate::config::model::Location| {
        let Some(name) = name else { return Ok(None) };
        match interfaces.iter().position(|interface| interface.name == *name) {
            Some(index) => Ok(Some(WireId(index as u8))),
            None => Err(BootError(format!(
                "[{}:{}]: interface '{name}' is not among those that xlb takes over; name it with \
                 --interface or `interface` too",
                at.file, at.line
            ))),
        }
    };
    let mut addresses = Vec::new();
    for own in &config.global.addresses {
        let wire = place(&own.interface, &own.at)?.unwrap_or(WireId(0));
        addresses.push(StatedAddress { net: own.net, wire, vlan: own.vlan });
    }
    let mut routes = Vec::new();
    for route in &config.global.routes {
        let wire = place(&route.interface, &route.at)?;
        routes.push(StatedRoute { prefix: route.prefix, via: route.via, wire, vlan: route.vlan });
    }
    for bind in config
        .proxies
        .values()
        .filter(|proxy| !proxy.disabled)
        .flat_map(|proxy| proxy.binds.values())
    {
        let Some(ip) = bind.address.filter(|_| bind.carrier == Carrier::Wire) else { continue };
        let is_stated = addresses.iter().any(|stated: &StatedAddress| stated.net.addr() == ip);
        if kernel.has_address(ip) || is_stated {
            continue;
        }
        let wire = place(&bind.interface, &bind.at)?.or_else(|| kernel.wire_towards(&wires, ip));
        let wire = wire.unwrap_or(WireId(0));
        addresses.push(StatedAddress { net: IpNet::from(ip), wire, vlan: None });
    }
    Ok(Stated { wires, addresses, routes })
}

/// IP packet that a frame of 4096 bytes holds beside its headroom and an Ethernet header with two tags.
const FRAME_MTU_MAX: u32 = 4096 - 256 - 22;

/// Listening sockets of the kernel, by number.
pub type Sockets = Vec<Option<Arc<KernelListener>>>;

/// Everything that listens.
#[derive(Clone, Default)]
pub struct Listening {
    /// Listeners, wildcards by family.
    pub plans: Vec<ListenerPlan>,
    /// The sockets of those that the kernel carries.
    pub sockets: Sockets,
}

impl Listening {
    /// The listener of a `bind` line that listens already: the one of this family, counted from 0.
    fn open<'a>(&'a self, bind: &Bind, family: usize) -> Option<&'a ListenerPlan> {
        let is_it = |plan: &&ListenerPlan| {
            let Bind { carrier, address, families, port, interface, .. } = &*plan.bind;
            *carrier == bind.carrier
                && *address == bind.address
                && *families == bind.families
                && *port == bind.port
                && *interface == bind.interface
        };
        self.plans.iter().filter(is_it).nth(family)
    }

    /// The same; sockets that nothing listens on are let go.
    pub fn without_left_sockets(mut self) -> Self {
        let used =
            |number: usize| self.plans.iter().any(|plan| plan.at.place == Place::Kernel(number));
        for number in (0..self.sockets.len()).filter(|&number| !used(number)).collect::<Vec<_>>() {
            self.sockets[number] = None;
        }
        self
    }

    /// A place for a socket.
    fn add(&mut self, socket: KernelListener) -> usize {
        let free = self.sockets.iter().position(Option::is_none);
        let number = free.unwrap_or(self.sockets.len());
        self.sockets.resize(self.sockets.len().max(number + 1), None);
        self.sockets[number] = Some(Arc::new(socket));
        number
    }
}

/// Everything that listens by a configuration; what listens already, and the places in its limits, go on.
pub(super) fn listeners(
    config: &Config,
    interfaces: &[Interface],
    before: &Listening,
) -> Result<Listening, BootError> {
    let mut all = Listening { plans: Vec::new(), sockets: before.sockets.clone() };
    for (index, proxy) in config.proxies.placed().filter(|(_, proxy)| !proxy.disabled) {
        for (bind_place, bind) in proxy.binds.placed() {
            let bind = Arc::new(bind.clone());
            let is_own =
                |plan: &&ListenerPlan| plan.frontend.0 == index && plan.place == bind_place;
            let own = before.open(&bind, 0).filter(is_own);
            let limit =
                own.map_or_else(|| Arc::new(Limit::new(bind.maxconn)), |own| own.limit.clone());
            for (family, &ipv6) in sockets::families(&bind).iter().enumerate() {
                let place = if bind.carrier == Carrier::Wire {
                    Place::Wire(wire_place(&bind, ipv6, interfaces)?)
                } else if let Some(open) = before.open(&bind, family) {
                    open.at.place.clone()
                } else {
                    let socket = open(&bind, ipv6)?;
                    Place::Kernel(all.add(socket))
                };
                let backlog = bind.backlog.unwrap_or(bind.maxconn).max(1) as usize;
                all.plans.push(ListenerPlan {
                    frontend: ProxyIndex(index),
                    bind: bind.clone(),
                    limit: limit.clone(),
                    place: bind_place,
                    at: ListenAt { place, backlog, mss: bind.mss },
                });
            }
        }
    }
    if all.plans.is_empty() {
        return Err(BootError::new(
            "no listener: no enabled `frontend` or `listen` section has a `bind` line",
        ));
    }
    Ok(all)
}

fn open(bind: &Bind, ipv6: bool) -> Result<KernelListener, BootError> {
    KernelListener::open(bind, ipv6).map_err(|error| {
        BootError(format!(
            "[{}:{}]: cannot listen on {}: {error}",
            bind.at.file,
            bind.at.line,
            place_of(bind, ipv6)
        ))
    })
}

/// Where a `bind` line that the kernel carries listens, in words.
pub(super) fn place_of(bind: &Bind, ipv6: bool) -> String {
    match (&bind.carrier, bind.address) {
        (Carrier::Unix(UnixAddress::Path(path)), _) => path.display().to_string(),
        (Carrier::Unix(UnixAddress::Abstract { name, .. }), _) => format!("abns@{name}"),
        (Carrier::Fd(number), _) => format!("fd@{number}"),
        (_, Some(ip)) => SocketAddr::new(ip, bind.port).to_string(),
        (_, None) if ipv6 => format!("[::]:{}", bind.port),
        (_, None) => format!("*:{}", bind.port),
    }
}

fn wire_place(bind: &Bind, ipv6: bool, interfaces: &[Interface]) -> Result<WirePlace, BootError> {
    let interface = match &bind.interface {
        None => None,
        Some(name) => {
            let place = interfaces.iter().position(|interface| interface.name == *name);
            Some(place.ok_or_else(|| {
                BootError(format!(
                    "[{}:{}]: 'bind ... interface {name}': xlb does not take over that interface; name it \
                     with --interface or `interface` too",
                    bind.at.file, bind.at.line
                ))
            })? as u8)
        }
    };
    Ok(WirePlace { address: bind.address, ipv6, port: bind.port, interface })
}

/// Ports that the kernel's programs listen on are theirs: taking one would cut them off.
pub(super) fn check_ports(
    listeners: &[ListenerPlan],
    source_ports: &RangeInclusive<u16>,
    fib: &Fib,
) -> Result<(), BootError> {
    let is_shared =
        |ip: IpAddr| fib.address(ip).is_some_and(|address| address.ownership == Ownership::Shared);
    let theirs = kernel_ports::listening();
    for plan in listeners {
        let Place::Wire(WirePlace { address, ipv6, port, .. }) = plan.at.place else { continue };
        if source_ports.contains(&port) {
            return Err(BootError(format!(
                "[{}:{}]: port {port} lies within source-ports {}-{}, which connections to servers leave \
                 from; choose another range with `source-ports` in the global section",
                plan.bind.at.file,
                plan.bind.at.line,
                source_ports.start(),
                source_ports.end()
            )));
        }
        let conflict = theirs.iter().find(|theirs| {
            theirs.port == port
                && theirs.ip.is_ipv6() == ipv6
                && match address {
                    None => theirs.ip.is_unspecified() || is_shared(theirs.ip),
                    Some(ip) => theirs.ip == ip || (theirs.ip.is_unspecified() && is_shared(ip)),
                }
        });
        if let Some(theirs) = conflict {
            return Err(BootError(format!(
                "[{}:{}]: a program of this machine already listens on {theirs} (see `ss -ltnp`): bind \
                 another address or port, or stop it",
                plan.bind.at.file, plan.bind.at.line
            )));
        }
    }
    let within = |theirs: &&netstack::Endpoint| {
        source_ports.contains(&theirs.port) && (theirs.ip.is_unspecified() || is_shared(theirs.ip))
    };
    match theirs.iter().find(within) {
        None => Ok(()),
        Some(theirs) => Err(BootError(format!(
            "a program of this machine listens on {theirs}, within source-ports {}-{}: its packets would \
             come to xlb; choose another range with `source-ports` in the global section",
            source_ports.start(),
            source_ports.end()
        ))),
    }
}

/// What `source` lines ask of the wires.
#[derive(Default, Clone)]
pub(super) struct Sources {
    /// Ranges of ports that they state.
    pub port_ranges: Vec<RangeInclusive<u16>>,
    /// Servers that are connected to from addresses of others.
    pub servers: BTreeMap<SocketAddr, ReplyPorts>,
}

/// Gathers what `source` lines ask of the wires; and whether that can be had.
pub(super) fn sources(
    config: &Config,
    interfaces: &[Interface],
    source_ports: &RangeInclusive<u16>,
) -> Result<Sources, BootError> {
    let mut sources = Sources::default();
    let proxies = config.proxies.values().filter(|proxy| !proxy.disabled);
    let servers =
        proxies.flat_map(|proxy| proxy.servers.values().map(move |server| (proxy, server)));
    for (proxy, server) in servers.filter(|(_, server)| server.carrier == Carrier::Wire) {
        let Some(source) = proxy.source_of(server) else { continue };
        let wrong = |what: String| {
            let at = &server.at;
            Err(BootError(format!("[{}:{}]: server '{}': {what}", at.file, at.line, server.name)))
        };
        if let Some(name) = &source.interface
            && !interfaces.iter().any(|interface| interface.name == *name)
        {
            return wrong(format!(
                "'source ... interface {name}': xlb does not take over that interface; name it with \
                 --interface or `interface` too"
            ));
        }
        if let SourcePorts::Range(range) = &source.ports {
            let (low, high) = (source_ports.start(), source_ports.end());
            if range.start() < low || range.end() > high {
                return wrong(format!(
                    "'source' ports {}-{} are not within source-ports {low}-{high}, which replies are taken to; \
                     state a range within, or widen `source-ports` in the global section",
                    range.start(),
                    range.end()
                ));
            }
            let overlaps = |other: &&RangeInclusive<u16>| {
                *other != range && other.start() <= range.end() && range.start() <= other.end()
            };
            if let Some(other) = sources.port_ranges.iter().find(overlaps) {
                return wrong(format!(
                    "'source' ports {}-{} overlap {}-{} of another server; state the same range or one apart",
                    range.start(),
                    range.end(),
                    other.start(),
                    other.end()
                ));
            }
            if !sources.port_ranges.contains(range) {
                sources.port_ranges.push(range.clone());
            }
        }
        let replies = match source.address {
            SourceAddress::Any | SourceAddress::Fixed(_) => continue,
            SourceAddress::Client => ReplyPorts::Any,
            SourceAddress::ClientIp | SourceAddress::Foreign(_) => ReplyPorts::Reserved,
        };
        let binds = config.proxies.values().flat_map(|proxy| proxy.binds.values());
        let any = |bind: &Bind| SocketAddr::new(server.address, bind.port);
        let ends = binds.filter_map(|bind| server_address(server, Some(any(bind))));
        for end in ends {
            let known = sources.servers.entry(end).or_insert(replies);
            if replies == ReplyPorts::Any {
                *known = replies;
            }
        }
    }
    Ok(sources)
}

/// What the programs on the interfaces take.
pub(super) fn steering<'a>(
    fib: &Fib,
    listeners: impl Iterator<Item = &'a ListenerPlan>,
    source_ports: &RangeInclusive<u16>,
    sources: &Sources,
) -> Steering {
    let addresses: BTreeMap<IpAddr, AddressOwner> = fib
        .addresses()
        .iter()
        .map(|address| {
            let owner = match address.ownership {
                Ownership::Shared => AddressOwner::Shared,
                Ownership::Sole => AddressOwner::Sole,
            };
            (address.net.addr(), owner)
        })
        .collect();
    let listeners: BTreeSet<nic::Listener> = listeners
        .filter_map(|plan| match &plan.at.place {
            Place::Wire(WirePlace { address, ipv6, port, .. }) => {
                Some(nic::Listener { address: *address, ipv6: *ipv6, port: *port })
            }
            Place::Kernel(_) => None,
        })
        .collect();
    Steering {
        addresses,
        listeners,
        source_ports: source_ports.clone(),
        servers: sources.servers.clone(),
    }
}
