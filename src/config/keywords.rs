//! The words of the language, and how far xlb takes each.
//!
//! In:    a scope and a word
//! Out:   active; inactive with the shape of its arguments; known to HAProxy alone; or nothing
//! Never: says what an active word does: that is `global`, `proxy`, `bind`, `server`
//! Read:  docs/configuration.md lists the same words; a test compares the two

use super::report::Fault;
use super::units;

/// Where a word may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The start of a section.
    Section,
    /// The `global` section.
    Global,
    /// `defaults`, `frontend`, `backend`, `listen`.
    Proxy,
    /// A parameter of `bind`.
    Bind,
    /// A parameter of `server` and `default-server`.
    Server,
    /// A `ring` section.
    Ring,
}

/// How far xlb takes a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what the manual says.
    Active,
    /// It is read and checked; what it asks for does not happen yet.
    Inactive,
    /// HAProxy has it; here it is an error.
    Unsupported,
}

/// A word of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// The word, or two of them: `timeout client`.
    pub name: &'static str,
    /// How far xlb takes it.
    pub standing: Standing,
}

/// Every word of a scope.
pub fn keywords(scope: Scope) -> impl Iterator<Item = Keyword> {
    let Table { active, inactive, unsupported } = table(scope);
    let active = active.iter().map(|&name| Keyword { name, standing: Standing::Active });
    let inactive = inactive.iter().map(|&(name, _)| Keyword { name, standing: Standing::Inactive });
    let unsupported =
        unsupported.iter().map(|&name| Keyword { name, standing: Standing::Unsupported });
    active.chain(inactive).chain(unsupported)
}

/// What the arguments of an inactive word must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// None.
    Flag,
    /// One number within the limits.
    Integer(i64, i64),
    /// One time.
    Time,
    /// At least, at most this many words.
    Words(usize, usize),
}

const ANY: Shape = Shape::Words(1, usize::MAX);
const OPTIONAL: Shape = Shape::Words(0, usize::MAX);
const NUMBER: Shape = Shape::Integer(0, i32::MAX as i64);
/// Most tunables take a number, some `on`, `off` or a size: one word.
const TUNE: Shape = Shape::Words(1, 1);

/// What HTTP is good for so far.
pub(super) const LAYER_7: &str = "'mode http' is for frontends that answer by themselves: 'stats enable', or \
     'http-request use-service prometheus-exporter'.";

/// What the table says about a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Active,
    Inactive(Shape),
    Unsupported,
}

/// Looks a word up.
pub(super) fn find(scope: Scope, name: &str) -> Option<Found> {
    let table = table(scope);
    if table.active.contains(&name) {
        return Some(Found::Active);
    }
    if let Some(&(_, shape)) = table.inactive.iter().find(|(known, _)| *known == name) {
        return Some(Found::Inactive(shape));
    }
    table.unsupported.contains(&name).then_some(Found::Unsupported)
}

/// Whether `no` may stand before a word.
pub(super) fn is_negatable(name: &str) -> bool {
    match name.strip_prefix("option ") {
        Some(_) => find(Scope::Proxy, name).is_some() && !NOT_NEGATABLE.contains(&name),
        None => NEGATABLE.contains(&name),
    }
}

/// Reads the arguments of an inactive word: how many of the words that follow are its own.
pub(super) fn consume(name: &str, shape: Shape, arguments: &[&str]) -> Result<usize, Fault> {
    let first = arguments.first().copied();
    match shape {
        Shape::Flag => Ok(0),
        Shape::Integer(low, high) => units::integer(first, low..=high, name).map(|_| 1),
        Shape::Time => {
            let word = first.unwrap_or("");
            units::time(word).map(|_| 1).map_err(|error| error.of_time(word, name))
        }
        Shape::Words(least, most) if arguments.len() >= least => Ok(arguments.len().min(most)),
        Shape::Words(least, _) => {
            Err(format!("'{name}' expects {}.", arguments_text(least)).into())
        }
    }
}

fn arguments_text(least: usize) -> String {
    match least {
        1 => "an argument".to_string(),
        _ => format!("{least} arguments"),
    }
}

struct Table {
    active: &'static [&'static str],
    inactive: &'static [(&'static str, Shape)],
    unsupported: &'static [&'static str],
}

