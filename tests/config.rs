//! The configuration language, seen from outside.
//!
//! In:    texts, the example configurations, the manual, and HAProxy itself where it is installed
//! Out:   what the model says, what the report says, and whether HAProxy would agree
//! Never: opens a port: HAProxy is asked to check (`-c`), never to run

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use xlb::config::model::{
    Balance, Config, Families, LogTransport, Proxy, ProxyIndex, ProxyKind, Redispatch, ServerPort,
};
use xlb::config::{
    Environment, Loaded, Report, Scope, Severity, Standing, Surroundings, System, evaluate,
    keywords, load, load_from,
};

/// Files and names that exist only here.
struct Memory(Vec<(&'static str, String)>);

impl Surroundings for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let inside = |name: &&str| Path::new(name).parent() == Some(path);
        let files: Vec<PathBuf> =
            self.0.iter().map(|(name, _)| *name).filter(inside).map(PathBuf::from).collect();
        Ok((!files.is_empty()).then_some(files))
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "web.example" => Ok(vec![ip("2001:db8::7"), ip("192.0.2.7")]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn environment() -> Environment {
    let variables = [("PORT", "8080"), ("PARAMETERS", "weight 7 backup"), ("EMPTY", "")];
    let variables = variables.map(|(name, value)| (name.to_string(), value.to_string())).into();
    Environment { variables, maxconn: None }
}

fn parse(text: &str) -> Result<Loaded, Report> {
    parse_files(&["x.cfg"], vec![("x.cfg", text.to_string())])
}

fn parse_files(paths: &[&str], files: Vec<(&'static str, String)>) -> Result<Loaded, Report> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    load_from(&paths, &environment(), &Memory(files))
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|report| panic!("{text}\n{report}")).config
}

/// The sentences of the errors, without what every report ends with.
#[track_caller]
fn bad(text: &str) -> Vec<String> {
    let Err(report) = parse(text) else { panic!("accepted:\n{text}") };
    sentences(&report)
}

fn sentences(report: &Report) -> Vec<String> {
    let alerts = report.diagnostics.iter().filter(|one| one.severity == Severity::Alert);
    alerts
        .filter(|alert| alert.at.is_some())
        .map(|alert| format!("{}: {}", alert.at.as_ref().unwrap().line, alert.text))
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    parse(text).expect(text).warnings.into_iter().map(|warning| warning.text).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxy<'c>(config: &'c Config, name: &str) -> &'c Proxy {
    config.proxies.values().find(|proxy| &*proxy.name == name).expect(name)
}

const TIMEOUTS: &str = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";

// What the model says.

#[test]
fn a_plain_configuration() {
    let config = good(
        "global\n maxconn 5000\n nbthread 2\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
         option redispatch\n retries 2\n maxconn 1000\n\
         frontend web\n bind 192.0.2.1:80 name public nice -5 backlog 77\n default_backend pool\n\
         backend pool\n balance roundrobin\n default-server weight 10\n\
         server a 192.0.2.10:8080\n server b 192.0.2.11 weight 20 backup disabled\n",
    );
    assert_eq!((config.global.maxconn, config.global.nbthread), (Some(5000), Some(2)));
    let web = proxy(&config, "web");
    assert_eq!((web.kind, web.maxconn), (ProxyKind::Frontend, 1000));
    assert_eq!(web.default_backend, Some(ProxyIndex(1)));
    assert_eq!(web.timeouts.client, Some(Duration::from_secs(60)));
    let bind = &web.binds[0];
    assert_eq!((bind.address, bind.port), (Some(ip("192.0.2.1")), 80));
    assert_eq!((bind.maxconn, bind.backlog, bind.nice), (1000, Some(77), -5));
    assert_eq!(bind.name.as_deref(), Some("public"));
    let pool = proxy(&config, "pool");
    assert_eq!((pool.balance.clone(), pool.retries), (Balance::default(), 2));
    assert_eq!(pool.redispatch, Redispatch::BeforeLast(1));
    let [a, b] = pool.servers.all() else { panic!("{:?}", pool.servers) };
    assert_eq!((a.address, a.port, a.weight), (ip("192.0.2.10"), ServerPort::Fixed(8080), 10));
    assert_eq!((b.port, b.weight, b.backup, b.disabled), (ServerPort::Offset(0), 20, true, true));
    assert_eq!(b.at.line, 19);
}

#[test]
fn one_line_makes_many_listeners() {
    let config = good(&format!(
        "{TIMEOUTS}listen l\n bind :80,[::]:80,:8001-8003 maxconn 7\n bind [::]:90 v4v6\n bind web.example:91\n"
    ));
    let shown: Vec<_> = config.proxies[0]
        .binds
        .values()
        .map(|bind| (bind.address, bind.families, bind.port, bind.maxconn))
        .collect();
    assert_eq!(
        shown,
        [
            (None, Families::V4, 80, 7),
            (None, Families::V6, 80, 7),
            (None, Families::V4, 8001, 7),
            (None, Families::V4, 8002, 7),
            (None, Families::V4, 8003, 7),
            (None, Families::Both, 90, 2000),
            (Some(ip("2001:db8::7")), Families::V6, 91, 2000),
        ]
    );
}

#[test]
fn limits_come_from_the_nearest_level() {
    let text = "defaults\n maxconn 30\n timeout client 1s\n backlog 5\n\
                frontend a\n bind :1 maxconn 10\n bind :2\n maxconn 20\n backlog 6\n\
                frontend b\n bind :3\n bind :4 backlog 9\n";
    let config = good(text);
    let limits = |name: &str| -> Vec<_> {
        proxy(&config, name).binds.values().map(|bind| (bind.maxconn, bind.backlog)).collect()
    };
    assert_eq!(limits("a"), [(10, Some(6)), (20, Some(6))]);
    assert_eq!(limits("b"), [(30, Some(5)), (30, Some(9))]);
    let nothing_said = "frontend a\n bind :1\n timeout client 1\n maxconn 0\n";
    assert_eq!(good(nothing_said).proxies[0].maxconn, 2000);
    let files = Memory(vec![("x.cfg", nothing_said.to_string())]);
    let environment = Environment { maxconn: Some(77), ..environment() };
    let loaded = load_from(&[PathBuf::from("x.cfg")], &environment, &files).unwrap();
    assert_eq!(loaded.config.proxies[0].maxconn, 77);
}

#[test]
fn sections_inherit_from_the_defaults_they_name() {
    let config = good(
        "defaults one\n timeout client 1s\n retries 1\n default-server weight 5\n\
         defaults two from one\n retries 2\n\
         defaults\n timeout client 9s\n\
         listen a from one\n bind :1\n\
         listen b from two\n bind :2\n server s 192.0.2.1:1\n timeout connect 1\n timeout server 1\n\
         listen c\n bind :3\n",
    );
    let retries = |name| proxy(&config, name).retries;
    assert_eq!((retries("a"), retries("b"), retries("c")), (1, 2, 3));
    assert_eq!(proxy(&config, "b").timeouts.client, Some(Duration::from_secs(1)));
    assert_eq!(proxy(&config, "b").servers[0].weight, 5);
    assert_eq!(proxy(&config, "c").timeouts.client, Some(Duration::from_secs(9)));
}

#[test]
fn a_listen_section_is_its_own_backend() {
    let config = good(&format!(
        "{TIMEOUTS}listen a\n bind :1\n server s 192.0.2.1:1\nlisten b\n bind :2\nlisten c\n bind :3\n default_backend a\n server s 192.0.2.1:1\n"
    ));
    let backend = |name| proxy(&config, name).default_backend;
    assert_eq!((backend("a"), backend("b")), (Some(ProxyIndex(0)), None));
    assert_eq!(backend("c"), Some(ProxyIndex(0)));
}

#[test]
fn a_frontend_and_a_backend_may_share_a_name() {
    let config = good(&format!(
        "{TIMEOUTS}frontend x\n bind :1\n default_backend x\nbackend x\n server s web.example:+7\n"
    ));
    assert_eq!(config.proxies[0].default_backend, Some(ProxyIndex(1)));
    let server = &config.proxies[1].servers[0];
    assert_eq!((server.address, server.port), (ip("2001:db8::7"), ServerPort::Offset(7)));
}

#[test]
fn a_name_resolves_within_its_family() {
    let config = good(&format!("{TIMEOUTS}listen l\n bind :1\n server s ipv4@web.example:80\n"));
    assert_eq!(config.proxies[0].servers[0].address, ip("192.0.2.7"));
    let errors = bad(&format!("{TIMEOUTS}listen l\n bind :1\n server s nowhere.example:80\n"));
    assert_eq!(errors, ["7: 'server l/s' : could not resolve address 'nowhere.example'."]);
}

#[test]
fn options_and_timeouts_can_be_taken_back() {
    let config = good(
        "defaults\n option redispatch 3\n timeout client 1s\n timeout queue 5s\n\
         frontend a\n bind :1\nbackend b\n no option redispatch\n timeout queue 0\nbackend c\n option redispatch -2\n",
    );
    assert_eq!(proxy(&config, "a").redispatch, Redispatch::Every(3));
    assert_eq!(proxy(&config, "b").redispatch, Redispatch::Never);
    assert_eq!(proxy(&config, "c").redispatch, Redispatch::BeforeLast(2));
}

#[test]
fn own_addresses_and_routes() {
    let config = good(
        "global\n interface eth0 eth1\n address 192.0.2.5/24 interface eth0 vlan 100\n\
         address 2001:db8::5/64 interface eth1\n route default via 192.0.2.1\n\
         route default via fe80::1 interface eth1\n source-ports 16384-32767\n",
    );
    let global = &config.global;
    assert_eq!(global.interfaces, ["eth0", "eth1"]);
    assert_eq!((global.addresses.len(), global.addresses[0].vlan), (2, Some(100)));
    assert_eq!(global.routes[0].prefix.to_string(), "0.0.0.0/0");
    assert_eq!(global.source_ports, Some(16384..=32767));
    for (line, error) in [
        ("address 192.0.2.5/24", "must say which 'interface'"),
        ("address 192.0.2.5/24 interface eth9", "'eth9' is not listed"),
        ("route default via 198.51.100.1", "no 'address' is on a network with '198.51.100.1'"),
        ("route default via fe80::1", "must say which 'interface'"),
        ("route default via fe80::1 interface eth9", "'eth9' is not listed"),
    ] {
        let errors = bad(&format!("global\n interface eth0 eth1\n {line}\n"));
        assert!(errors.len() == 1 && errors[0].contains(error), "{errors:?}");
    }
    let twice = "global\n address 192.0.2.5/24\n address 192.0.2.5/25\n";
    assert_eq!(bad(twice), ["3: address '192.0.2.5' is already stated at line 2."]);
}

#[test]
fn the_first_limit_of_the_process_stays() {
    let loaded = parse("global\n maxconn 5\nglobal\n maxconn 6\n").unwrap();
    assert_eq!(loaded.config.global.maxconn, Some(5));
    assert_eq!(loaded.warnings[0].text, "'maxconn' already specified. Continuing.");
}

#[test]
fn nbproc_counts_workers() {
    let loaded = parse("global\n nbproc 3\n").unwrap();
    assert_eq!(loaded.config.global.nbthread, Some(3));
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].severity, Severity::Notice);
    assert_eq!(good("global\n nbproc 3\n nbthread 2\n").global.nbthread, Some(2));
}

