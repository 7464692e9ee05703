//! What only the whole configuration can tell.
//!
//! In:    the drafts of every section
//! Out:   a [`Config`] whose references hold, or the report
//! Never: reads a word again
//! Read:  docs/configuration.md, "Checks"

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::Loaded;
use super::bind::BindDraft;
use super::cpu_map;
use super::global::{GlobalDraft, UnixBind};
use super::model::{
    Bind, Carrier, CheckAction, Config, Families, Global, Location, LogAddress, MAXCONN_DEFAULT,
    OwnAddress, Places, Proxy, ProxyIndex, ProxyKind, Ring, Server, ServerId, ServerPort, Service,
    SocketRights, SourceAddress, UnixAddress,
};
use super::names;
use super::nearest::suggestion;
use super::parser::Parser;
use super::proxy::ProxyDraft;
use super::report::{Diagnostic, Report, Severity};
use super::server::ServerDraft;

/// Turns drafts into a configuration.
pub(super) fn finish(parser: Parser<'_>) -> Result<Loaded, Report> {
    let Parser { context, global, proxies: drafts, rings, maxconn, .. } = parser;
    let mut report = context.report;
    let has_errors = report.is_fatal();
    let GlobalDraft { ref unix_bind, .. } = global;
    let unix_bind = UnixBind { prefix: unix_bind.prefix.clone(), rights: unix_bind.rights.clone() };
    let global = finish_global(global, &mut report);
    check_ids(&drafts, &mut report);
    let backends = backends(&drafts);
    let mut proxies: Vec<Proxy> = drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            let itself = ProxyIndex(index);
            let default_backend = default_backend(draft, itself, &backends, &drafts, &mut report);
            let forwards = default_backend.is_some()
                || !draft.servers.is_empty()
                || !draft.settings.rules.use_backend.is_empty();
            let kind = draft.kind.expect("defaults are kept apart");
            let service = &draft.settings.service;
            let service = service.finish((&draft.name, kind), forwards, &mut report);
            let maxconn = maxconn.unwrap_or(MAXCONN_DEFAULT);
            finish_proxy(draft, default_backend, maxconn, &global, service)
        })
        .collect();
    number_proxies(&mut proxies);
    proxies
        .iter_mut()
        .flat_map(|proxy| proxy.binds.values_mut())
        .for_each(|bind| unix_bind.apply(bind));
    resolve_tracks(&mut proxies, &drafts, &mut report);
    let mut proxies: Places<Proxy> = proxies.into();
    names::resolve(&mut proxies, &mut report);
    for proxy in proxies.values() {
        check_server_names(proxy, &mut report);
        check_destinations(proxy, &mut report);
    }
    check_listeners(proxies.all(), &global, &mut report);
    check_sockets(proxies.all(), &mut report);
    check_rings(&global, proxies.all(), &rings, &mut report);
    if !has_errors {
        // A line that was refused may be the very one that a warning would ask for.
        proxies.values().for_each(|proxy| warn_about(proxy, &mut report));
    }
    if report.is_fatal() {
        report.alert(None, "Fatal errors found in configuration.".into());
        return Err(report);
    }
    let config = Config { global, proxies, rings, inactive: context.inactive };
    Ok(Loaded { config, warnings: report.diagnostics })
}

fn finish_global(draft: GlobalDraft, report: &mut Report) -> Global {
    let GlobalDraft { mut global, nbproc, cpu_map, .. } = draft;
    let counts_processes = nbproc.is_some() && global.nbthread.is_none();
    global.cpu_map = cpu_map::of_workers(&cpu_map, counts_processes);
    if let Some((at, workers)) = nbproc {
        let text = match global.nbthread {
            None => {
                format!("'nbproc {workers}' is taken as {workers} workers: one process serves all.")
            }
            Some(threads) => format!(
                "'nbproc {workers}' is ignored: 'nbthread {threads}' says how many workers there are."
            ),
        };
        report.say(Severity::Notice, Some(&at), text);
        global.nbthread = global.nbthread.or(Some(workers));
    }
    global.maxconn = global.maxconn.filter(|limit| *limit > 0);
    check_addresses(&global, report);
    check_routes(&global, report);
    global
}

