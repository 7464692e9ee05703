//! What tells two configurations apart, as an operator reads it.
//!
//! In:    two configurations by the same places
//! Out:   lines: `+` what comes, `-` what goes, `~` what changes, `!` what waits for the next start
//! Never: looks at where something stands

use std::fmt;

use super::model::{
    Bind, Carrier, Config, Families, Global, Proxy, Server, ServerPort, UnixAddress,
};

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    lines: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return writeln!(f, "nothing has changed");
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Names the fields of two values that differ.
macro_rules! changed {
    ($old:expr, $new:expr, $($field:ident $(. $part:ident)* => $name:literal),* $(,)?) => {{
        let mut names: Vec<&'static str> = Vec::new();
        $(if $old.$field$(.$part)* != $new.$field$(.$part)* {
            names.push($name);
        })*
        names
    }};
}

/// Has a global section keep what a process cannot change while it runs; the words of what it would have changed.
pub fn keep_fixed(running: &Global, next: &mut Global) -> Vec<&'static str> {
    let names = changed!(running, next,
        nbthread => "nbthread",
        interfaces => "interface",
        cpu_map => "cpu-map",
        source_ports => "source-ports",
        buffers_limit => "tune.buffers.limit",
        buffers_reserve => "tune.buffers.reserve",
        process.daemon => "daemon",
        process.pidfile => "pidfile",
        process.user => "user",
        process.group => "group",
        process.uid => "uid",
        process.gid => "gid",
        process.chroot => "chroot",
        process.node => "node",
        stats.maxconn => "stats maxconn",
    );
    next.nbthread = running.nbthread;
    next.interfaces.clone_from(&running.interfaces);
    next.cpu_map.clone_from(&running.cpu_map);
    next.source_ports.clone_from(&running.source_ports);
    (next.buffers_limit, next.buffers_reserve) = (running.buffers_limit, running.buffers_reserve);
    let process = running.process.clone();
    let (busy_polling, quiet) = (next.process.busy_polling, next.process.quiet);
    let hard_stop_after = next.process.hard_stop_after;
    next.process = super::model::Process { busy_polling, quiet, hard_stop_after, ..process };
    next.stats.maxconn = running.stats.maxconn;
    names
}

impl Difference {
    /// From `old` to `new`; `kept` waits for the next start.
    pub fn new(old: &Config, new: &Config, kept: Vec<&'static str>) -> Self {
        let mut lines: Vec<String> =
            kept.into_iter().map(|name| format!("! global: {name} (at the next start)")).collect();
        lines.extend(global(&old.global, &new.global));
        if old.rings != new.rings {
            lines.push("~ ring sections".into());
        }
        for (index, proxy) in old.proxies.placed() {
            if !new.proxies.has(index) {
                lines.push(format!("- {}", title(proxy)));
            }
        }
        for (index, proxy) in new.proxies.placed() {
            match old.proxies.has(index) {
                true => lines.extend(proxy_lines(&old.proxies[index], proxy)),
                false => {
                    lines.push(format!("+ {}", title(proxy)));
                    lines.extend(proxy.binds.values().map(|one| format!("  + {}", bind(one))));
                    lines.extend(proxy.servers.values().map(|one| format!("  + {}", server(one))));
                }
            }
        }
        Difference { lines }
    }
}

fn title(proxy: &Proxy) -> String {
    let kind = match proxy.kind {
        super::model::ProxyKind::Frontend => "frontend",
        super::model::ProxyKind::Backend => "backend",
        super::model::ProxyKind::Listen => "listen",
    };
    format!("{kind} {}", proxy.name)
}

fn unix(address: &UnixAddress) -> String {
    match address {
        UnixAddress::Path(path) => path.display().to_string(),
        UnixAddress::Abstract { name, .. } => format!("abns@{name}"),
    }
}

fn bind(bind: &Bind) -> String {
    let place = match (&bind.carrier, bind.address, bind.families) {
        (Carrier::Unix(address), ..) => unix(address),
        (Carrier::Fd(number), ..) => format!("fd@{number}"),
        (_, Some(ip), _) => std::net::SocketAddr::new(ip, bind.port).to_string(),
        (_, None, Families::V4) => format!("*:{}", bind.port),
        (_, None, _) => format!("[::]:{}", bind.port),
    };
    format!("bind {place}")
}

fn server(server: &Server) -> String {
    let place = match (&server.carrier, server.port) {
        (Carrier::Unix(address), _) => unix(address),
        (_, ServerPort::Fixed(port)) => std::net::SocketAddr::new(server.address, port).to_string(),
        (_, ServerPort::Offset(offset)) => format!("{}:{offset:+}", server.address),
    };
    format!("server {} {place}", server.name)
}

/// A line with the words that differ, if there are any.
fn line(title: &str, mut names: Vec<&'static str>) -> Option<String> {
    names.dedup();
    (!names.is_empty()).then(|| format!("~ {title}: {}", names.join(", ")))
}