#[test]
fn rings_wait_for_lines() {
    let text = "ring r\n description \"lines for the collector\"\n format rfc5424\n maxlen 2000\n size 64k\n\
                \x20timeout connect 2s\n server c 192.0.2.7:6514 log-proto octet-count\n server d 192.0.2.8:514\n\
                global\n log ring@r local0\n";
    let config = good(text);
    let ring = &config.rings[0];
    assert_eq!((&*ring.name, ring.max_len, ring.size), ("r", 2000, 65_536));
    assert_eq!(ring.connect_timeout, Some(Duration::from_secs(2)));
    let servers: Vec<_> = ring.servers.iter().map(|s| (s.address.port(), s.transport)).collect();
    assert_eq!(servers, [(6514, LogTransport::OctetCount), (514, LogTransport::Legacy)]);
    for (text, complaint) in [
        ("ring\n", "missing ring name"),
        ("ring r\nring r\n", "'r' is already defined at line 1"),
        ("ring r\n size x\n", "'size'"),
        ("ring r\n format nope\n", "unknown log format 'nope'"),
        ("ring r\n server s\n", "expects <name> and <address>"),
        ("ring r\n server s 192.0.2.1\n", "needs a port"),
        ("ring r\n server s 192.0.2.1:1 log-proto x\n", "'log-proto' expects"),
        ("ring r\n server s 192.0.2.1:1 ssl\n", "'ssl' is not supported by xlb yet"),
        (
            "ring good\nglobal\n log ring@goods local0\n",
            "unable to find ring 'goods'; did you mean 'good'?",
        ),
    ] {
        let report = parse(text).expect_err(text).to_string();
        assert!(report.contains(complaint), "{text}: {report}");
    }
}

#[test]
fn cpu_map_says_where_workers_run() {
    let map = |text: &str| good(text).global.cpu_map;
    assert_eq!(map("global\n cpu-map auto:1/1-2 3,1\n")[..3], [vec![1], vec![3], vec![]]);
    assert_eq!(map("global\n nbproc 2\n cpu-map auto:1-2 4-5\n")[..3], [vec![4], vec![5], vec![]]);
    let both = "global\n nbproc 2\n nbthread 2\n cpu-map 1 4-5\n";
    assert_eq!(map(both)[..2], [vec![4, 5], vec![4, 5]], "nbthread wins");
    assert!(map("global\n nbproc 2\n").is_empty());
}

#[test]
fn inactive_words_are_listed() {
    let config = good(
        "global\n daemon\n stats socket /run/x.sock mode 660 level admin\n quiet\n\
         log /dev/log local0 notice\n pidfile /run/x.pid\n nosplice\n\
         listen l\n bind :1 tfo\n option tcplog\n log global\n timeout check 1s\n no option splice-auto\n no log\n\
         server s 192.0.2.1:1 check cookie x\n timeout connect 1\n timeout client 1\n timeout server 1\n",
    );
    let words: Vec<&str> = config.inactive.iter().map(|inactive| &*inactive.word).collect();
    assert_eq!(words, ["nosplice", "bind tfo", "server cookie",]);
    assert_eq!(config.inactive[0].at.line, 7);
    assert_eq!(config.global.logs[0].level, 5);
    assert_eq!(config.global.process.pidfile.as_deref(), Some(Path::new("/run/x.pid")));
}