fn check_addresses(global: &Global, report: &mut Report) {
    for (index, own) in global.addresses.iter().enumerate() {
        let same =
            |other: &&OwnAddress| other.net.addr() == own.net.addr() && other.vlan == own.vlan;
        if let Some(other) = global.addresses[..index].iter().find(same) {
            let text = format!(
                "address '{}' is already stated at line {}.",
                own.net.addr(),
                other.at.line
            );
            report.alert(Some(&own.at), text);
        }
        check_interface("address", own.interface.as_deref(), &own.at, global, report);
    }
}

/// A line that needs an interface must name one that xlb has, or there must be no choice.
fn check_interface(
    keyword: &str,
    interface: Option<&str>,
    at: &Location,
    global: &Global,
    report: &mut Report,
) {
    let known = &global.interfaces;
    match interface {
        None if known.len() > 1 => {
            let text = format!(
                "'{keyword}' must say which 'interface' it belongs to: '{}'.",
                known.join("' or '")
            );
            report.alert(Some(at), text);
        }
        Some(name) if !known.is_empty() && !known.iter().any(|known| known == name) => {
            let text = format!("'{keyword}' : interface '{name}' is not listed by 'interface'.");
            report.alert(Some(at), text);
        }
        _ => {}
    }
}

fn check_routes(global: &Global, report: &mut Report) {
    for route in &global.routes {
        // The scope of a link-local router is its link, so its route must say which one.
        let is_link_local = matches!(route.via, IpAddr::V6(via) if via.is_unicast_link_local());
        if is_link_local || route.interface.is_some() {
            check_interface("route", route.interface.as_deref(), &route.at, global, report);
        }
        let reaches =
            |own: &OwnAddress| own.net.contains(&route.via) && own.vlan == route.vlan.or(own.vlan);
        if !is_link_local && !global.addresses.iter().any(reaches) {
            let text = format!("'route' : no 'address' is on a network with '{}'.", route.via);
            report.alert(Some(&route.at), text);
        }
    }
}

fn check_ids(drafts: &[ProxyDraft], report: &mut Report) {
    let mut seen: HashMap<u32, &ProxyDraft> = HashMap::new();
    for draft in drafts {
        let Some((at, id)) = &draft.id else { continue };
        match seen.entry(*id) {
            Entry::Vacant(entry) => _ = entry.insert(draft),
            Entry::Occupied(entry) => {
                let first = entry.get();
                let text = format!(
                    "{} '{}' reuses the custom id {id} of {} '{}' (declared at {}:{}).",
                    draft.type_name(),
                    draft.name,
                    first.type_name(),
                    first.name,
                    first.at.file,
                    first.at.line
                );
                report.alert(Some(at), text);
            }
        }
    }
}

/// Backends by name, the first of each.
fn backends(drafts: &[ProxyDraft]) -> HashMap<&str, ProxyIndex> {
    let mut backends = HashMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        if draft.kind.is_some_and(ProxyKind::is_backend) {
            backends.entry(draft.name.as_str()).or_insert(ProxyIndex(index));
        }
    }
    backends
}

fn default_backend(
    draft: &ProxyDraft,
    itself: ProxyIndex,
    backends: &HashMap<&str, ProxyIndex>,
    drafts: &[ProxyDraft],
    report: &mut Report,
) -> Option<ProxyIndex> {
    if !draft.kind.is_some_and(ProxyKind::is_frontend) {
        return None;
    }
    let Some((at, name)) = &draft.settings.default_backend else {
        let is_complete = draft.kind == Some(ProxyKind::Listen) && !draft.servers.is_empty();
        return is_complete.then_some(itself);
    };
    let found = backends.get(name.as_str()).copied();
    // Behind a header that was refused there may be the backend: one error is enough.
    if found.is_none() && !drafts.iter().any(|other| other.has_faulty_header) {
        let near = suggestion(name, backends.keys().copied());
        let text = format!(
            "Proxy '{}': unable to find required default_backend: '{name}'{near}",
            draft.name
        );
        report.alert(Some(at), text);
    }
    if found == Some(itself) {
        let text = format!("Proxy '{}': loop detected for default_backend: '{name}'.", draft.name);
        report.alert(Some(at), text);
    }
    found
}

