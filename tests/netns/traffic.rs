//! Programs that people run through load balancers, and many bytes: no error, no stall, every byte right.

use std::io::{Read, Write};

use crate::balancer::Balancer;
use crate::bytes::{MIB, Server, exchange};
use crate::lab::{
    LB, LB6, Lab, Netns, PATIENCE, Process, SRV1, SRV1_6, SRV2, Shape, address, wait_until,
};

/// At least as many requests as this, in as many runs of wrk as it takes.
const REQUESTS: u64 = 10_000;
const WRK_RUNS_MAX: u32 = 8;

pub fn curl_over_both_families() {
    let lab = Lab::up();
    let _servers = [web(&lab, &lab.srv1, SRV1, "one"), web(&lab, &lab.srv2, SRV2, "two")];
    let binds = [address(LB, 80), address(LB6, 80)];
    let servers = [address(SRV1, 80), address(SRV2, 80)];
    let balancer = Balancer::serving(&lab, &binds, &servers);
    for url in binds.map(|bind| format!("http://{bind}/")) {
        let answers: Vec<String> =
            (0..16).map(|_| lab.client.run("curl", &["-fsS", "-m", "10", &url])).collect();
        for name in ["one", "two"] {
            let count = answers.iter().filter(|answer| answer.trim() == name).count();
            // Each worker takes turns for itself: the halves need not be exact.
            assert!(count >= 1, "{name} never answered at {url}: {answers:?}");
        }
        assert!(
            answers.iter().all(|answer| ["one", "two"].contains(&answer.trim())),
            "{answers:?}"
        );
    }
    balancer.stop();
}

pub fn wrk_keep_alive() {
    wrk(&[]);
}

pub fn wrk_new_connections() {
    wrk(&["-H", "Connection: close"]);
}

fn wrk(options: &[&str]) {
    let lab = Lab::up();
    let _servers = [web(&lab, &lab.srv1, SRV1, "one"), web(&lab, &lab.srv2, SRV2, "two")];
    let servers = [address(SRV1, 80), address(SRV2, 80)];
    let balancer = Balancer::serving(&lab, &[address(LB, 80)], &servers);
    let url = format!("http://{LB}/");
    let mut requests = 0;
    for _ in 0..WRK_RUNS_MAX {
        let arguments = [&["-t", "1", "-c", "64", "-d", "2"], options, &[url.as_str()]].concat();
        let report = lab.client.run("wrk", &arguments);
        assert!(
            !report.contains("Socket errors") && !report.contains("Non-2xx"),
            "wrk had errors: {report}"
        );
        requests += number_before(&report, " requests in ");
        if requests >= REQUESTS {
            break;
        }
    }
    println!("    {requests} requests");
    assert!(requests >= REQUESTS, "only {requests} requests in {WRK_RUNS_MAX} runs");
    balancer.wait_until_idle();
    balancer.stop();
}

/// Not `--bidir`: iperf3 tells the two connections of that apart by the order in which its server accepts them, which a
/// proxy does not keep; then both sides write into the same one, and nobody reads.
pub fn iperf3_in_all_directions() {
    let lab = Lab::up();
    let _server = lab.spawn(&lab.srv1, "iperf3", &["-s"]);
    wait_for_listener(&lab.srv1, SRV1, 5201);
    let binds = [address(LB, 5201), address(LB6, 5201)];
    let balancer = Balancer::serving(&lab, &binds, &[address(SRV1, 5201)]);
    for (host, options) in [
        (LB, &[][..]),
        (LB, &["-R"]),
        (LB, &["-P", "8"]),
        (LB, &["-P", "8", "-R"]),
        (LB6, &["-P", "2"]),
    ] {
        let report = lab.client.run("iperf3", &[&["-c", host, "-t", "2", "-J"], options].concat());
        let intervals = report.split("\"intervals\"").nth(1).expect("a report has intervals");
        let stalled = intervals.matches("\"bytes\":\t0,").count();
        let bits = number_behind(&report, "\"sum_received\"", "\"bits_per_second\":");
        println!("    iperf3 {}: {:.0} Mbit/s", options.join(" "), bits / 1e6);
        assert!(bits > 1e6 && !report.contains("\"error\""), "iperf3 {options:?}: {report}");
        assert!(stalled == 0, "{stalled} intervals without a byte, iperf3 {options:?}: {report}");
    }
    balancer.stop();
}

pub fn redis_benchmark() {
    let lab = Lab::up();
    let options = ["--save", "", "--bind", "0.0.0.0", "--protected-mode", "no"];
    let _server = lab.spawn(&lab.srv1, "redis-server", &options);
    wait_for_listener(&lab.srv1, SRV1, 6379);
    let balancer = Balancer::serving(&lab, &[address(LB, 6379)], &[address(SRV1, 6379)]);
    for options in
        [&["-c", "50", "-n", "10000"][..], &["-c", "50", "-n", "40000", "-P", "16", "-d", "3000"]]
    {
        let fixed = ["-h", LB, "-q", "-t", "ping,set,get,lpush,lpop"];
        let report = lab.client.run("redis-benchmark", &[&fixed, options].concat());
        assert!(report.contains("requests per second"), "redis-benchmark: {report}");
        assert!(!report.to_lowercase().contains("error"), "redis-benchmark: {report}");
    }
    balancer.stop();
}