#[test]
fn a_distribution_s_configuration_loads_in_tcp_mode() {
    let loaded = parse(
        "global\n\tlog /dev/log\tlocal0\n\tlog /dev/log\tlocal1 notice\n\tchroot /var/lib/haproxy\n\
         \tstats socket /run/haproxy/admin.sock mode 660 level admin\n\tstats timeout 30s\n\
         \tuser haproxy\n\tgroup haproxy\n\tdaemon\n\tca-base /etc/ssl/certs\n\tcrt-base /etc/ssl/private\n\
         \tssl-default-bind-ciphers A:B\n\tssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n\
         defaults\n\tlog\tglobal\n\tmode\ttcp\n\toption\ttcplog\n\toption\tdontlognull\n\
         \ttimeout connect 5000\n\ttimeout client  50000\n\ttimeout server  50000\n\
         \terrorfile 400 /etc/haproxy/errors/400.http\n\
         listen l\n\tbind :80\n\tserver s 192.0.2.1:80 check\n",
    )
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.inactive.len(), 5);
}

#[test]
fn variables_and_conditions() {
    let config = good(
        ".if defined(PORT) && !streq(\"$PORT\",80)\n\
         global\n setenv NAME \"web-$PORT\"\n presetenv PORT 1\n\
         .elif 1\nnonsense\n.else\nnonsense\n.endif\n\
         .if 0\n.if nonsense\n.else\nnonsense\n.endif\n.endif\n\
         listen \"$NAME\"\n bind \":${PORT}\"\n timeout client \"${TIMEOUT-3s}\"\n",
    );
    let web = proxy(&config, "web-8080");
    assert_eq!((web.binds[0].port, web.timeouts.client), (8080, Some(Duration::from_secs(3))));
    let spread = good(
        "backend b\n server s 192.0.2.1:1 \"${PARAMETERS[*]}\"\n timeout connect 1\n timeout server 1\n",
    );
    assert_eq!(
        (spread.proxies[0].servers[0].weight, spread.proxies[0].servers[0].backup),
        (7, true)
    );
    let cut = parse("listen l\n bind :1 \"$NOPE\" maxconn 5\n timeout client 1\n").unwrap();
    assert!(cut.warnings[0].text.contains("'maxconn'"), "{:?}", cut.warnings);
    assert_eq!(cut.config.proxies[0].binds[0].maxconn, 2000);
}

#[test]
fn conditions_of_the_command_line() {
    let env = environment();
    assert_eq!(evaluate("defined(PORT) && version_atleast(2.4)", &env), Ok(true));
    assert_eq!(evaluate("defined(NOPE)", &env), Ok(false));
    assert!(evaluate("defined(", &env).unwrap_err().is_fatal());
}

#[test]
fn directories_stand_for_their_files() {
    let file = |name, port| (name, format!("frontend f{port}\n bind :{port}\n timeout client 1\n"));
    let files = vec![
        file("etc/20.cfg", 2),
        file("etc/10.cfg", 1),
        ("etc/notes.txt", "nonsense\n".to_string()),
        ("etc/.hidden.cfg", "nonsense\n".to_string()),
        file("last.cfg", 3),
    ];
    let config = parse_files(&["etc", "last.cfg"], files).unwrap().config;
    let names: Vec<&str> = config.proxies.values().map(|proxy| &*proxy.name).collect();
    assert_eq!(names, ["f1", "f2", "f3"]);
    assert_eq!(&*config.proxies[0].at.file, "etc/10.cfg");
}

// What the report says.

#[test]
fn a_report_looks_like_haproxys() {
    let report = parse("listen l\n bind :1\n server a\n description \"x\n").unwrap_err();
    let pid = std::process::id();
    let alert = format!("[ALERT]    ({pid}) : config : ");
    assert_eq!(
        report.to_string(),
        format!(
            "{alert}parsing [x.cfg:3] : 'server' expects <name> and <addr>[:<port>] as arguments.\n\
             {alert}parsing [x.cfg:4] : unmatched quote at position 14:\n\
             \x20  description \"x\n\
             \x20              ^\n\
             {alert}Error(s) found in configuration file : x.cfg\n\
             {alert}Fatal errors found in configuration.\n"
        )
    );
}

#[test]
fn every_error_of_every_file_is_reported() {
    let files = vec![
        ("a.cfg", "global\n foo\n maxconn x\nlisten\n bar\n".to_string()),
        ("b.cfg", "listen l\n bind :99999\n balance nope\n default_backend nope\n".to_string()),
    ];
    let report = parse_files(&["a.cfg", "missing.cfg", "b.cfg"], files).unwrap_err();
    assert_eq!(
        sentences(&report),
        [
            "2: unknown keyword 'foo' in 'global' section",
            "3: 'maxconn' expects an integer argument, found 'x'.",
            "4: 'listen' expects an <id> argument.",
            "5: unknown keyword 'bar' in 'listen' section",
            "2: 'bind' : invalid port '99999' in ':99999'.",
            "3: 'balance' only supports 'roundrobin', 'static-rr', 'leastconn', 'first', 'source', 'random', 'rdp-cookie' (got 'nope').",
        ]
    );
    let text = report.to_string();
    assert!(text.contains("Could not open configuration file missing.cfg"), "{text}");
    assert!(text.contains("Error(s) found in configuration file : b.cfg"), "{text}");
}

#[test]
fn errors_name_the_word_and_a_better_one() {
    let in_listen = [
        (
            "timeot client 3",
            "unknown keyword 'timeot' in 'listen' section; did you mean 'timeout'?",
        ),
        ("timeout clinet 3", "did you mean 'client'?"),
        ("timeout client 3x", "unexpected character 'x' in argument '3x' to 'timeout client'."),
        ("timeout client", "'timeout client' expects an integer value (in milliseconds)."),
        ("timeout client 25d", "timer overflow in argument '25d' to 'timeout client'"),
        ("timeout client 1 2", "'timeout client' cannot handle unexpected argument '2'."),
        ("clitimeout 3", "Use 'timeout client'."),
        ("option redispach", "unknown option 'redispach'; did you mean 'redispatch'?"),
        ("option", "'option' expects an option name."),
        ("no timeout client", "negation/default is not supported for 'timeout client'."),
        ("no option tcplog", "negation/default is not supported for 'option tcplog'."),
        ("bind :2 maxcon 3", "'bind :2' : unknown keyword 'maxcon'; did you mean 'maxconn'?"),
        ("bind :2 nice 2000", "'nice' : invalid value '2000', permitted are -1024 to 1024."),
        ("bind ,:2", "'bind' : '' resolves to an empty address"),
        ("bind 192.0.2.1", "'bind' : missing port specification in '192.0.2.1'."),
        ("bind :2 ssl crt x.pem", "keyword 'ssl' is not supported by xlb yet."),
        (
            "server s 192.0.2.1:1 weihgt 3",
            "'server l/s' : unknown keyword 'weihgt'; did you mean 'weight'?",
        ),
        (
            "server s 192.0.2.1:1 weight 300",
            "'weight' : invalid value '300', permitted are 0 to 256.",
        ),
        ("server a/b 192.0.2.1:1", "character '/' is not permitted in server name 'a/b'."),
        ("server s 192.0.2.1:1 ssl", "'server l/s' : keyword 'ssl' is not supported by xlb yet."),
        ("stick on src", "keyword 'stick' is not supported by xlb yet."),
        ("use_backend nobody", "unable to find required use_backend: 'nobody'"),
        (
            "use-server nobody if TRUE",
            "unable to find server 'nobody' referenced in a 'use-server' rule",
        ),
        ("tcp-request content reject if { nbsrv(nobody) 0 }", "unable to find backend 'nobody'."),
        ("tcp-request content reject if lokal", "no such ACL : 'lokal'"),
        ("mode http", "mode 'http' is not supported by xlb yet."),
        ("balance uri", "algorithm 'uri' of 'balance' needs 'mode http'"),
        ("balance hash", "algorithm 'hash' of 'balance' is not supported by xlb yet."),
        ("default_backend nope", "Proxy 'l': unable to find required default_backend: 'nope'"),
        ("default_backend li", "did you mean 'l'?"),
    ];
    for (line, sentence) in in_listen {
        let errors = bad(&format!("listen l\n bind :1\n {line}\n"));
        assert!(errors.len() == 1 && errors[0].contains(sentence), "{line}: {errors:?}");
        assert!(errors[0].starts_with("3: "), "{errors:?}");
    }
    let in_global = [
        ("cbproc 3", "did you mean 'nbproc'?"),
        ("nbthread 65", "'nbthread' : invalid value '65', permitted are 1 to 64."),
        ("cpu-map 1", "'cpu-map' expects"),
        ("stats sockt", "(got 'sockt'); did you mean 'socket'?"),
        ("lua-load x", "keyword 'lua-load' is not supported by xlb yet."),
        ("log /dev/log nope", "unknown log facility 'nope'"),
    ];
    for (line, sentence) in in_global {
        let errors = bad(&format!("global\n {line}\n"));
        assert!(errors.len() == 1 && errors[0].contains(sentence), "{line}: {errors:?}");
    }
}