fn finish_proxy(
    draft: &ProxyDraft,
    default_backend: Option<ProxyIndex>,
    maxconn: u32,
    global: &Global,
    service: Option<Service>,
) -> Proxy {
    let settings = &draft.settings;
    let maxconn = settings.maxconn.unwrap_or(maxconn);
    let stated: HashSet<u32> = draft.binds.iter().filter_map(|bind| bind.id).collect();
    let mut free = (1..).filter(|id| !stated.contains(id));
    let bind = |bind: &BindDraft| Bind {
        id: bind.id.or_else(|| free.next()).expect("numbers do not run out"),
        maxconn: bind.maxconn.unwrap_or(maxconn),
        backlog: bind.bind.backlog.or(settings.backlog),
        ..bind.bind.clone()
    };
    Proxy {
        at: draft.at.clone(),
        name: draft.name.as_str().into(),
        kind: draft.kind.expect("defaults are kept apart"),
        disabled: settings.disabled,
        maxconn,
        backlog: settings.backlog,
        binds: draft.binds.iter().map(bind).collect(),
        default_backend,
        balance: settings.balance.clone(),
        servers: servers(draft).into(),
        timeouts: settings.timeouts,
        retries: settings.retries,
        redispatch: settings.redispatch,
        rate_limit_sessions: settings.options.rate_limit_sessions,
        fullconn: settings.options.fullconn,
        id: draft.id.as_ref().map_or(0, |(_, id)| *id),
        options: settings.options.flags,
        client_keepalive: settings.options.client_keepalive.finish(),
        server_keepalive: settings.options.server_keepalive.finish(),
        health_check: settings.checks.finish(),
        source: settings.source.clone(),
        logs: settings.logs.finish(&global.logs),
        acls: settings.rules.acls.clone(),
        tcp_rules: settings.rules.tcp.clone(),
        looks_at_bytes: settings.rules.looks_at_bytes(),
        use_backend: settings.rules.use_backend.clone(),
        use_server: settings.rules.use_server.clone(),
        monitor_nets: settings.rules.monitor_nets.clone(),
        persist: settings.rules.persist.clone(),
        service,
    }
}

/// Servers with their numbers: those that state none have the first free ones, in order, from 1.
fn servers(draft: &ProxyDraft) -> Vec<Server> {
    let stated: HashSet<u32> = draft.servers.iter().filter_map(|server| server.id).collect();
    let mut free = (1..).filter(|id| !stated.contains(id));
    let number = |server: &ServerDraft| {
        let id = server.id.or_else(|| free.next()).expect("numbers do not run out");
        Server { id, ..server.server.clone() }
    };
    draft.servers.iter().map(number).collect()
}

/// The same for proxies.
fn number_proxies(proxies: &mut [Proxy]) {
    let stated: HashSet<u32> = proxies.iter().map(|proxy| proxy.id).collect();
    let mut free = (1..).filter(|id| !stated.contains(id));
    for proxy in proxies.iter_mut().filter(|proxy| proxy.id == 0) {
        proxy.id = free.next().expect("numbers do not run out");
    }
}

/// Finds the servers that `track` names, and follows each to one that is checked.
fn resolve_tracks(proxies: &mut [Proxy], drafts: &[ProxyDraft], report: &mut Report) {
    for (index, draft) in drafts.iter().enumerate() {
        for (at, server) in draft.servers.iter().enumerate() {
            let Some(words) = &server.track else { continue };
            let (backend, name) = words.split_once('/').unwrap_or((&draft.name, words));
            let is_meant = |proxy: &Proxy| &*proxy.name == backend && proxy.kind.is_backend();
            let found = proxies.iter().position(is_meant).and_then(|proxy| {
                let servers = &proxies[proxy].servers;
                let index = servers.values().position(|server| &*server.name == name)?;
                Some(ServerId { proxy: ProxyIndex(proxy), index })
            });
            match found {
                Some(id) => proxies[index].servers[at].track = Some(id),
                None => {
                    let text = format!(
                        "proxy '{}', server '{}': unable to find required server '{words}' for tracking.",
                        draft.name, server.server.name
                    );
                    report.alert(Some(&server.server.at), text);
                }
            }
        }
    }
    check_tracks(proxies, report);
}

/// The rings that `log` lines name.
fn check_rings(global: &Global, proxies: &[Proxy], rings: &[Ring], report: &mut Report) {
    let targets = proxies.iter().flat_map(|proxy| &proxy.logs.targets).chain(&global.logs);
    // Those of `global` are those of many proxies too.
    let mut told = HashSet::new();
    for target in targets {
        let LogAddress::Ring(name) = &target.address else { continue };
        if rings.iter().all(|ring| ring.name != *name) && told.insert(target.at.key()) {
            let hint = suggestion(name, rings.iter().map(|ring| &*ring.name));
            let text = format!("'log' : unable to find ring '{name}'{hint}.");
            report.alert(Some(&target.at), text);
        }
    }
}

