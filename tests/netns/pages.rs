//! What xlb answers by itself: the statistics page and the metrics, over the wires.
//!
//! In:    requests of curl, a Prometheus client and a browser's kind of carelessness
//! Out:   pages whose figures are those of the runtime interface; where HAProxy has the same metric, its name is the measure
//! Never: reads a page for its looks

use std::collections::BTreeSet;
use std::io::{Read, Write};

use crate::balancer::{Balancer, DEFAULTS, Kind};
use crate::bytes::Server;
use crate::lab::{LB, Lab, PATIENCE, SRV1, address, wait_until};

fn config() -> String {
    format!(
        "{DEFAULTS}\nfrontend www\n    bind {LB}:8000\n    option socket-stats\n    default_backend app\n\
         backend app\n    server s1 {SRV1}:9001 check inter 300ms\n    server s2 {SRV1}:9999 check inter 300ms\n\
         listen stats\n    mode http\n    bind {LB}:8404\n    stats uri /stats\n    stats auth me:secret\n    \
         stats show-legends\n    stats show-desc a <b>bold</b> one\n    \
         http-request use-service prometheus-exporter if {{ path /metrics }}\n"
    )
}

fn curl(lab: &Lab, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{LB}:8404{path}");
    lab.client.run("curl", &[&["-s", "--max-time", "10"], arguments, &[&url]].concat())
}

fn family_of(line: &str) -> Option<String> {
    line.strip_prefix("# TYPE ").map(str::to_owned)
}

/// The page, its other forms, and who may see them.
pub fn the_statistics_page() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let balancer = Balancer::start(&lab, &config());
    let me = ["-u", "me:secret"];
    wait_until("s2 is down", PATIENCE, || curl(&lab, &me, "/stats;csv").contains(",DOWN,"));
    for _ in 0..3 {
        let mut name = [0];
        lab.client.connect(address(LB, 8000)).read_exact(&mut name).expect("it is served");
    }
    wait_until("three streams have ended", PATIENCE, || {
        curl(&lab, &me, "/stats;csv").lines().any(|line| {
            let words: Vec<&str> = line.split(',').collect();
            line.starts_with("app,s1,") && words[4] == "0" && words[7] == "3"
        })
    });
    let page = curl(&lab, &me, "/stats");
    for part in [
        "<!DOCTYPE html>",
        "<tr class=\"down\"><td class=\"n\" title=\"10.77.0.11:9999",
        "<tr class=\"up\">",
        "<h2 id=\"app\">app</h2>",
        "a &lt;b&gt;bold&lt;/b&gt; one",
        "<table id=\"cores\">",
        "<td class=\"n\">first byte</td><td>3</td>",
        "</html>\n",
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert!(!page.contains("<script"), "{page}");
    let json = curl(&lab, &me, "/stats;json");
    assert!(json.starts_with("[[{\"objType\":\"Frontend\""), "{json}");
    let only = curl(&lab, &me, "/stats;csv?scope=app");
    assert!(only.contains("app,s1") && !only.contains("www,"), "{only}");
    let status = |arguments: &[&str], path: &str| {
        curl(&lab, &[arguments, &["-o", "/dev/null", "-w", "%{http_code}"]].concat(), path)
    };
    assert_eq!(status(&[], "/stats"), "401");
    assert_eq!(status(&["-u", "me:wrong"], "/stats;csv"), "401");
    assert_eq!(status(&["-u", "me:secret", "-I"], "/stats"), "200");
    assert_eq!(status(&[], "/elsewhere"), "503");
    assert_eq!(status(&["-u", "me:secret", "-d", "s=s1&action=disable"], "/stats"), "405");
    // Nonsense, a request that is too long, and one that comes in pieces.
    let ask = |pieces: &[&[u8]]| {
        let mut stream = lab.client.connect(address(LB, 8404));
        for piece in pieces {
            let _ = stream.write_all(piece);
        }
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask(&[b"\x01nonsense\r\n\r\n"]).starts_with("HTTP/1.1 400 "), "nonsense");
    let long = vec![b'x'; 20_000];
    assert!(!ask(&[b"GET /", &long]).starts_with("HTTP/1.1 200"), "too long");
    let whole = ask(&[b"GET /metr", b"ics HTTP/1.1\r\nHost: x\r", b"\n\r\n"]);
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    balancer.stop();
}