#[test]
fn a_section_that_is_refused_is_answered_once() {
    let errors = bad("peers p\n peer a 192.0.2.1:1\n log global\nlisten l\n bind :1\n");
    assert_eq!(errors, ["1: section 'peers' is not supported by xlb yet; its lines are skipped."]);
    let errors = bad("global\n daemon\nfronted web\n bind :1\n default_backend x\n");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("did you mean 'frontend'?"), "{errors:?}");
}

#[test]
fn a_broken_condition_hides_its_block() {
    let errors = bad(".if nope(x)\nnonsense\n.else\nnonsense\n.endif\n");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(bad(".if 1\n"), ["1: non-terminated '.if' block (opened at line 1)."]);
    assert_eq!(bad(".endif\n"), ["1: lone '.endif' with no matching '.if'."]);
}

#[test]
fn messages_of_the_file_reach_the_operator() {
    let loaded =
        parse(".notice \"a b\"\n.warning c d\n.diag e\n.if 0\n.alert f\n.endif\n").unwrap();
    let said: Vec<_> =
        loaded.warnings.iter().map(|one| (one.severity, one.text.as_str())).collect();
    assert_eq!(
        said,
        [(Severity::Notice, "'a b'."), (Severity::Warning, "'c d'."), (Severity::Diag, "'e'.")]
    );
    assert_eq!(bad(".alert \"boom\"\n"), ["1: 'boom'."]);
}

#[test]
fn two_listeners_cannot_share_an_address() {
    for (first, second, clash) in [
        (":80", ":80", true),
        (":80", "0.0.0.0:80", true),
        ("[::]:80 v4v6", "*:80", true),
        ("[::]:80", "*:80", false),
        (":80-90", ":85-95", true),
        ("192.0.2.1:80", ":80", false),
        (":80 interface eth0", ":80 interface eth1", false),
    ] {
        let text = format!("{TIMEOUTS}listen a\n bind {first}\nlisten b\n bind {second}\n");
        match parse(&text) {
            Ok(_) => assert!(!clash, "{first} {second}"),
            Err(report) => {
                let errors = sentences(&report);
                assert!(clash && errors.len() == 1, "{first} {second}: {errors:?}");
                assert!(errors[0].contains("already belong to a at x.cfg:6"), "{errors:?}");
            }
        }
    }
    good(&format!("{TIMEOUTS}listen a\n bind :1\nlisten b\n disabled\n bind :1\n"));
}

#[test]
fn warnings_are_haproxys() {
    let all = warnings(
        "frontend f\n bind :1\n server-state-file-name x\n balance roundrobin\n fullconn 3\n\
         backend b\n bind :2\n maxconn 5\n server s 192.0.2.1:1\n timeout connect 1\n timeout connect 2\n\
         frontend g\n timeout client 1\n",
    );
    assert_eq!(
        all,
        [
            "'balance' ignored because frontend 'f' has no backend capability.",
            "'fullconn' ignored because frontend 'f' has no backend capability. Maybe you want 'maxconn' instead ?",
            "'bind' ignored because backend 'b' has no frontend capability.",
            "'maxconn' ignored because backend 'b' has no frontend capability. Maybe you want 'fullconn' instead ?",
            "overwriting 'timeout connect' which was already specified",
            "missing timeouts for frontend 'f'.",
            "missing timeouts for backend 'b'.",
            "frontend 'g' has no 'bind' directive. Please declare it as a backend if this was intended.",
        ]
    );
}

// What exists beside the code.

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(std::slice::from_ref(&path), &Environment::default())
            .unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty(), "{}: {:?}", path.display(), loaded.warnings);
        assert!(
            loaded.config.inactive.is_empty(),
            "{}: {:?}",
            path.display(),
            loaded.config.inactive
        );
        assert!(loaded.config.proxies.values().any(|proxy| !proxy.binds.is_empty()));
        count += 1;
    }
    assert!(count >= 5, "{count} examples");
}

/// Words of the manual: headings of the fourth level and first cells of tables, below `## <section>`.
fn manual_words(manual: &str, section: &str) -> BTreeSet<String> {
    let heading = format!("\n## {section}\n");
    let start = manual.find(&heading).unwrap_or_else(|| panic!("no {heading}")) + heading.len();
    let rest = &manual[start..];
    let text = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let cells = text.lines().filter_map(|line| {
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split(" | ").next());
        cell.or(line.strip_prefix("#### `"))
    });
    // What stands between backticks, one of which has been stripped.
    cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .map(str::to_string)
        .filter(|w| !w.is_empty())
        .collect()
}

#[test]
fn the_manual_has_every_word_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let manual = std::fs::read_to_string(path).unwrap();
    for (scope, section) in [
        (Scope::Section, "Sections"),
        (Scope::Global, "Global section"),
        (Scope::Proxy, "Proxies"),
        (Scope::Bind, "Parameters of bind"),
        (Scope::Server, "Parameters of server"),
        (Scope::Ring, "Rings"),
    ] {
        let known: BTreeSet<String> = keywords(scope)
            .filter(|keyword| keyword.standing != Standing::Unsupported)
            .map(|keyword| keyword.name.to_string())
            .collect();
        let written = manual_words(&manual, section);
        let missing: Vec<_> = known.difference(&written).collect();
        let unknown: Vec<_> = written.difference(&known).collect();
        assert!(missing.is_empty(), "{section}: the manual lacks {missing:?}");
        assert!(unknown.is_empty(), "{section}: the parser lacks {unknown:?}");
    }
}