fn table(scope: Scope) -> &'static Table {
    match scope {
        Scope::Section => &SECTIONS,
        Scope::Global => &GLOBAL,
        Scope::Proxy => &PROXY,
        Scope::Bind => &BIND,
        Scope::Server => &SERVER,
        Scope::Ring => &RING,
    }
}

/// Words that are not options and may have `no` before them.
const NEGATABLE: &[&str] = &[
    "busy-polling",
    "insecure-fork-wanted",
    "log",
    "numa-cpu-mapping",
    "set-dumpable",
    "strict-limits",
];

/// Sections.
const SECTIONS: Table = Table {
    active: &["backend", "defaults", "frontend", "global", "listen", "ring"],
    inactive: &[],
    unsupported: &[
        "acme",
        "cache",
        "crt-store",
        "dynamic-update",
        "fcgi-app",
        "healthcheck",
        "http-errors",
        "log-forward",
        "log-profile",
        "mailers",
        "namespace_list",
        "peers",
        "program",
        "resolvers",
        "traces",
        "userlist",
    ],
};

/// Words of `ring`.
const RING: Table = Table {
    active: &[
        "description",
        "format",
        "maxlen",
        "server",
        "size",
        "timeout connect",
        "timeout server",
    ],
    inactive: &[],
    unsupported: &["backing-file", "default-server", "server-template"],
};

