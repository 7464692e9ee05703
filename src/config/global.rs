//! The `global` section.
//!
//! In:    its statements
//! Out:   [`Global`]
//! Never: touches the interfaces, addresses or files that it names
//! Read:  docs/configuration.md, "Global section"

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::cpu_map::CpuMap;
use super::keywords::Found;
use super::model::{Carrier, Global, Location, OwnAddress, SocketRights, StatedRoute};
use super::parser::{Context, Form, Line};
use super::report::Fault;
use super::{log, units};

/// Workers at most, as many as HAProxy has threads.
const WORKERS_MAX: i64 = 64;
/// Sessions that may wait at a runtime socket.
const STATS_BACKLOG: u32 = 1024;
/// `tune.bufsize`: less could not hold a record, more is a typing mistake.
const BUFSIZE_MIN: u32 = 1_024;
/// See [`BUFSIZE_MIN`].
const BUFSIZE_MAX: u32 = 1 << 30;

/// `global` while it is read.
#[derive(Default)]
pub(super) struct GlobalDraft {
    pub(super) global: Global,
    /// `nbproc` and where: workers by an older name.
    pub(super) nbproc: Option<(Location, u32)>,
    /// `cpu-map`
    pub(super) cpu_map: Vec<CpuMap>,
    /// `unix-bind`
    pub(super) unix_bind: UnixBind,
}

/// What UNIX sockets of `bind` lines have that say nothing else.
#[derive(Default)]
pub(super) struct UnixBind {
    /// Before their paths.
    pub(super) prefix: String,
    pub(super) rights: SocketRights,
}

/// Reads one statement of the section.
pub(super) fn statement(
    draft: &mut GlobalDraft,
    line: &Line<'_>,
    found: Found,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    match found {
        Found::Active => active(draft, line, context),
        found => context.inactive_line(line, found),
    }
}