pub fn pgbench() {
    let lab = Lab::up();
    let _server = postgres(&lab);
    let balancer = Balancer::serving(&lab, &[address(LB, 5432)], &[address(SRV1, 5432)]);
    let to = ["-h", LB, "-U", "postgres"];
    lab.client.run("pgbench", &[&to[..], &["-i", "-q", "-s", "1", "postgres"]].concat());
    // With connections that stay, and with one for each transaction.
    for options in [&["-c", "8", "-t", "250"][..], &["-c", "4", "-t", "50", "-C"]] {
        let report =
            lab.client.run("pgbench", &[&to[..], &["-n"], options, &["postgres"]].concat());
        let wanted = if options.contains(&"-C") { "200/200" } else { "2000/2000" };
        assert!(
            report.contains(&format!("actually processed: {wanted}"))
                && report.contains("failed transactions: 0"),
            "pgbench: {report}"
        );
    }
    balancer.stop();
}

pub fn one_gib_each_way() {
    bytes_through(Shape::default(), false, 1024 * MIB);
}

pub fn bytes_over_ipv6() {
    bytes_through(Shape::default(), true, 128 * MIB);
}

/// The largest packet that fits a frame of 4096 bytes with its headroom and the kernel's trailer.
pub fn bytes_in_large_frames() {
    for ipv6 in [false, true] {
        bytes_through(Shape { mtu: 3498, ..Shape::default() }, ipv6, 128 * MIB);
    }
}

fn bytes_through(shape: Shape, ipv6: bool, length: u64) {
    let lab = Lab::shaped(shape);
    let on = address(if ipv6 { SRV1_6 } else { SRV1 }, 9000);
    let to = address(if ipv6 { LB6 } else { LB }, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let start = std::time::Instant::now();
    exchange(&lab.client.connect(to), &served, length, length);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "    {} MiB each way: {:.0} Mbit/s",
        length / MIB,
        (length * 8) as f64 / 1e6 / seconds
    );
    balancer.wait_until_idle();
    balancer.stop();
}

/// Each round trip waits for the one before: a byte that lies around until a timer comes would show.
pub fn many_small_exchanges() {
    const ROUNDS: u32 = 2000;
    let lab = Lab::up();
    let (to, on) = (address(LB, 9000), address(SRV1, 9000));
    let _server = Server::echoing(&lab.srv1, on);
    let balancer = Balancer::serving(&lab, &[to], &[on]);
    let mut stream = lab.client.connect(to);
    stream.set_nodelay(true).expect("a socket takes the option");
    let start = std::time::Instant::now();
    for round in 0..ROUNDS {
        let (sent, mut got) = (round.to_be_bytes(), [0; 4]);
        stream.write_all(&sent).expect("sending a request");
        stream.read_exact(&mut got).expect("an answer");
        assert_eq!(sent, got);
    }
    let mean = start.elapsed() / ROUNDS;
    println!("    {} us for each round trip", mean.as_micros());
    // A delayed acknowledgement alone would take 40 ms.
    assert!(mean.as_millis() < 5, "{mean:?} for each round trip");
    drop(stream);
    balancer.stop();
}

/// nginx that answers with its name.
pub fn web(lab: &Lab, netns: &Netns, host: &str, name: &str) -> Process {
    let dir = lab.dir.display();
    let config = lab.file(
        &format!("{name}.conf"),
        &format!(
            "daemon off; master_process off; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
             events {{ worker_connections 4096; }}
             http {{ access_log off; keepalive_requests 1000000;
                server {{ listen 80 backlog=4096; listen [::]:80 backlog=4096;
                    location / {{ return 200 \"{name}\\n\"; }} }} }}"
        ),
    );
    let errors = format!("{dir}/{name}.err");
    let process = lab.spawn(netns, "nginx", &["-e", &errors, "-c", &config]);
    wait_for_listener(netns, host, 80);
    process
}

fn postgres(lab: &Lab) -> Process {
    let programs = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed")
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .max()
        .expect("PostgreSQL has a version");
    let program = |name: &str| programs.join(name).display().to_string();
    let data = lab.dir.join("pg").display().to_string();
    let user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
    lab.srv1.run("install", &["-d", "-o", "postgres", &data]);
    let initdb = program("initdb");
    let arguments = [&user[..], &[&initdb, "-A", "trust", "--no-sync", "-D", &data]].concat();
    lab.srv1.run("setpriv", &arguments);
    std::fs::write(lab.dir.join("pg/pg_hba.conf"), "host all all all trust\n")
        .expect("initdb made it");
    let mut arguments = user.to_vec();
    let postgres = program("postgres");
    // Set again: a change of the user takes it away.
    arguments.extend([
        "--pdeathsig",
        "KILL",
        &postgres,
        "-D",
        &data,
        "-k",
        "",
        "-h",
        "0.0.0.0",
        "-F",
    ]);
    let mut process = lab.spawn(&lab.srv1, "setpriv", &arguments);
    process.wait_for_log("ready to accept connections");
    process
}

pub fn wait_for_listener(netns: &Netns, host: &str, port: u16) {
    wait_until(&format!("a listener on {host}:{port}"), PATIENCE, || {
        netns.try_connect(address(host, port)).is_ok()
    });
}

fn number_before(text: &str, mark: &str) -> u64 {
    text.split(mark)
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap_or_else(|| panic!("no number before '{mark}' in: {text}"))
}

fn number_behind(text: &str, section: &str, key: &str) -> f64 {
    text.split(section)
        .nth(1)
        .and_then(|rest| rest.split(key).nth(1)?.split([',', '\n']).next()?.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {section} {key} in: {text}"))
}