/// Words of `global`.
const GLOBAL: Table = Table {
    active: &[
        "address",
        "busy-polling",
        "chroot",
        "cpu-map",
        "daemon",
        "gid",
        "group",
        "hard-stop-after",
        "interface",
        "log",
        "log-send-hostname",
        "log-tag",
        "max-spread-checks",
        "maxconn",
        "maxconnrate",
        "maxsessrate",
        "maxsslrate",
        "nbproc",
        "nbthread",
        "node",
        "pidfile",
        "presetenv",
        "quiet",
        "resetenv",
        "route",
        "setenv",
        "source-ports",
        "spread-checks",
        "stats maxconn",
        "stats socket",
        "stats timeout",
        "tune.buffers.limit",
        "tune.buffers.reserve",
        "tune.bufsize",
        "tune.maxaccept",
        "tune.maxpollevents",
        "tune.maxrewrite",
        "tune.runqueue-depth",
        "uid",
        "unix-bind",
        "unsetenv",
        "user",
    ],
    inactive: &[
        ("ca-base", Shape::Words(1, 1)),
        ("close-spread-time", Shape::Time),
        ("cpu-affinity", ANY),
        ("cpu-policy", ANY),
        ("cpu-set", ANY),
        ("crt-base", Shape::Words(1, 1)),
        ("debug", Shape::Flag),
        ("default-path", Shape::Words(1, 2)),
        ("description", ANY),
        ("expose-deprecated-directives", Shape::Flag),
        ("expose-experimental-directives", Shape::Flag),
        ("external-check", Shape::Words(0, 1)),
        ("grace", Shape::Time),
        ("insecure-fork-wanted", Shape::Flag),
        ("insecure-setuid-wanted", Shape::Flag),
        ("localpeer", Shape::Words(1, 1)),
        ("master-worker", Shape::Words(0, 1)),
        ("max-threads-per-group", NUMBER),
        ("maxcompcpuusage", Shape::Integer(0, 100)),
        ("maxcomprate", NUMBER),
        ("maxpipes", NUMBER),
        ("maxsslconn", NUMBER),
        ("mworker-max-reloads", NUMBER),
        ("no-memory-trimming", Shape::Flag),
        ("noepoll", Shape::Flag),
        ("noevports", Shape::Flag),
        ("nogetaddrinfo", Shape::Flag),
        ("nokqueue", Shape::Flag),
        ("nopoll", Shape::Flag),
        ("noreuseport", Shape::Flag),
        ("nosplice", Shape::Flag),
        ("numa-cpu-mapping", Shape::Flag),
        ("profiling.tasks", Shape::Words(1, 1)),
        ("server-state-base", Shape::Words(1, 1)),
        ("server-state-file", Shape::Words(1, 1)),
        ("set-dumpable", Shape::Flag),
        ("ssl-default-bind-ciphers", Shape::Words(1, 1)),
        ("ssl-default-bind-ciphersuites", Shape::Words(1, 1)),
        ("ssl-default-bind-curves", Shape::Words(1, 1)),
        ("ssl-default-bind-options", ANY),
        ("ssl-default-server-ciphers", Shape::Words(1, 1)),
        ("ssl-default-server-ciphersuites", Shape::Words(1, 1)),
        ("ssl-default-server-options", ANY),
        ("ssl-dh-param-file", Shape::Words(1, 1)),
        ("ssl-server-verify", Shape::Words(1, 1)),
        ("stats bind-process", ANY),
        ("strict-limits", Shape::Flag),
        ("thread-group", ANY),
        ("thread-groups", NUMBER),
        ("thread-hard-limit", NUMBER),
        ("tune.applet.zero-copy-forwarding", TUNE),
        ("tune.bufsize.large", TUNE),
        ("tune.bufsize.small", TUNE),
        ("tune.chksize", TUNE),
        ("tune.cli.max-payload-size", TUNE),
        ("tune.comp.maxlevel", TUNE),
        ("tune.defaults.purge", TUNE),
        ("tune.disable-fast-forward", TUNE),
        ("tune.disable-zero-copy-forwarding", TUNE),
        ("tune.epoll.mask-events", TUNE),
        ("tune.events.max-events-at-once", TUNE),
        ("tune.fail-alloc", TUNE),
        ("tune.fd.edge-triggered", TUNE),
        ("tune.fd.tables", TUNE),
        ("tune.glitches.kill.cpu-usage", TUNE),
        ("tune.h1.be.glitches-threshold", TUNE),
        ("tune.h1.fe.glitches-threshold", TUNE),
        ("tune.h1.zero-copy-fwd-recv", TUNE),
        ("tune.h1.zero-copy-fwd-send", TUNE),
        ("tune.h2.be.glitches-threshold", TUNE),
        ("tune.h2.be.initial-window-size", TUNE),
        ("tune.h2.be.max-concurrent-streams", TUNE),
        ("tune.h2.be.max-frames-at-once", TUNE),
        ("tune.h2.be.rxbuf", TUNE),
        ("tune.h2.fe.glitches-threshold", TUNE),
        ("tune.h2.fe.initial-window-size", TUNE),
        ("tune.h2.fe.max-concurrent-streams", TUNE),
        ("tune.h2.fe.max-frames-at-once", TUNE),
        ("tune.h2.fe.max-rst-at-once", TUNE),
        ("tune.h2.fe.max-total-streams", TUNE),
        ("tune.h2.fe.rxbuf", TUNE),
        ("tune.h2.header-table-size", TUNE),
        ("tune.h2.initial-window-size", TUNE),
        ("tune.h2.log-errors", TUNE),
        ("tune.h2.max-concurrent-streams", TUNE),
        ("tune.h2.max-frame-size", TUNE),
        ("tune.h2.zero-copy-fwd-send", TUNE),
        ("tune.http.cookielen", TUNE),
        ("tune.http.logurilen", TUNE),
        ("tune.http.maxhdr", TUNE),
        ("tune.idle-pool.shared", TUNE),
        ("tune.idletimer", TUNE),
        ("tune.listener.default-shards", TUNE),
        ("tune.listener.multi-queue", TUNE),
        ("tune.max-checks-per-thread", TUNE),
        ("tune.max-rules-at-once", TUNE),
        ("tune.memory.hot-size", TUNE),
        ("tune.notsent-lowat.client", TUNE),
        ("tune.notsent-lowat.server", TUNE),
        ("tune.pattern.cache-size", TUNE),
        ("tune.peers.max-updates-at-once", TUNE),
        ("tune.pipesize", TUNE),
        ("tune.pool-high-fd-ratio", TUNE),
        ("tune.pool-low-fd-ratio", TUNE),
        ("tune.pt.zero-copy-forwarding", TUNE),
        ("tune.rcvbuf.backend", TUNE),
        ("tune.rcvbuf.client", TUNE),
        ("tune.rcvbuf.frontend", TUNE),
        ("tune.rcvbuf.server", TUNE),
        ("tune.recv_enough", TUNE),
        ("tune.renice.runtime", TUNE),
        ("tune.renice.startup", TUNE),
        ("tune.ring.queues", TUNE),
        ("tune.sched.low-latency", TUNE),
        ("tune.sndbuf.backend", TUNE),
        ("tune.sndbuf.client", TUNE),
        ("tune.sndbuf.frontend", TUNE),
        ("tune.sndbuf.server", TUNE),
        ("tune.ssl.cachesize", TUNE),
        ("tune.ssl.capture-buffer-size", TUNE),
        ("tune.ssl.capture-cipherlist-size", TUNE),
        ("tune.ssl.certificate-compression", TUNE),
        ("tune.ssl.default-dh-param", TUNE),
        ("tune.ssl.force-private-cache", TUNE),
        ("tune.ssl.hard-maxrecord", TUNE),
        ("tune.ssl.keylog", TUNE),
        ("tune.ssl.keyupdate-rate-limit", TUNE),
        ("tune.ssl.lifetime", TUNE),
        ("tune.ssl.maxrecord", TUNE),
        ("tune.ssl.ocsp-update.maxdelay", TUNE),
        ("tune.ssl.ocsp-update.mindelay", TUNE),
        ("tune.ssl.ssl-ctx-cache-size", TUNE),
        ("tune.stick-counters", TUNE),
        ("tune.streams-elasticity", TUNE),
        ("tune.takeover-other-tg-connections", TUNE),
        ("tune.vars.check-max-size", TUNE),
        ("tune.vars.global-max-size", TUNE),
        ("tune.vars.proc-max-size", TUNE),
        ("tune.vars.reqres-max-size", TUNE),
        ("tune.vars.sess-max-size", TUNE),
        ("tune.vars.txn-max-size", TUNE),
        ("ulimit-n", NUMBER),
        ("warn-blocked-traffic-after", Shape::Time),
        ("zero-warning", Shape::Flag),
    ],
    unsupported: &[
        "51degrees-cache-size",
        "51degrees-data-file",
        "51degrees-property-name-list",
        "acme.scheduler",
        "deviceatlas-json-file",
        "deviceatlas-log-level",
        "dns-accept-family",
        "force-cfg-parser-pause",
        "h1-accept-payload-with-any-method",
        "h1-case-adjust",
        "h1-case-adjust-file",
        "h1-do-not-close-on-insecure-transfer-encoding",
        "harden.reject-privileged-ports.quic",
        "harden.reject-privileged-ports.tcp",
        "http-err-codes",
        "http-fail-codes",
        "httpclient.resolvers.disabled",
        "httpclient.resolvers.id",
        "httpclient.resolvers.prefer",
        "httpclient.retries",
        "httpclient.ssl.ca-file",
        "httpclient.ssl.verify",
        "httpclient.timeout.connect",
        "issuers-chain-path",
        "jwt.decrypt_alg_list",
        "jwt.decrypt_enc_list",
        "key-base",
        "limited-quic",
        "lua-load",
        "lua-load-per-thread",
        "lua-prepend-path",
        "noktls",
        "ocsp-update.disable",
        "ocsp-update.httpproxy",
        "ocsp-update.maxdelay",
        "ocsp-update.mindelay",
        "ocsp-update.mode",
        "pp2-never-send-local",
        "prealloc-fd",
        "set-var",
        "set-var-fmt",
        "setcap",
        "shm-stats-file",
        "shm-stats-file-max-objects",
        "ssl-default-bind-client-sigalgs",
        "ssl-default-bind-sigalgs",
        "ssl-default-server-client-sigalgs",
        "ssl-default-server-curves",
        "ssl-default-server-sigalgs",
        "ssl-engine",
        "ssl-load-extra-del-ext",
        "ssl-load-extra-files",
        "ssl-mode-async",
        "ssl-passphrase-cmd",
        "ssl-propquery",
        "ssl-provider",
        "ssl-provider-path",
        "ssl-security-level",
        "ssl-skip-self-issued-ca",
        "stress-level",
        "tune.lua.forced-yield",
        "tune.lua.maxmem",
        "tune.lua.service-timeout",
        "tune.lua.session-timeout",
        "tune.lua.task-timeout",
        "wurfl-cache-size",
        "wurfl-data-file",
        "wurfl-engine-mode",
    ],
};