fn active(
    draft: &mut GlobalDraft,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    let global = &mut draft.global;
    match line.name {
        "address" => global.addresses.push(address(line)?),
        "interface" => interfaces(global, line)?,
        "max-spread-checks" => global.max_spread_checks = Some(line.time()?),
        "maxconnrate" => limit(&mut global.maxconnrate, line, context)?,
        "maxsessrate" => limit(&mut global.maxsessrate, line, context)?,
        "maxsslrate" => limit(&mut global.maxsslrate, line, context)?,
        "spread-checks" => {
            global.spread_checks = u32::try_from(number(line, 0..=50)?).expect("in range");
        }
        "tune.buffers.limit" => limit(&mut global.buffers_limit, line, context)?,
        "tune.buffers.reserve" => limit(&mut global.buffers_reserve, line, context)?,
        "tune.bufsize" => {
            let size = line.size(BUFSIZE_MIN..=BUFSIZE_MAX)?;
            once(&mut global.bufsize, size, line, context);
        }
        "tune.maxrewrite" => {
            let size = line.size(0..=BUFSIZE_MAX)?;
            once(&mut global.maxrewrite, size, line, context);
        }
        "tune.runqueue-depth" => limit(&mut global.runqueue_depth, line, context)?,
        "maxconn" => {
            let number = number(line, 0..=i64::from(i32::MAX))?;
            // 0 is HAProxy's way to say "as many as you can": here, nothing said.
            once(&mut global.maxconn, u32::try_from(number).expect("in range"), line, context);
        }
        "cpu-map" => draft.cpu_map.push(CpuMap::parse(line.arguments)?),
        "nbproc" => {
            let workers = u32::try_from(number(line, 1..=WORKERS_MAX)?).expect("in range");
            draft.nbproc = Some((line.at.clone(), workers));
        }
        "nbthread" => {
            let workers = number(line, 1..=WORKERS_MAX)?;
            global.nbthread = Some(u32::try_from(workers).expect("in range"));
        }
        "presetenv" | "setenv" => {
            let [name, value] = line.arguments else {
                return Err(format!("'{}' expects a name and a value.", line.name).into());
            };
            if line.name == "setenv" || !context.variables.contains_key(*name) {
                context.variables.insert((*name).to_string(), (*value).to_string());
            }
        }
        "resetenv" => context.variables.retain(|name, _| line.arguments.contains(&name.as_str())),
        "unsetenv" => context.variables.retain(|name, _| !line.arguments.contains(&name.as_str())),
        "route" => global.routes.push(route(line)?),
        "source-ports" => {
            let range = source_ports(line)?;
            once(&mut global.source_ports, range, line, context);
        }
        "busy-polling" => {
            line.at_most(0)?;
            global.process.busy_polling = line.form == Form::Plain;
        }
        "chroot" => {
            let path = PathBuf::from(line.only("a directory as an argument")?);
            once(&mut global.process.chroot, path, line, context);
        }
        "daemon" => {
            line.at_most(0)?;
            global.process.daemon = true;
        }
        "gid" | "uid" => {
            let id = u32::try_from(number(line, 0..=i64::from(i32::MAX))?).expect("in range");
            let process = &mut global.process;
            let slot = if line.name == "gid" { &mut process.gid } else { &mut process.uid };
            once(slot, id, line, context);
        }
        "group" | "user" => {
            let name = line.only("a name")?.to_string();
            let process = &mut global.process;
            let slot = if line.name == "group" { &mut process.group } else { &mut process.user };
            once(slot, name, line, context);
        }
        "hard-stop-after" => global.process.hard_stop_after = Some(line.time()?),
        "node" => global.process.node = Some(line.only("a name")?.to_string()),
        "pidfile" => {
            let path = PathBuf::from(line.only("a file name as an argument")?);
            once(&mut global.process.pidfile, path, line, context);
        }
        "quiet" => {
            line.at_most(0)?;
            global.process.quiet = true;
        }
        "stats maxconn" => {
            let most = number(line, 1..=i64::from(i32::MAX))?;
            global.stats.maxconn = u32::try_from(most).expect("in range");
        }
        "stats socket" => stats_socket(global, line, context)?,
        "stats timeout" => {
            let time = line.time()?;
            if time.is_zero() {
                return Err("'stats timeout' expects a positive value.".to_string().into());
            }
            global.stats.timeout = time;
        }
        "tune.maxaccept" => {
            let number = number(line, -1..=i64::from(i32::MAX))?;
            once(&mut global.maxaccept, i32::try_from(number).expect("in range"), line, context);
        }
        "tune.maxpollevents" => {
            let number = number(line, 1..=1_000_000)?;
            once(
                &mut global.maxpollevents,
                u32::try_from(number).expect("in range"),
                line,
                context,
            );
        }
        "log" if line.form == Form::No => {
            line.at_most(0)?;
            draft.global.logs.clear();
        }
        "log" => {
            let target = log::target(line, context)?;
            draft.global.logs.push(target);
        }
        "log-send-hostname" => {
            line.at_most(1)?;
            draft.global.log_identity.hostname = Some(line.argument(0).map(Into::into));
        }
        "unix-bind" => unix_bind(&mut draft.unix_bind, line)?,
        "log-tag" => draft.global.log_identity.tag = Some(line.only("a tag")?.into()),
        name => unreachable!("'{name}' is listed as active"),
    }
    Ok(())
}

/// `unix-bind [prefix <prefix>] [mode <mode>] [user <user>] [uid <uid>] [group <group>] [gid <gid>]`
fn unix_bind(draft: &mut UnixBind, line: &Line<'_>) -> Result<(), Fault> {
    if line.arguments.is_empty() {
        return Err("'unix-bind' expects 'prefix', 'mode', 'user', 'uid', 'group' or 'gid'."
            .to_string()
            .into());
    }
    let mut words = line.arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().copied();
        match *word {
            "prefix" => {
                let prefix = value.ok_or_else(|| "'prefix' : missing argument.".to_string())?;
                draft.prefix = prefix.to_string();
            }
            "mode" | "user" | "uid" | "group" | "gid" => {
                super::bind::rights(&mut draft.rights, word, value)?;
            }
            word => {
                return Err(Fault::hinted(
                    format!("'unix-bind' : unknown word '{word}'."),
                    "'prefix', 'mode', 'user', 'uid', 'group' and 'gid' are known.",
                ));
            }
        }
    }
    Ok(())
}

/// `stats socket <address> [level <level>] [mode <mode>] ...`: as a `bind` line, but always by the kernel.
fn stats_socket(
    global: &mut Global,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    for draft in super::bind::parse(line, context)? {
        let mut bind = draft.bind;
        if bind.carrier == Carrier::Wire {
            bind.carrier = Carrier::Kernel;
        }
        bind.maxconn = STATS_BACKLOG;
        global.stats.sockets.push(bind);
    }
    Ok(())
}

fn number(line: &Line<'_>, range: std::ops::RangeInclusive<i64>) -> Result<i64, Fault> {
    let number = units::integer(line.argument(0), range, line.name)?;
    line.at_most(1)?;
    Ok(number)
}