/// Words that some line of some file has, and some that none has.
fn any_word() -> impl Strategy<Value = String> {
    let scopes =
        [Scope::Section, Scope::Global, Scope::Proxy, Scope::Bind, Scope::Server, Scope::Ring];
    let known: Vec<String> = scopes
        .into_iter()
        .flat_map(|scope| keywords(scope).map(|keyword| keyword.name.to_string()))
        .collect();
    prop_oneof![
        4 => proptest::sample::select(known),
        2 => "[0-9]{1,6}(s|ms|k)?",
        2 => "(192\\.0\\.2\\.[0-9]|\\*|web\\.example|)?:[0-9]{1,4}(-[0-9]{1,4})?",
        1 => "\\.(if|elif|else|endif|notice)( [01])?|no|default|from|via|\"\\$[{]?A|\"\"",
        1 => "[ -~]{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_file_panics(lines in proptest::collection::vec(proptest::collection::vec(any_word(), 0..6), 0..20)) {
        let text: String = lines.iter().map(|words| words.join(" ") + "\n").collect();
        let verdict = parse(&text);
        // An error has a place, and a report always ends with the verdict.
        if let Err(report) = verdict {
            prop_assert!(report.to_string().ends_with("Fatal errors found in configuration.\n"));
        }
    }

    #[test]
    fn no_bytes_panic(text in "\\PC{0,300}") {
        let _ = parse(&text);
    }
}

#[test]
fn no_active_word_panics() {
    for (scope, prefix) in [
        (Scope::Global, "global\n "),
        (Scope::Proxy, "listen l\n "),
        (Scope::Bind, "listen l\n bind :1 "),
        (Scope::Server, "listen l\n server s 192.0.2.1:1 "),
        (Scope::Ring, "ring r\n "),
    ] {
        for keyword in keywords(scope) {
            for arguments in ["", " 1", " x", " 1 x", " x y z", " -1", " 1s"] {
                for form in ["", "no ", "default "] {
                    let (name, form) =
                        (keyword.name, if prefix.ends_with("\n ") { form } else { "" });
                    let result = parse(&format!("{prefix}{form}{name}{arguments}\n"));
                    if keyword.standing == Standing::Unsupported {
                        let report = result.expect_err(name).to_string();
                        assert!(
                            !form.is_empty() || report.contains("not supported by xlb yet"),
                            "{report}"
                        );
                    }
                }
            }
        }
    }
}

// What HAProxy would say.

/// Where a line is put before both parsers see it.
#[derive(Clone, Copy, Debug)]
enum In {
    File,
    Global,
    Listen,
}
use In::{File, Global, Listen};

impl In {
    fn file(self, line: &str) -> String {
        match self {
            File => format!("{line}\n"),
            Global => format!("global\n {line}\n"),
            Listen => format!("{TIMEOUTS}listen l\n bind 127.0.0.1:8080\n {line}\n"),
        }
    }
}