/// What Prometheus reads: a parser of others takes it, and what HAProxy's exporter tells of TCP is there by the same name.
pub fn metrics_have_haproxys_names() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let families = |kind: Kind| {
        let balancer = Balancer::start_as(&lab, kind, &config());
        wait_until("s2 is down", PATIENCE, || {
            curl(&lab, &[], "/metrics")
                .contains("haproxy_server_status{proxy=\"app\",server=\"s2\",state=\"DOWN\"} 1")
        });
        lab.client.connect(address(LB, 8000)).read_exact(&mut [0]).expect("it is served");
        let text = curl(&lab, &[], "/metrics");
        balancer.stop();
        text
    };
    let (theirs, ours) = (families(Kind::HaProxy), families(Kind::Xlb));
    let of_layer_7 = [
        "_http_",
        "_ssl_",
        "_agg_",
        "zlib",
        "pipes",
        "spliced",
        "peers",
        "recv_logs",
        "intercepted",
        "resolutions",
        "unstoppable",
        "bytes_out_rate",
        "idle_connections_limit",
        "h1_",
        "h2_",
        "limit_http_comp",
        // Without a value there is no sample; HAProxy writes NaN.
        "check_code",
        "server_limit_sessions",
        "current_throttle",
        "queue_limit",
        "sticktable",
        "resolver",
    ];
    let wanted: BTreeSet<String> = theirs
        .lines()
        .filter_map(family_of)
        .filter(|name| !of_layer_7.iter().any(|part| name.contains(part)))
        // HAProxy 2.6 has the idle connections of other modes only where they can be.
        .filter(|name| !name.contains("failed_header_rewriting") || name.contains("server"))
        .collect();
    let had: BTreeSet<String> = ours.lines().filter_map(family_of).collect();
    let missing: Vec<&String> = wanted.difference(&had).collect();
    assert!(missing.is_empty(), "xlb does not tell {missing:?}");
    assert!(wanted.len() > 90, "{wanted:?}");
    for line in [
        "haproxy_frontend_sessions_total{proxy=\"www\"} 1",
        "haproxy_backend_status{proxy=\"app\",state=\"UP\"} 1",
        "haproxy_server_check_status{proxy=\"app\",server=\"s2\",state=\"L4CON\"} 1",
    ] {
        for (whose, text) in [("HAProxy", &theirs), ("xlb", &ours)] {
            assert!(
                text.lines().any(|found| found == line),
                "{whose} does not say {line}:\n{text}"
            );
        }
    }
    let file = lab.file("metrics.txt", &ours);
    let script = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
        print(sum(len(family.samples) for family in parse(open(sys.argv[1]).read())))";
    let samples = lab.client.run("/usr/bin/python3", &["-c", script, &file]);
    let counted = ours.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples.trim().parse(), Ok(counted), "a parser of others takes every sample");
}

/// Forms of the page: what they change, and whose are not taken.
pub fn servers_are_changed_by_the_page() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9001), "a");
    let text = config()
        .replace("    stats show-legends\n", "    stats show-legends\n    stats admin if TRUE\n");
    let balancer = Balancer::start(&lab, &text);
    let me = ["-u", "me:secret"];
    let page = curl(&lab, &me, "/stats");
    let token =
        page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.expect("the forms have a token").to_string();
    assert!(page.contains("<input type=\"checkbox\" name=\"s\" value=\"s1\">"), "{page}");
    let post = |more: &[&str], fields: &str| {
        let arguments = [
            &me[..],
            &["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-d", fields],
            more,
        ];
        curl(&lab, &arguments.concat(), "/stats")
    };
    let is_in = |status: &str| {
        let wanted = format!(",{status},");
        curl(&lab, &me, "/stats;csv")
            .lines()
            .any(|line| line.starts_with("app,s1,") && line.contains(&wanted))
    };
    wait_until("s1 is up", PATIENCE, || is_in("UP"));
    let fields = |action: &str| format!("s=s1&b=app&action={action}&token={token}");
    let denied = post(&[], "s=s1&b=app&action=maint");
    assert!(denied.starts_with("303 ") && denied.ends_with("/stats;st=DENY"), "{denied}");
    let denied = post(&["-H", "Origin: http://elsewhere"], &fields("maint"));
    assert!(denied.ends_with(";st=DENY"), "{denied}");
    assert!(is_in("UP"), "nothing has changed");
    assert!(post(&[], &fields("maint")).ends_with(";st=DONE"));
    assert!(is_in("MAINT"));
    assert!(curl(&lab, &me, "/stats;st=DONE").contains("Action processed successfully."));
    let origin = format!("Origin: http://{LB}:8404");
    assert!(post(&["-H", &origin], &fields("ready")).ends_with(";st=DONE"));
    wait_until("s1 is up again", PATIENCE, || is_in("UP"));
    assert!(post(&[], &fields("explode")).ends_with(";st=ERRP"));
    let unknown = format!("s=s9&s=s1&b=app&action=drain&token={token}");
    assert!(post(&[], &unknown).ends_with(";st=PART"));
    assert!(is_in("DRAIN"));
    balancer.stop();
}