/// A limit that is a number; 0 is none.
fn limit(slot: &mut Option<u32>, line: &Line<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
    let number = number(line, 0..=i64::from(i32::MAX))?;
    once(slot, u32::try_from(number).expect("in range"), line, context);
    *slot = slot.filter(|limit| *limit > 0);
    Ok(())
}

/// The first value stays, as in HAProxy.
fn once<T>(slot: &mut Option<T>, value: T, line: &Line<'_>, context: &mut Context<'_>) {
    if slot.is_some() {
        let text = format!("'{}' already specified. Continuing.", line.name);
        context.report.warning(Some(line.at), text);
    }
    slot.get_or_insert(value);
}

/// `interface <name>...`
fn interfaces(global: &mut Global, line: &Line<'_>) -> Result<(), Fault> {
    if line.arguments.is_empty() {
        return Err("'interface' expects at least one interface name.".to_string().into());
    }
    for name in line.arguments {
        let name = interface_name(name)?;
        if global.interfaces.contains(&name) {
            return Err(format!("interface '{name}' is listed twice.").into());
        }
        global.interfaces.push(name);
    }
    Ok(())
}

/// A name that the kernel could give to an interface.
pub(super) fn interface_name(name: &str) -> Result<String, Fault> {
    // IFNAMSIZ counts the final NUL.
    const LENGTH_MAX: usize = 15;
    let is_valid = name.len() <= LENGTH_MAX
        && !matches!(name, "" | "." | "..")
        && !name.contains(['/', ':'])
        && !name.contains(char::is_whitespace);
    if !is_valid {
        return Err(format!(
            "'{name}' is not an interface name: 1 to {LENGTH_MAX} characters, no '/', ':' or blank."
        )
        .into());
    }
    Ok(name.to_string())
}

/// `address <ip>/<len> [interface <name>] [vlan <id>]`
fn address(line: &Line<'_>) -> Result<OwnAddress, Fault> {
    let expects = || {
        Fault::hinted(
            "'address' expects <ip>/<length> [interface <name>] [vlan <id>].",
            "for example: 'address 10.0.0.5/24 interface eth0 vlan 100'.",
        )
    };
    let (word, rest) = line.arguments.split_first().ok_or_else(expects)?;
    let net: IpNet = word.parse().map_err(|_| {
        let text = format!("'address' : '{word}' is not an address with a prefix length.");
        Fault::hinted(text, "the length of the network's prefix is needed: '10.0.0.5/24'.")
    })?;
    let ip = net.addr();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast(net) {
        return Err(format!("'address' : '{word}' cannot be the address of a host.").into());
    }
    let (interface, vlan) = link(rest, line.name)?;
    Ok(OwnAddress { at: line.at.clone(), net, interface, vlan })
}

/// The two addresses of an IPv4 network that are no host's; networks of one or two hosts have none (RFC 3021).
fn is_broadcast(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            net.addr() == net.network() || net.addr() == net.broadcast()
        }
        _ => false,
    }
}

/// `route <prefix>|default via <ip> [interface <name>] [vlan <id>]`
fn route(line: &Line<'_>) -> Result<StatedRoute, Fault> {
    let [prefix, "via", router, rest @ ..] = line.arguments else {
        return Err(Fault::hinted(
            "'route' expects <prefix>|default via <ip> [interface <name>] [vlan <id>].",
            "for example: 'route default via 10.0.0.1'.",
        ));
    };
    let via: IpAddr = router
        .parse()
        .map_err(|_| format!("'route' : '{router}' is not the address of a router."))?;
    if via.is_unspecified() || via.is_multicast() || via.is_loopback() {
        return Err(format!("'route' : '{router}' cannot be the address of a router.").into());
    }
    let prefix = route_prefix(prefix, via)?;
    let (interface, vlan) = link(rest, line.name)?;
    Ok(StatedRoute { at: line.at.clone(), prefix, via, interface, vlan })
}

fn route_prefix(word: &str, via: IpAddr) -> Result<IpNet, Fault> {
    if word == "default" {
        let any = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        return Ok(any.parse().expect("a network"));
    }
    let prefix: IpNet = word
        .parse()
        .map_err(|_| format!("'route' : '{word}' is neither 'default' nor a network prefix."))?;
    if prefix.addr() != prefix.network() {
        return Err(Fault::hinted(
            format!("'route' : '{word}' has bits behind its prefix."),
            format!("the network is '{}'.", prefix.trunc()),
        ));
    }
    if prefix.addr().is_ipv4() != via.is_ipv4() {
        return Err(format!("'route' : '{word}' and its router '{via}' differ in family.").into());
    }
    Ok(prefix)
}