/// A chain of servers that track each other must end at one that is checked.
fn check_tracks(proxies: &[Proxy], report: &mut Report) {
    let server = |id: ServerId| &proxies[id.proxy.0].servers[id.index];
    for (proxy, tracker) in proxies.iter().flat_map(|p| p.servers.values().map(move |s| (p, s))) {
        let Some(first) = tracker.track else { continue };
        let mut seen = HashSet::new();
        let mut last = first;
        while let Some(next) = server(last).track {
            if !seen.insert(last) {
                break;
            }
            last = next;
        }
        let tracked = server(last);
        let problem = if seen.contains(&last) {
            "belongs to a chain that tracks itself"
        } else if tracked.check.is_none() && tracked.agent.is_none() {
            "is not checked itself"
        } else {
            continue;
        };
        let text = format!(
            "proxy '{}', server '{}': unable to use {}/{} for tracking: it {problem}.",
            proxy.name, tracker.name, proxies[last.proxy.0].name, tracked.name
        );
        report.alert(Some(&tracker.at), text);
    }
}

/// Where a check goes must be known without a client; where the answers to a foreign source come from, before one.
fn check_destinations(proxy: &Proxy, report: &mut Report) {
    let connects = || {
        let steps = proxy.health_check.steps.iter();
        steps.filter_map(|step| match &step.action {
            CheckAction::Connect(connect) => Some(connect),
            _ => None,
        })
    };
    for server in
        proxy.servers.values().filter(|server| !matches!(server.carrier, Carrier::Unix(_)))
    {
        let name = format!("proxy '{}', server '{}'", proxy.name, server.name);
        let is_mapped = matches!(server.port, ServerPort::Offset(_));
        let is_any = server.address.is_unspecified();
        if let Some(times) = &server.check {
            if is_mapped && times.port.is_none() && connects().any(|connect| connect.port.is_none())
            {
                let text = format!(
                    "{name} has neither service port nor check port nor tcp_check rule 'connect' with port information."
                );
                report.alert(Some(&server.at), text);
            }
            if is_any && times.address.is_none() && connects().any(|to| to.address.is_none()) {
                let text = format!("{name} has no address of its own: its checks need an 'addr'.");
                report.alert(Some(&server.at), text);
            }
        }
        let source = proxy.source_of(server);
        let is_foreign = source.is_some_and(|source| {
            !matches!(source.address, SourceAddress::Any | SourceAddress::Fixed(_))
        });
        if is_any && is_foreign {
            let text = format!(
                "{name} has no address of its own: with 'usesrc' its answers could not be told from the kernel's."
            );
            report.alert(Some(&server.at), text);
        }
    }
}

fn check_server_names(proxy: &Proxy, report: &mut Report) {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for server in proxy.servers.values() {
        match seen.entry(&server.name) {
            Entry::Vacant(entry) => _ = entry.insert(server.at.line),
            Entry::Occupied(entry) => {
                let text = format!(
                    "proxy '{}', another server named '{}' was already defined at line {}, please use distinct names.",
                    proxy.name,
                    server.name,
                    entry.get()
                );
                report.alert(Some(&server.at), text);
            }
        }
    }
}

impl UnixBind {
    /// Gives a UNIX socket what its line does not say.
    fn apply(&self, bind: &mut Bind) {
        let Carrier::Unix(UnixAddress::Path(path)) = &mut bind.carrier else { return };
        if !self.prefix.is_empty() {
            *path = format!("{}{}", self.prefix, path.display()).into();
        }
        let SocketRights { user, group, uid, gid, mode } = self.rights.clone();
        let rights = &mut bind.rights;
        rights.user = rights.user.take().or(user);
        rights.group = rights.group.take().or(group);
        rights.uid = rights.uid.or(uid);
        rights.gid = rights.gid.or(gid);
        rights.mode = rights.mode.or(mode);
    }
}