/// Words of `defaults`, `frontend`, `backend` and `listen`.
const PROXY: Table = Table {
    active: &[
        "acl",
        "backlog",
        "balance",
        "bind",
        "clitcpka-cnt",
        "clitcpka-idle",
        "clitcpka-intvl",
        "default-server",
        "default_backend",
        "description",
        "disabled",
        "enabled",
        "error-log-format",
        "fullconn",
        "hash-balance-factor",
        "hash-type",
        "http-check",
        "http-request",
        "id",
        "log",
        "log-format",
        "log-format-sd",
        "log-tag",
        "maxconn",
        "mode",
        "monitor-net",
        "option abortonclose",
        "option allbackups",
        "option clitcpka",
        "option contstats",
        "option dontlog-normal",
        "option dontlognull",
        "option httpchk",
        "option httplog",
        "option ldap-check",
        "option log-health-checks",
        "option log-separate-errors",
        "option logasap",
        "option mysql-check",
        "option nolinger",
        "option persist",
        "option pgsql-check",
        "option redis-check",
        "option redispatch",
        "option smtpchk",
        "option socket-stats",
        "option srvtcpka",
        "option ssl-hello-chk",
        "option tcp-check",
        "option tcpka",
        "option tcplog",
        "persist",
        "rate-limit",
        "retries",
        "retry-on",
        "server",
        "server-template",
        "source",
        "srvtcpka-cnt",
        "srvtcpka-idle",
        "srvtcpka-intvl",
        "stats admin",
        "stats auth",
        "stats enable",
        "stats hide-version",
        "stats realm",
        "stats refresh",
        "stats scope",
        "stats show-desc",
        "stats show-legends",
        "stats show-node",
        "stats uri",
        "tcp-check",
        "tcp-request",
        "tcp-response",
        "timeout check",
        "timeout client",
        "timeout client-fin",
        "timeout client-hs",
        "timeout connect",
        "timeout queue",
        "timeout server",
        "timeout server-fin",
        "timeout tunnel",
        "use-server",
        "use_backend",
    ],
    inactive: &[
        ("bind-process", ANY),
        ("errorfile", Shape::Words(2, 2)),
        ("errorfiles", ANY),
        ("errorloc", Shape::Words(2, 2)),
        ("errorloc302", Shape::Words(2, 2)),
        ("errorloc303", Shape::Words(2, 2)),
        ("grace", Shape::Time),
        ("http-reuse", Shape::Words(1, 1)),
        ("load-server-state-from-file", Shape::Words(1, 1)),
        ("max-keep-alive-queue", Shape::Integer(-1, 2147483647)),
        ("option accept-invalid-http-request", Shape::Flag),
        ("option accept-invalid-http-response", Shape::Flag),
        ("option accept-unsafe-violations-in-http-request", Shape::Flag),
        ("option accept-unsafe-violations-in-http-response", Shape::Flag),
        ("option checkcache", Shape::Flag),
        ("option disable-h2-upgrade", Shape::Flag),
        ("option external-check", Shape::Flag),
        ("option forwarded", OPTIONAL),
        ("option forwardfor", Shape::Words(0, 6)),
        ("option h1-case-adjust-bogus-client", Shape::Flag),
        ("option h1-case-adjust-bogus-server", Shape::Flag),
        ("option http-buffer-request", Shape::Flag),
        ("option http-drop-request-trailers", Shape::Flag),
        ("option http-drop-response-trailers", Shape::Flag),
        ("option http-ignore-probes", Shape::Flag),
        ("option http-keep-alive", Shape::Flag),
        ("option http-no-delay", Shape::Flag),
        ("option http-pretend-keepalive", Shape::Flag),
        ("option http-restrict-req-hdr-names", Shape::Words(1, 1)),
        ("option http-server-close", Shape::Flag),
        ("option http-use-proxy-header", Shape::Flag),
        ("option httpclose", Shape::Flag),
        ("option httpslog", Shape::Flag),
        ("option idle-close-on-response", Shape::Flag),
        ("option independent-streams", Shape::Flag),
        ("option originalto", Shape::Words(0, 4)),
        ("option prefer-last-server", Shape::Flag),
        ("option splice-auto", Shape::Flag),
        ("option splice-request", Shape::Flag),
        ("option splice-response", Shape::Flag),
        ("option spop-check", Shape::Flag),
        ("option tcp-smart-accept", Shape::Flag),
        ("option tcp-smart-connect", Shape::Flag),
        ("option use-small-buffers", OPTIONAL),
        ("server-state-file-name", Shape::Words(0, 1)),
        ("timeout http-keep-alive", Shape::Time),
        ("timeout http-request", Shape::Time),
        ("timeout tarpit", Shape::Time),
    ],
    unsupported: &[
        "appsession",
        "be-unpublished",
        "block",
        "capture",
        "compression",
        "cookie",
        "declare",
        "dispatch",
        "dynamic-cookie-key",
        "email-alert",
        "external-check",
        "filter",
        "filter-sequence",
        "force-be-switch",
        "force-persist",
        "guid",
        "hash-preserve-affinity",
        "http-after-response",
        "http-error",
        "http-response",
        "http-send-name-header",
        "http_proxy",
        "ignore-persist",
        "log-steps",
        "max-session-srv-conns",
        "monitor",
        "monitor-uri",
        "option http_proxy",
        "option transparent",
        "quic-initial",
        "redirect",
        "reqadd",
        "reqrep",
        "rspadd",
        "rspdel",
        "ssl-f-use",
        "stats http-request",
        "stats show-modules",
        "stats show-version",
        "stick",
        "stick-table",
        "transparent",
        "unique-id-format",
        "unique-id-header",
        "use-fcgi-app",
    ],
};