/// Lines that both accept.
const BOTH_ACCEPT: &[(In, &str)] = &[
    (Listen, "bind /tmp/xlb-test.sock"),
    (Listen, "bind unix@/tmp/xlb-test.sock mode 660"),
    (Listen, "bind abns@name"),
    (Listen, "server s unix@/tmp/xlb"),
    (Listen, "server s /tmp/xlb check"),
    (Listen, "server s abns@x"),
    (Listen, "acl x src 127.0.0.1"),
    (
        File,
        "ring r\n format rfc3164\n maxlen 1200\n size 32764\n timeout connect 5s\n timeout server 10s\n server s 127.0.0.1:6514 log-proto octet-count\nglobal\n log ring@r local7",
    ),
    (Listen, "server s 0.0.0.0:80"),
    (Listen, "server s :80"),
    (Listen, "server s 192.0.2.1 check port 80"),
    (Listen, "acl x src 10.0.0.0/8 192.0.2.0/255.255.255.0 ::1"),
    (Listen, "acl x dst_port 80 443 8000:8999 :100 9:"),
    (Listen, "acl x dst_port gt 3 lt 9"),
    (Listen, "acl x src -n 127.0.0.1"),
    (Listen, "acl x src_port -m int 3"),
    (Listen, "acl x req.payload(0,2) -m bin 4141"),
    (Listen, "acl x payload(0,2) 4141"),
    (Listen, "acl x req_ssl_sni -i a.example -- -x"),
    (Listen, "acl x req.ssl_sni -m end .example"),
    (Listen, "acl x req.ssl_sni -m reg ^a"),
    (Listen, "acl x req.ssl_ver 3.1:3.3"),
    (Listen, "acl x always_true"),
    (Listen, "acl x nbsrv(l) lt 1"),
    (Listen, "acl x connslots(l) 0"),
    (Listen, "acl x src,ipmask(24) 10.0.0.0"),
    (Listen, "acl x str(a),upper A"),
    (Listen, "acl x src -m found"),
    (Listen, "acl x req.ssl_sni,length gt 3"),
    (Listen, "acl x req.rdp_cookie(x) -m beg a"),
    (Listen, "acl x be_conn ge 3"),
    (Listen, "acl x fe_conn(l) 3"),
    (Listen, "acl x avg_queue(l) 3"),
    (Listen, "acl x queue(l) 3"),
    (Listen, "acl x var(txn.x) -m str a"),
    (Listen, "acl x src,hex -m str A"),
    (Listen, "acl x rand(5) 3"),
    (Listen, "acl x src_port,add(3),mod(2) 1"),
    (Listen, "acl x str(a.b),field(1,.) a"),
    (Listen, "acl x str('a b'),word(1,' ') a"),
    (Listen, "tcp-request connection accept"),
    (Listen, "tcp-request connection reject if TRUE"),
    (Listen, "tcp-request connection reject if ! TRUE or !FALSE"),
    (Listen, "tcp-request connection silent-drop"),
    (Listen, "tcp-request connection expect-proxy layer4"),
    (Listen, "tcp-request connection set-src src"),
    (Listen, "tcp-request connection set-var(sess.a) src"),
    (Listen, "tcp-request connection set-dst-port int(80)"),
    (Listen, "tcp-request session accept if LOCALHOST"),
    (Listen, "tcp-request session set-var(sess.x) dst_port"),
    (Listen, "tcp-request session unset-var(sess.x)"),
    (Listen, "tcp-request inspect-delay 5s"),
    (Listen, "tcp-request content accept if { req.len gt 0 } || WAIT_END"),
    (Listen, "tcp-request content reject unless { src 10.0.0.1 } !{ dst 1.2.3.4 }"),
    (Listen, "tcp-request content set-priority-class int(1)"),
    (Listen, "tcp-request content set-priority-offset int(1)"),
    (Listen, "tcp-request content set-nice 5"),
    (Listen, "tcp-request content set-log-level silent"),
    (Listen, "tcp-request content set-var(txn.x) req.ssl_sni,lower"),
    (Listen, "tcp-request content set-src src,ipmask(24)"),
    (Listen, "tcp-request content silent-drop if REQ_CONTENT"),
    (Listen, "tcp-response inspect-delay 1s"),
    (Listen, "tcp-response content accept if { res.len gt 0 }"),
    (Listen, "tcp-response content close"),
    (Listen, "tcp-response content reject"),
    (Listen, "use_backend %[src] if TRUE"),
    (Listen, "persist rdp-cookie"),
    (Listen, "persist rdp-cookie(x)"),
    (Listen, "option persist"),
    (Listen, "balance rdp-cookie"),
    (File, "# nothing"),
    (File, "frontend f\n bind :80"),
    (File, "backend b\n server s 127.0.0.1:80"),
    (File, "frontend f\n bind :80\nbackend f"),
    (File, "defaults a\n timeout client 1s\nfrontend f from a\n bind :80"),
    (File, "defaults a\ndefaults b from a\ndefaults a\nlisten l from b"),
    (File, "defaults\n disabled\nlisten a\n bind :80\n enabled"),
    (
        File,
        "frontend f\n bind :80\n retries 3\n balance roundrobin\n option redispatch\n timeout server 3",
    ),
    (File, "backend b\n bind :80\n maxconn 3\n timeout client 3\n default_backend l\nlisten l"),
    (File, "defaults\n default_backend b\nfrontend f\n bind :80\nbackend b"),
    (File, ".if defined(PORT)\nlisten l\n bind \":$PORT\"\n.else\nnonsense\n.endif"),
    (File, ".if 0\nnonsense\n.elif 1 && !(0 || 0)\n.notice x\n.endif"),
    (File, ".if streq(\"$PORT\",8080) && strneq(a,b) && feature(THREAD)\n.else\nnonsense\n.endif"),
    (File, ".if version_atleast(2.4) && version_before(9.9)\n.else\nnonsense\n.endif"),
    (File, ".if !!1&&1\n.warning \"a b\"\n.endif"),
    (File, ".if\nnonsense\n.endif"),
    (File, "global\n daemon\n maxconn 10\nglobal\n nbthread 2"),
    (Global, "maxconn 5\n maxconn 6"),
    (Global, "log /dev/log local0 notice emerg"),
    (Global, "log 127.0.0.1:514 len 1024 format rfc5424 local0 info"),
    (Global, "stats socket /run/xlb.sock mode 660 level admin"),
    (Global, "stats socket 127.0.0.1:9999 level operator\n stats timeout 1m\n stats maxconn 20"),
    (Global, "stats socket ipv4@127.0.0.1:9999 level user expose-fd listeners"),
    (Listen, "option socket-stats\n option contstats\n no option socket-stats"),
    (Listen, "stats enable"),
    (Listen, "stats admin if TRUE"),
    (Listen, "stats admin if LOCALHOST"),
    (
        Listen,
        "stats uri /s\n stats auth a:b\n stats realm x\n stats refresh 5\n stats refresh 5s\n stats hide-version",
    ),
    (
        Listen,
        "stats show-legends\n stats show-node\n stats show-node n\n stats show-desc a b\n stats scope .\n stats scope x",
    ),
    (Global, "stats timeout 30s"),
    (Global, "cpu-map 1-4 0-3"),
    (Global, "cpu-map 1/all 0-3"),
    (Global, "cpu-map auto:1/1-4 0-3"),
    (Global, "cpu-map auto:1/1-4 3 2 1 0"),
    (Global, "cpu-map odd 0,2"),
    (Global, "tune.bufsize 16384"),
    (Global, "tune.maxaccept -1"),
    (Global, "tune.maxpollevents 100"),
    (Global, "hard-stop-after 30s"),
    (Global, "spread-checks 50"),
    (Global, "ulimit-n 300"),
    (Global, "node n1"),
    (Global, "pidfile /run/xlb.pid"),
    (Global, "setenv A b"),
    (Global, "no strict-limits"),
    (Listen, "mode tcp"),
    (Listen, "balance roundrobin"),
    (Listen, "balance leastconn"),
    (Listen, "balance static-rr"),
    (Listen, "balance first"),
    (Listen, "balance source\n hash-type consistent djb2 avalanche"),
    (Listen, "balance random(3)"),
    (Listen, "balance rdp-cookie(x)"),
    (Listen, "hash-balance-factor 150"),
    (Listen, "option allbackups\n option abortonclose\n option nolinger\n no option nolinger"),
    (Listen, "option tcpka\n clitcpka-idle 10s\n srvtcpka-cnt 3"),
    (Listen, "rate-limit sessions 100\n fullconn 50\n retry-on conn-failure"),
    (Listen, "source 127.0.0.1\n timeout queue 3s\n timeout check 1s"),
    (Listen, "server s 127.0.0.1:80 send-proxy"),
    (Listen, "server s 127.0.0.1:80 send-proxy-v2 proxy-v2-options crc32c,unique-id"),
    (
        Listen,
        "server s 127.0.0.1:80 check inter 2s fastinter 1s downinter 5s rise 3 fall 2 port 81",
    ),
    (Listen, "server s 127.0.0.1:80 maxconn 5 minconn 2 maxqueue 9 slowstart 10s tcp-ut 5s"),
    (Listen, "server s 127.0.0.1:80 check observe layer4 error-limit 5 on-error mark-down"),
    (Listen, "server s 127.0.0.1:80 check on-marked-down shutdown-sessions"),
    (Listen, "server s 127.0.0.1:80 agent-check agent-port 99 agent-inter 3s agent-send x"),
    (Listen, "server s 127.0.0.1:80 source 127.0.0.1:5000-5999"),
    (Listen, "server s 127.0.0.1:80 check\n server t 127.0.0.1:81 track s"),
    (Listen, "server-template s 1-3 127.0.0.1:80 check"),
    (Listen, "bind :81 accept-proxy defer-accept mss 1400 tcp-ut 5s"),
    (Listen, "balance"),
    (Listen, "retries 5"),
    (Listen, "maxconn 0"),
    (Listen, "backlog 100"),
    (Listen, "fullconn 100"),
    (Listen, "option redispatch"),
    (Listen, "option redispatch 3"),
    (Listen, "option redispatch -2"),
    (Listen, "no option redispatch"),
    (Listen, "default option redispatch"),
    (Listen, "option tcplog"),
    (Listen, "option splice-auto"),
    (Listen, "no option dontlognull"),
    (Listen, "option tcp-check"),
    (Listen, "log global"),
    (Listen, "no log"),
    (Listen, "log 127.0.0.1 local0"),
    (Listen, "id 5"),
    (Listen, "description two words"),
    (Listen, "disabled"),
    (Listen, "timeout client 500us\n timeout client 24d\n timeout queue 0\n timeout tunnel 1h"),
    (
        Listen,
        "timeout client-fin 1s\n timeout server-fin 1s\n timeout check 1s\n timeout http-request 1s",
    ),
    (Listen, "\"timeout\" 'client' 3s # comment"),
    (Listen, "description a\\ b\\x41 \"x#y\" 'z#t' a\"b\"'c' \\#"),
    (Listen, "description \"${PORT}\" \"${NOPE-x}\" ${PORT} '$PORT' \"\\$PORT\""),
    (Listen, "server s 127.0.0.1"),
    (Listen, "server s 127.0.0.1:+5"),
    (Listen, "server s 127.0.0.1:-5"),
    (Listen, "server s 127.0.0.1:0"),
    (Listen, "server s [::1]:80"),
    (Listen, "server s ::1:80"),
    (Listen, "server s ipv4@127.0.0.1:80"),
    (Listen, "server s localhost:80"),
    (Listen, "server s 127.0.0.1:80 weight 0 backup disabled id 7"),
    (
        Listen,
        "server s 127.0.0.1:80 check inter 2s fall 3 rise 2 fastinter 1s downinter 5s port 81",
    ),
    (Listen, "default-server weight 3 inter 3s backup\n server s 127.0.0.1:80 no-backup"),
    (Listen, "default-server"),
    (Listen, "bind :81-83,*:84"),
    (Listen, "bind :81,"),
    (Listen, "bind [::]:81 v4v6"),
    (Listen, "bind [::]:81 v6only"),
    (Listen, "bind :::81"),
    (Listen, "bind ipv4@:81"),
    (Listen, "bind ipv6@:81"),
    (Listen, "bind localhost:81"),
    (Listen, "bind :81 name x id 3 maxconn 5 backlog 7 nice -1024 interface lo"),
    (Listen, "bind :81 defer-accept tfo mss 1400 transparent"),
];