/// UNIX sockets and inherited ones belong to one listener each.
fn check_sockets(proxies: &[Proxy], report: &mut Report) {
    let mut seen: HashMap<String, (&Proxy, &Bind)> = HashMap::new();
    for proxy in proxies.iter().filter(|proxy| !proxy.disabled) {
        for bind in proxy.binds.values() {
            let name = match &bind.carrier {
                Carrier::Wire | Carrier::Kernel => continue,
                Carrier::Unix(UnixAddress::Path(path)) => path.display().to_string(),
                Carrier::Unix(UnixAddress::Abstract { name, .. }) => format!("abns@{name}"),
                Carrier::Fd(number) => format!("fd@{number}"),
            };
            if let Some((first, other)) = seen.insert(name.clone(), (proxy, bind)) {
                let text = format!(
                    "'bind' : '{name}' already belongs to {} at {}:{}.",
                    first.name, other.at.file, other.at.line
                );
                report.alert(Some(&bind.at), text);
            }
        }
    }
}

/// What a listener answers for; `None` is the wildcard of the family.
type Listening<'a> = (u16, bool, Option<IpAddr>, Option<&'a str>);

/// A connection must have one listener: no two may have the same address and port.
fn check_listeners(proxies: &[Proxy], global: &Global, report: &mut Report) {
    let mut seen: HashMap<Listening<'_>, (&Proxy, &Bind)> = HashMap::new();
    let mut told = None;
    for proxy in proxies.iter().filter(|proxy| !proxy.disabled) {
        let of_ports = |bind: &&Bind| matches!(bind.carrier, Carrier::Wire | Carrier::Kernel);
        for bind in proxy.binds.values().filter(of_ports) {
            for is_ipv6 in families(bind.families) {
                let key = (bind.port, *is_ipv6, bind.address, bind.interface.as_deref());
                let Some((first, other)) = seen.insert(key, (proxy, bind)) else { continue };
                // Two ranges that overlap are one mistake.
                let overlap = (other.at.key(), bind.at.key());
                if told.replace(overlap.clone()) == Some(overlap) {
                    continue;
                }
                let text = format!(
                    "'bind' : address and port '{}' already belong to {} at {}:{}.",
                    shown(bind),
                    first.name,
                    other.at.file,
                    other.at.line
                );
                report.alert(Some(&bind.at), text);
            }
            let source_ports = global.source_ports.as_ref();
            if source_ports.is_some_and(|ports| ports.contains(&bind.port)) {
                let text = format!(
                    "'bind' : port {} is also one of the 'source-ports' towards servers.",
                    bind.port
                );
                report.warning(Some(&bind.at), text);
            }
        }
    }
}

fn families(families: Families) -> &'static [bool] {
    match families {
        Families::V4 => &[false],
        Families::V6 => &[true],
        Families::Both => &[false, true],
    }
}

fn shown(bind: &Bind) -> String {
    match (bind.address, bind.families) {
        (Some(IpAddr::V6(address)), _) => format!("[{address}]:{}", bind.port),
        (Some(address), _) => format!("{address}:{}", bind.port),
        (None, Families::V4) => format!("*:{}", bind.port),
        (None, _) => format!("[::]:{}", bind.port),
    }
}

fn warn_about(proxy: &Proxy, report: &mut Report) {
    if proxy.disabled {
        return;
    }
    let kind = match proxy.kind {
        ProxyKind::Frontend => "frontend",
        ProxyKind::Backend => "backend",
        ProxyKind::Listen => "proxy",
    };
    if proxy.kind.is_frontend() && proxy.binds.is_empty() {
        let text = format!(
            "{kind} '{}' has no 'bind' directive. Please declare it as a backend if this was intended.",
            proxy.name
        );
        report.warning(Some(&proxy.at), text);
    }
    let timeouts = &proxy.timeouts;
    let lacks_client = proxy.kind.is_frontend() && timeouts.client.is_none();
    let lacks_server = proxy.kind.is_backend()
        && !proxy.servers.is_empty()
        && (timeouts.connect.is_none() || (timeouts.server.is_none() && timeouts.tunnel.is_none()));
    if lacks_client || lacks_server {
        report.push(Diagnostic {
            severity: Severity::Warning,
            at: Some(proxy.at.clone()),
            text: format!("missing timeouts for {kind} '{}'.", proxy.name),
            excerpt: None,
            hint: Some(
                "Not invalid, but connections whose peer vanished will stay for ever.\n\
                 Give each of 'timeout client', 'timeout connect' and 'timeout server' a value other than zero."
                    .into(),
            ),
        });
    }
}