/// Parameters of `bind`.
const BIND: Table = Table {
    active: &[
        "accept-proxy",
        "backlog",
        "defer-accept",
        "gid",
        "group",
        "id",
        "interface",
        "level",
        "maxconn",
        "mode",
        "mss",
        "name",
        "nice",
        "tcp-ut",
        "uid",
        "user",
        "v4v6",
        "v6only",
    ],
    inactive: &[
        ("cc", Shape::Words(1, 1)),
        ("expose-fd", Shape::Words(1, 1)),
        ("process", Shape::Words(1, 1)),
        ("severity-output", Shape::Words(1, 1)),
        ("shards", Shape::Words(1, 1)),
        ("tfo", Shape::Flag),
        ("thread", Shape::Words(1, 1)),
        ("transparent", Shape::Flag),
    ],
    unsupported: &[
        "accept-netscaler-cip",
        "allow-0rtt",
        "alpn",
        "ca-file",
        "ca-ignore-err",
        "ca-sign-file",
        "ca-sign-pass",
        "ca-verify-file",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "crl-file",
        "crt",
        "crt-ignore-err",
        "crt-list",
        "curves",
        "default-crt",
        "ecdhe",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "generate-certificates",
        "guid-prefix",
        "idle-ping",
        "ktls",
        "label",
        "namespace",
        "nbconn",
        "no-alpn",
        "no-ca-names",
        "no-sslv3",
        "no-strict-sni",
        "no-tls-tickets",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "npn",
        "prefer-client-ciphers",
        "proto",
        "sigalgs",
        "ssl",
        "ssl-max-ver",
        "ssl-min-ver",
        "strict-sni",
        "tcp-md5sig",
        "tcp-ss",
        "tls-ticket-keys",
        "tls-tickets",
        "verify",
    ],
};