/// Lines that both refuse.
const BOTH_REFUSE: &[(In, &str)] = &[
    (Listen, "bind fd@x"),
    (Listen, "server s fd@x"),
    (Listen, "server s 192.0.2.1 check"),
    (Listen, "server s 192.0.2.1:+10 check"),
    (Listen, "use_backend l"),
    (Listen, "use_backend l if TRUE"),
    (Listen, "acl"),
    (Listen, "acl x"),
    (Listen, "acl x nope"),
    (Listen, "acl x src 1.2.3.4/33"),
    (Listen, "acl x dst_port a"),
    (Listen, "acl x/y src 1.2.3.4"),
    (Listen, "acl or src 1.2.3.4"),
    (Listen, "acl x src -m nope 1"),
    (Listen, "acl x req.payload(0,2) a"),
    (Listen, "acl x req.payload(0)"),
    (Listen, "acl x src,nope"),
    (Listen, "acl x src,ipmask"),
    (Listen, "acl x src("),
    (Listen, "acl x req.ssl_sni -m reg ("),
    (Listen, "acl x src -f /nonexistent"),
    (Listen, "acl x bool(2)"),
    (Listen, "acl x int(a)"),
    (Listen, "acl x var(x)"),
    (Listen, "acl x var(nope.x) -m str a"),
    (Listen, "acl x str(a),add(x)"),
    (Listen, "acl x str(a),field(0,.) a"),
    (Listen, "tcp-request"),
    (Listen, "tcp-request nope"),
    (Listen, "tcp-request connection"),
    (Listen, "tcp-request connection nope"),
    (Listen, "tcp-request connection reject when TRUE"),
    (Listen, "tcp-request connection reject if nope"),
    (Listen, "tcp-request connection reject if { src 1.2.3.4"),
    (Listen, "tcp-request content expect-proxy layer4"),
    (Listen, "tcp-request connection expect-proxy"),
    (Listen, "tcp-request connection set-nice 5"),
    (Listen, "tcp-request content set-log-level nope"),
    (Listen, "tcp-request content set-var(x) src"),
    (Listen, "tcp-request content set-var(txn.x)"),
    (Listen, "tcp-request content set-src"),
    (Listen, "tcp-request inspect-delay"),
    (Listen, "tcp-request inspect-delay x"),
    (Listen, "tcp-response content expect-proxy layer4"),
    (Listen, "tcp-response"),
    (Listen, "tcp-response content nope"),
    (Listen, "use_backend"),
    (Listen, "use_backend nope"),
    (Listen, "use_backend l when TRUE"),
    (Listen, "use_backend %[nope]"),
    (Listen, "use-server"),
    (Listen, "use-server s"),
    (Listen, "use-server s if TRUE"),
    (Listen, "persist"),
    (Listen, "persist nope"),
    (Listen, "monitor-net"),
    (Listen, "tcp-request content reject if { nbsrv(nope) 1 }"),
    (Listen, "tcp-request content reject if { srv_is_up(nope) }"),
    (File, "nonsense"),
    (File, "frontend"),
    (File, "frontend a/b"),
    (File, "global x"),
    (File, "frontend f\n bind :80\nfrontend f"),
    (File, "listen f\nbackend f"),
    (File, "frontend f\n bind :80\n default_backend nope"),
    (File, "frontend f\n bind :80\n default_backend f"),
    (Listen, "default_backend l"),
    (File, "frontend f\n server s 127.0.0.1:80"),
    (File, "defaults\n bind :80"),
    (File, "defaults\n server s 127.0.0.1:80"),
    (File, "defaults a\ndefaults a\nlisten l from a"),
    (File, "listen l from nope"),
    (File, "defaults b from nope"),
    (File, "listen a\n id 5\nlisten b\n id 5"),
    (File, ".if 1"),
    (File, ".endif"),
    (File, ".else"),
    (File, ".if 1\n.else\n.else\n.endif"),
    (File, ".if 1\n.endif x"),
    (File, ".if nope(x)\n.endif"),
    (File, ".if (1\n.endif"),
    (File, ".if 1 x\n.endif"),
    (File, ".if streq(a)\n.endif"),
    (File, ".if 1 &&\n.endif"),
    (File, ".if enabled(NOPE)\n.endif"),
    (File, ".alert boom"),
    (File, ".nope"),
    (Global, "nonsense"),
    (Global, "nbthread 0"),
    (Global, "nbthread x"),
    (Global, "nbthread"),
    (Global, "maxconn"),
    (Global, "maxconn 5 6"),
    (Global, "daemon x"),
    (Global, "pidfile"),
    (Global, "cpu-map 1"),
    (Global, "cpu-map all"),
    (Global, "cpu-map x 0"),
    (Global, "cpu-map 1 x"),
    (Global, "cpu-map auto:1-4 0"),
    (Global, "cpu-map auto:all/1-4 0"),
    (Global, "log x"),
    (Global, "log /dev/log nope"),
    (Global, "log /dev/log local0 nope"),
    (Global, "log stdout format nope local0"),
    (Global, "stats sockt"),
    (Global, "stats socket /x nope"),
    (Global, "stats socket /x level root"),
    (Global, "stats socket /x level"),
    (Global, "stats timeout 0"),
    (Global, "stats timeout x"),
    (Listen, "stats uri"),
    (Listen, "stats admin"),
    (Listen, "stats refresh x"),
    (Listen, "stats nope"),
    (Listen, "http-request use-service nope"),
    (Global, "stats maxconn 0"),
    (Global, "stats maxconn x"),
    (Global, "stats socket"),
    (Global, "tune.nope 3"),
    (Global, "hard-stop-after x"),
    (Global, "cbproc 3"),
    (Global, "setenv A"),
    (Listen, "nonsense"),
    (Listen, "timeout"),
    (Listen, "timeout clinet 3"),
    (Listen, "timeout client"),
    (Listen, "timeout client 3x"),
    (Listen, "timeout client 3 4"),
    (Listen, "timeout client 25d"),
    (Listen, "timeout client 99999999999999"),
    (Listen, "clitimeout 3"),
    (Listen, "redispatch"),
    (Listen, "option"),
    (Listen, "option nope"),
    (Listen, "option tcplog nope"),
    (Listen, "no option tcplog"),
    (Listen, "no option nope"),
    (Listen, "no timeout client 3"),
    (Listen, "mode nope"),
    (Listen, "mode health"),
    (Listen, "balance nope"),
    (Listen, "maxconn"),
    (Listen, "retries"),
    (Listen, "default_backend"),
    (Listen, "server s"),
    (Listen, "server a/b 127.0.0.1:80"),
    (Listen, "server s 127.0.0.1:99999"),
    (Listen, "server s 127.0.0.1:80-90"),
    (Listen, "server s 127.0.0.1:x"),
    (Listen, "server s 127.0.0.1:80 nope"),
    (Listen, "server s 127.0.0.1:80 weight 300"),
    (Listen, "server s 127.0.0.1:80 weight -1"),
    (Listen, "server s 127.0.0.1:80 inter"),
    (Listen, "server s 127.0.0.1:80 inter x"),
    (Listen, "server s 127.0.0.1:80 rise x"),
    (Listen, "server s 127.0.0.1:80\n server s 127.0.0.1:81"),
    (Listen, "server s 127.0.0.1:80 id 3\n server t 127.0.0.1:81 id 3"),
    (Listen, "default-server nope"),
    (Listen, "bind"),
    (Listen, "bind :0"),
    (Listen, "bind :70000"),
    (Listen, "bind :80-70"),
    (Listen, "bind :http"),
    (Listen, "bind :+5"),
    (Listen, "bind 127.0.0.1"),
    (Listen, "bind 300.1.1.1:80"),
    (Listen, "bind [::1:80"),
    (Listen, "bind []:80"),
    (Listen, "bind ipv4@[::]:80"),
    (Listen, "balance random(0)"),
    (Listen, "balance nope"),
    (Listen, "hash-type nope"),
    (Listen, "hash-type map-based nope"),
    (Listen, "hash-balance-factor 50"),
    (Listen, "retry-on"),
    (Listen, "retry-on none 503"),
    (Listen, "rate-limit nope 5"),
    (Listen, "source"),
    (Listen, "server s 127.0.0.1:80 check inter 0"),
    (Listen, "server s 127.0.0.1:80 observe nope"),
    (Listen, "server s 127.0.0.1:80 on-error nope"),
    (Listen, "server s 127.0.0.1:80 on-marked-down nope"),
    (Listen, "server s 127.0.0.1:80 track nope/nope"),
    (Listen, "server s 127.0.0.1:80 agent-check"),
    (Listen, "server s 127.0.0.1:80 source"),
    (Listen, "server s 127.0.0.1:80 proxy-v2-options nope"),
    (Listen, "server-template s 0 127.0.0.1:80"),
    (Listen, "bind :81 nope"),
    (Listen, "bind :81 nice 2000"),
    (Listen, "bind :81 name"),
    (Listen, "bind :81 id 0"),
    (Listen, "bind :81 maxconn -1"),
    (Listen, "bind :81 :82"),
    (Listen, "description \"abc"),
    (Listen, "description 'abc"),
    (Listen, "description a\\xZZ"),
    (Listen, "description \"${PORT\""),
    (Listen, "description \"$1\""),
];