/// `[interface <name>] [vlan <id>]` in any order.
fn link(mut words: &[&str], keyword: &str) -> Result<(Option<String>, Option<u16>), Fault> {
    let (mut interface, mut vlan) = (None, None);
    while let Some((word, rest)) = words.split_first() {
        let value = rest.first().copied();
        match *word {
            "interface" if interface.is_none() => {
                let name = value.ok_or_else(|| {
                    format!("'{keyword}' : 'interface' expects an interface name.")
                })?;
                interface = Some(interface_name(name)?);
            }
            "vlan" if vlan.is_none() => {
                let id = units::integer(value, 1..=4094, "vlan")?;
                vlan = Some(u16::try_from(id).expect("in range"));
            }
            _ => {
                return Err(
                    format!("'{keyword}' cannot handle unexpected argument '{word}'.").into()
                );
            }
        }
        words = &rest[1..];
    }
    Ok((interface, vlan))
}

/// `source-ports <lo>-<hi>`
fn source_ports(line: &Line<'_>) -> Result<std::ops::RangeInclusive<u16>, Fault> {
    let word = line.only("a range of ports")?;
    let invalid = || {
        Fault::hinted(
            format!("'source-ports' : '{word}' is not a range of ports."),
            "two ports, the lower one first: 'source-ports 16384-32767'.",
        )
    };
    let (low, high) = word.split_once('-').ok_or_else(invalid)?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (low, high) = (port(low).ok_or_else(invalid)?, port(high).ok_or_else(invalid)?);
    if low > high {
        return Err(invalid());
    }
    Ok(low..=high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(
        name: &str,
        words: &str,
        read: impl Fn(&Line<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let at = Location { file: "x".into(), line: 1 };
        let arguments: Vec<&str> = words.split_whitespace().collect();
        read(&Line { at: &at, name, arguments: &arguments, form: Form::Plain })
    }

    #[test]
    fn addresses() {
        let own = with("address", "10.0.0.5/24 interface eth0 vlan 100", address).unwrap();
        assert_eq!(own.net.to_string(), "10.0.0.5/24");
        assert_eq!((own.interface.as_deref(), own.vlan), (Some("eth0"), Some(100)));
        assert!(with("address", "2001:db8::5/64 vlan 1 interface eth0", address).is_ok());
        assert!(with("address", "10.0.0.4/31", address).is_ok());
        for words in [
            "",
            "10.0.0.5",
            "10.0.0.5/33",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "0.0.0.0/0",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "10.0.0.5/24 vlan",
            "10.0.0.5/24 vlan 0",
            "10.0.0.5/24 vlan 4095",
            "10.0.0.5/24 interface",
            "10.0.0.5/24 eth0",
            "10.0.0.5/24 vlan 1 vlan 2",
            "10.0.0.5/24 interface a-name-too-long-for-it",
        ] {
            assert!(with("address", words, address).is_err(), "{words}");
        }
    }

    #[test]
    fn routes() {
        let stated = with("route", "default via 10.0.0.1", route).unwrap();
        assert_eq!(
            (stated.prefix.to_string(), stated.via.to_string()),
            ("0.0.0.0/0".into(), "10.0.0.1".into())
        );
        let stated = with("route", "default via fe80::1 interface eth0", route).unwrap();
        assert_eq!(stated.prefix.to_string(), "::/0");
        assert!(with("route", "10.1.0.0/16 via 10.0.0.1 vlan 7", route).is_ok());
        for words in [
            "",
            "default",
            "default via",
            "default via x",
            "default via 0.0.0.0",
            "10.1.0.0 via 10.0.0.1",
            "10.1.0.1/16 via 10.0.0.1",
            "10.1.0.0/16 via fe80::1",
            "default by 10.0.0.1",
            "default via 10.0.0.1 metric 3",
        ] {
            assert!(with("route", words, route).is_err(), "{words}");
        }
    }

    #[test]
    fn ranges_of_source_ports() {
        assert_eq!(with("source-ports", "16384-32767", source_ports), Ok(16384..=32767));
        assert_eq!(with("source-ports", "9-9", source_ports), Ok(9..=9));
        for words in ["", "80", "0-9", "9-8", "1-70000", "a-b", "1-2 3", "-", "1-2-3"] {
            assert!(with("source-ports", words, source_ports).is_err(), "{words}");
        }
    }
}