/// Parameters of `server` and `default-server`.
const SERVER: Table = Table {
    active: &[
        "addr",
        "agent-addr",
        "agent-check",
        "agent-inter",
        "agent-port",
        "agent-send",
        "backup",
        "check",
        "check-send-proxy",
        "disabled",
        "downinter",
        "enabled",
        "error-limit",
        "fall",
        "fastinter",
        "id",
        "init-state",
        "inter",
        "maxconn",
        "maxqueue",
        "minconn",
        "no-agent-check",
        "no-backup",
        "no-check",
        "no-check-send-proxy",
        "no-send-proxy",
        "no-send-proxy-v2",
        "observe",
        "on-error",
        "on-marked-down",
        "on-marked-up",
        "port",
        "proxy-v2-options",
        "rise",
        "send-proxy",
        "send-proxy-v2",
        "slowstart",
        "source",
        "tcp-ut",
        "track",
        "weight",
    ],
    inactive: &[
        ("check-proto", Shape::Words(1, 1)),
        ("cookie", Shape::Words(1, 1)),
        ("hash-key", Shape::Words(1, 1)),
        ("init-addr", Shape::Words(1, 1)),
        ("max-reuse", Shape::Integer(-1, 2147483647)),
        ("no-ssl", Shape::Flag),
        ("no-tfo", Shape::Flag),
        ("non-stick", Shape::Flag),
        ("pool-low-conn", Shape::Integer(-1, 2147483647)),
        ("pool-max-conn", Shape::Integer(-1, 2147483647)),
        ("pool-purge-delay", Shape::Time),
        ("stick", Shape::Flag),
        ("tfo", Shape::Flag),
    ],
    unsupported: &[
        "allow-0rtt",
        "alpn",
        "ca-file",
        "cc",
        "check-alpn",
        "check-pool-conn-name",
        "check-reuse-pool",
        "check-sni",
        "check-sni-auto",
        "check-ssl",
        "check-via-socks4",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "crl-file",
        "crt",
        "curves",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "guid",
        "healthcheck",
        "idle-ping",
        "ktls",
        "log-bufsize",
        "log-proto",
        "namespace",
        "no-check-reuse-pool",
        "no-check-sni-auto",
        "no-check-ssl",
        "no-renegotiate",
        "no-send-proxy-v2-ssl",
        "no-send-proxy-v2-ssl-cn",
        "no-sni-auto",
        "no-ssl-reuse",
        "no-sslv3",
        "no-tls-tickets",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "npn",
        "pool-conn-name",
        "proto",
        "redir",
        "renegotiate",
        "resolve-net",
        "resolve-opts",
        "resolve-prefer",
        "resolvers",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
        "set-proxy-v2-tlv-fmt",
        "shard",
        "sigalgs",
        "sni",
        "sni-auto",
        "socks4",
        "ssl",
        "ssl-max-ver",
        "ssl-min-ver",
        "ssl-reuse",
        "strict-maxconn",
        "tcp-md5sig",
        "tls-tickets",
        "usesrc",
        "verify",
        "verifyhost",
        "ws",
    ],
};