/// Lines that HAProxy accepts and xlb refuses, with the reason.
const ONLY_HAPROXY_ACCEPTS: &[(In, &str, &str)] = &[
    (Listen, "bind unix@", "a path of nothing is no path"),
    (Listen, "tcp-request content set-nice x", "HAProxy reads a word that is no number as 0"),
    (
        Listen,
        "tcp-request connection reject if",
        "HAProxy reads an empty condition as one that never holds",
    ),
    (Listen, "acl x src_port,div(0)", "a division by zero has no result"),
    (Listen, "acl x dst_port gt", "an operator without a number compares nothing"),
    (Listen, "acl x src 1.2.3", "HAProxy takes 1.2.3 for 1.2.0.3, as old C libraries do"),
    (
        File,
        "global\n log ring@nope local0",
        "no proxy uses it, so HAProxy never looks for the ring",
    ),
    (Listen, "mode http", "not yet"),
    (File, "userlist u\n user a insecure-password b", "not yet"),
    (Listen, "bind 127.0.0.1:8080", "a connection must have one listener"),
    (Listen, "maxconn x", "HAProxy reads a word that is no number as 0"),
    (Listen, "retries x", "HAProxy reads a word that is no number as 0"),
    (Listen, "option redispatch x", "HAProxy reads a word that is no number as 0"),
    (Listen, "bind :81 maxconn x", "HAProxy reads a word that is no number as 0"),
    (Listen, "server s 127.0.0.1:80 weight", "HAProxy reads a missing number as 0"),
    (Listen, "server s 127.0.0.1:80 weight x", "HAProxy reads a word that is no number as 0"),
    (Global, "maxconn -3", "a limit below zero means nothing"),
    (File, "frontend a :80", "HAProxy sounds an alert and goes on without the listener"),
    (File, "listen l *:81,*:82", "HAProxy sounds an alert and goes on without the listeners"),
    (File, "defaults x y", "HAProxy ignores the second word"),
    (File, ".if defined\n.endif", "HAProxy reads a predicate without its arguments as true"),
    (File, ".if version_atleast(x)\n.endif", "HAProxy takes any word for a version"),
];

/// Lines that xlb accepts and HAProxy refuses, with the reason.
const ONLY_XLB_ACCEPTS: &[(In, &str, &str)] = &[
    (Listen, "bind fd@7", "whether it is there is known when it starts"),
    (File, ".if strstr(abc,b)\n.endif", "newer than HAProxy 2.6"),
    (Listen, "timeout client-hs 1s", "newer than HAProxy 2.6"),
    (Listen, "server s 127.0.0.1:80 check init-state down", "newer than HAProxy 2.6"),
    (Global, "interface eth0", "xlb's own"),
    (Global, "address 192.0.2.5/24", "xlb's own"),
    (Global, "source-ports 16384-32767", "xlb's own"),
    (Global, "nbproc 2", "gone from HAProxy since 2.5; here a synonym of workers"),
    (Global, "user nobody-of-that-name", "xlb does not look users up while it reads"),
];

/// A folder that goes away with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xlb-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("x.cfg");
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// HAProxy's verdict and what it said; exit status 2 is a configuration without listeners.
fn ask_haproxy(file: &Path) -> (bool, String) {
    let output = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(file)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(environment().variables)
        .output()
        .unwrap();
    let accepted = match output.status.code() {
        Some(0 | 2) => true,
        Some(1) => false,
        code => panic!("haproxy ended with {code:?}"),
    };
    (accepted, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Which words and forms exist differs from one version to the next.
fn has_haproxy_2_6() -> bool {
    let version = Command::new("haproxy").arg("-v").stderr(Stdio::null()).output();
    let found = version.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains("HAProxy version 2.6")
    });
    if !found {
        eprintln!("SKIPPED: HAProxy 2.6 is not installed, nothing was compared");
    }
    found
}

#[test]
fn haproxy_loads_the_examples_without_our_words() {
    if !has_haproxy_2_6() {
        return;
    }
    let folder = Folder::new("examples");
    let ours = ["interface", "address", "route", "source-ports"];
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let is_ours =
            |line: &&str| line.split_whitespace().next().is_some_and(|w| ours.contains(&w));
        let rest: String = text
            .lines()
            .filter(|line| !is_ours(line))
            .map(|line| line.to_string() + "\n")
            .collect();
        let (accepted, said) = ask_haproxy(&folder.file(&rest));
        assert!(accepted, "{rest}\n{said}");
    }
}

#[test]
fn haproxy_would_say_the_same() {
    if !has_haproxy_2_6() {
        return;
    }
    let accepted = BOTH_ACCEPT.iter().map(|&(place, line)| (place, line, true, true));
    let refused = BOTH_REFUSE.iter().map(|&(place, line)| (place, line, false, false));
    let theirs = ONLY_HAPROXY_ACCEPTS.iter().map(|&(place, line, _)| (place, line, false, true));
    let ours = ONLY_XLB_ACCEPTS.iter().map(|&(place, line, _)| (place, line, true, false));
    let folder = Folder::new("same");
    let mut wrong = String::new();
    for (place, line, xlb_expected, haproxy_expected) in
        accepted.chain(refused).chain(theirs).chain(ours)
    {
        let file = folder.file(&place.file(line));
        let (haproxy, said) = ask_haproxy(&file);
        let xlb = load_from(&[file], &environment(), &System);
        if (xlb.is_ok(), haproxy) != (xlb_expected, haproxy_expected) {
            let report = xlb.err().map(|report| report.to_string()).unwrap_or_default();
            wrong += &format!(
                "{place:?} {line:?}: accepted by xlb {} (expected {xlb_expected}), by HAProxy {haproxy} (expected {haproxy_expected})\n{report}{said}\n",
                report.is_empty()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