fn global(old: &Global, new: &Global) -> Option<String> {
    let names = changed!(old, new,
        maxconn => "maxconn",
        maxconnrate => "maxconnrate",
        maxsessrate => "maxsessrate",
        maxsslrate => "maxsslrate",
        addresses => "address",
        routes => "route",
        logs => "log",
        log_identity => "log-tag, log-send-hostname",
        maxaccept => "tune.maxaccept",
        maxpollevents => "tune.maxpollevents",
        runqueue_depth => "tune.runqueue-depth",
        bufsize => "tune.bufsize",
        maxrewrite => "tune.maxrewrite",
        spread_checks => "spread-checks",
        max_spread_checks => "max-spread-checks",
        stats.sockets => "stats socket",
        stats.timeout => "stats timeout",
        process.busy_polling => "busy-polling",
        process.quiet => "quiet",
        process.hard_stop_after => "hard-stop-after",
    );
    line("global", names)
}

fn proxy_lines(old: &Proxy, new: &Proxy) -> Vec<String> {
    let names = changed!(old, new,
        disabled => "disabled",
        id => "id",
        maxconn => "maxconn",
        backlog => "backlog",
        default_backend => "default_backend",
        balance => "balance",
        timeouts => "timeout",
        retries => "retries",
        redispatch => "option redispatch",
        rate_limit_sessions => "rate-limit sessions",
        fullconn => "fullconn",
        options => "option",
        client_keepalive => "clitcpka",
        server_keepalive => "srvtcpka",
        health_check => "checks",
        source => "source",
        logs => "log",
        acls => "acl",
        tcp_rules => "tcp-request, tcp-response",
        use_backend => "use_backend",
        use_server => "use-server",
        monitor_nets => "monitor-net",
        persist => "persist",
        service => "stats, http-request",
    );
    let mut parts = Vec::new();
    for (_, one) in old.binds.placed().filter(|(place, _)| !new.binds.has(*place)) {
        parts.push(format!("  - {}", bind(one)));
    }
    for (place, one) in new.binds.placed() {
        match old.binds.has(place) {
            false => parts.push(format!("  + {}", bind(one))),
            true => parts.extend(
                line(&bind(one), bind_changes(&old.binds[place], one))
                    .map(|line| format!("  {line}")),
            ),
        }
    }
    for (_, one) in old.servers.placed().filter(|(place, _)| !new.servers.has(*place)) {
        parts.push(format!("  - {}", server(one)));
    }
    for (place, one) in new.servers.placed() {
        match old.servers.has(place) {
            false => parts.push(format!("  + {}", server(one))),
            true => parts.extend(
                line(&server(one), server_changes(&old.servers[place], one))
                    .map(|line| format!("  {line}")),
            ),
        }
    }
    let order =
        |proxy: &Proxy| -> Vec<usize> { proxy.servers.placed().map(|(at, _)| at).collect() };
    let is_reordered = parts.is_empty() && order(old) != order(new);
    if names.is_empty() && parts.is_empty() && !is_reordered {
        return Vec::new();
    }
    let mut names = names;
    names.extend(is_reordered.then_some("order of servers"));
    let head = line(&title(new), names).unwrap_or_else(|| format!("~ {}", title(new)));
    std::iter::once(head).chain(parts).collect()
}

fn bind_changes(old: &Bind, new: &Bind) -> Vec<&'static str> {
    changed!(old, new,
        maxconn => "maxconn",
        backlog => "backlog (at the next start)",
        name => "name",
        id => "id",
        nice => "nice",
        rights => "mode, user, group (at the next start)",
        accept_proxy => "accept-proxy",
        defer_accept => "defer-accept",
        mss => "mss (at the next start)",
        user_timeout => "tcp-ut",
    )
}

fn server_changes(old: &Server, new: &Server) -> Vec<&'static str> {
    changed!(old, new,
        carrier => "address",
        address => "address",
        port => "port",
        id => "id",
        weight => "weight",
        disabled => "disabled",
        backup => "backup",
        maxconn => "maxconn",
        minconn => "minconn",
        maxqueue => "maxqueue",
        slowstart => "slowstart",
        check => "check",
        agent => "agent-check",
        track => "track",
        shutdown_when_down => "on-marked-down",
        shutdown_backups_when_up => "on-marked-up",
        send_proxy => "send-proxy",
        source => "source",
        user_timeout => "tcp-ut",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Text, load_from};

    fn read(text: &str) -> Config {
        let text = Text(format!("{text} timeout client 1s\n timeout server 1s\n"));
        load_from(&["x".into()], &Environment::default(), &text).unwrap().config
    }

    #[test]
    fn words_that_differ_are_told_and_what_cannot_change_is_kept() {
        let old =
            read("global\n nbthread 2\n maxconn 9\nlisten l\n bind :80\n server a 192.0.2.1:1\n");
        let mut new = read(
            "global\n nbthread 3\n maxconn 8\nlisten l\n bind :80 maxconn 7\n balance leastconn\n server a 192.0.2.2:1 weight 4\n",
        );
        let kept = keep_fixed(&old.global, &mut new.global);
        assert_eq!(new.global.nbthread, Some(2));
        let text = Difference::new(&old, &new, kept).to_string();
        assert_eq!(
            text,
            "! global: nbthread (at the next start)\n~ global: maxconn\n~ listen l: balance\n  ~ bind *:80: maxconn\n  \
             ~ server a 192.0.2.2:1: address, weight\n"
        );
        assert_eq!(Difference::new(&old, &old, Vec::new()).to_string(), "nothing has changed\n");
    }
}