/// Options that have no `no` form.
const NOT_NEGATABLE: &[&str] = &[
    "option external-check",
    "option forwarded",
    "option forwardfor",
    "option http-restrict-req-hdr-names",
    "option httpchk",
    "option httplog",
    "option httpslog",
    "option ldap-check",
    "option mysql-check",
    "option originalto",
    "option pgsql-check",
    "option redis-check",
    "option smtpchk",
    "option spop-check",
    "option ssl-hello-chk",
    "option tcp-check",
    "option tcpka",
    "option tcplog",
    "option use-small-buffers",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPES: [Scope; 6] =
        [Scope::Section, Scope::Global, Scope::Proxy, Scope::Bind, Scope::Server, Scope::Ring];

    #[test]
    fn every_word_stands_once_and_in_order() {
        for scope in SCOPES {
            let Table { active, inactive, unsupported } = table(scope);
            assert!(active.is_sorted(), "{scope:?}");
            assert!(inactive.is_sorted_by_key(|(name, _)| name), "{scope:?}");
            assert!(unsupported.is_sorted(), "{scope:?}");
            let mut names: Vec<&str> = keywords(scope).map(|keyword| keyword.name).collect();
            names.sort_unstable();
            let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
            assert!(twice.is_empty(), "{scope:?}: {twice:?}");
        }
    }

    #[test]
    fn shapes() {
        assert_eq!(consume("check", Shape::Flag, &["x"]), Ok(0));
        assert_eq!(consume("rise", Shape::Integer(1, 9), &["3", "x"]), Ok(1));
        assert!(consume("rise", Shape::Integer(1, 9), &["0"]).is_err());
        assert_eq!(consume("inter", Shape::Time, &["3s"]), Ok(1));
        assert!(consume("inter", Shape::Time, &[]).is_err());
        assert_eq!(consume("user", Shape::Words(1, 1), &["a", "b"]), Ok(1));
        assert!(consume("user", Shape::Words(1, 1), &[]).is_err());
        assert_eq!(consume("x", ANY, &["a", "b", "c"]), Ok(3));
    }

    #[test]
    fn some_words_have_a_negative_form() {
        assert!(is_negatable("log") && is_negatable("option redispatch"));
        assert!(is_negatable("option splice-auto") && !is_negatable("option tcplog"));
        assert!(!is_negatable("option foo") && !is_negatable("timeout client"));
    }
}
