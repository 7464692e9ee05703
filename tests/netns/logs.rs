//! Log lines: what HAProxy writes for the same scenes, field by field.
//!
//! A line is compared without its date and pid, with ports as `P`, and with timers as `n` or `-1`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::balancer::Balancer;
use crate::bytes::Server;
use crate::lab::{LB, Lab, PATIENCE, SRV1, SRV2, address};

/// A port where nobody listens.
const NOBODY: u16 = 9999;

/// A section of its own, what is done with it, and the lines that come of it.
struct Scene {
    port: u16,
    lines: &'static str,
    act: fn(&Lab, u16),
    logged: &'static [&'static str],
}

/// Reads all that comes, up to the end.
fn read(lab: &Lab, port: u16) {
    let mut stream = lab.client.connect(address(LB, port));
    let mut text = String::new();
    // How it ends is for the log to say.
    let _ = stream.read_to_string(&mut text);
}

fn say_and_read(lab: &Lab, port: u16) {
    let mut stream = lab.client.connect(address(LB, port));
    let _ = stream.write_all(b"hello");
    let _ = stream.read(&mut [0; 16]);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn say_and_wait(lab: &Lab, port: u16) {
    let mut stream = lab.client.connect(address(LB, port));
    let _ = stream.write_all(b"hello");
    let _ = stream.read_to_end(&mut Vec::new());
}

fn reset(lab: &Lab, port: u16) {
    let mut stream = lab.client.connect(address(LB, port));
    let _ = stream.write_all(b"hello");
    let _ = stream.read(&mut [0; 16]);
    reset_now(stream);
}

fn reset_now(stream: TcpStream) {
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })
        .expect("an option of the socket");
    drop(stream);
}

/// One connection holds the only place until two others have waited for a while.
fn served_in_turn(lab: &Lab, port: u16) {
    let mut first = lab.client.connect(address(LB, port));
    first.write_all(b"hello").expect("the balancer takes it");
    first.read_exact(&mut [0; 5]).expect("the server's echo");
    let others = [(); 2].map(|()| {
        let mut other = lab.client.connect(address(LB, port));
        other.write_all(b"hello").expect("the balancer takes it");
        other.shutdown(Shutdown::Write).expect("a socket that is open");
        // It has come to the queue when the balancer has heard of it.
        std::thread::park_timeout(Duration::from_millis(100));
        other
    });
    first.shutdown(Shutdown::Write).expect("a socket that is open");
    let _ = first.read_to_end(&mut Vec::new());
    for mut other in others {
        let _ = other.read_to_end(&mut Vec::new());
    }
}

/// One connection holds the only place while another waits for it in vain.
fn queue(lab: &Lab, port: u16) {
    let mut first = lab.client.connect(address(LB, port));
    first.write_all(b"hello").expect("the balancer takes it");
    first.read_exact(&mut [0; 5]).expect("the server's echo");
    say_and_wait(lab, port);
    first.shutdown(Shutdown::Write).expect("a socket that is open");
    let _ = first.read_to_end(&mut Vec::new());
}

const TCPLOG: &str = "option tcplog\n    server s1 10.77.0.11:9000";

const SCENES: &[Scene] = &[
    Scene {
        port: 80,
        lines: TCPLOG,
        act: read,
        logged: &["CLIENT:P [D] l80 l80/s1 n/n/n 3 -- 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 81,
        lines: "option tcplog\n    retries 1\n    server s1 10.77.0.11:9999",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l81 l81/s1 n/-1/n 0 SC 1/1/0/0/1 0/0"],
    },
    Scene {
        port: 82,
        lines: "option tcplog\n    server s1 10.77.0.11:9000 disabled",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l82 l82/<NOSRV> -1/-1/n 0 SC 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 83,
        lines: "option tcplog\n    retries 1\n    option redispatch\n    server s1 10.77.0.11:9999\n    server s2 10.77.0.12:9000",
        act: read,
        logged: &["CLIENT:P [D] l83 l83/s2 n/n/n 3 -- 1/1/0/0/+1 0/0"],
    },
    Scene {
        port: 84,
        lines: "option tcplog\n    timeout client 300ms\n    server s1 10.77.0.11:9001",
        act: |lab, port| {
            let mut stream = lab.client.connect(address(LB, port));
            let _ = stream.read_to_end(&mut Vec::new());
        },
        logged: &["CLIENT:P [D] l84 l84/s1 n/n/n 0 cD 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 85,
        lines: "option tcplog\n    timeout server 300ms\n    server s1 10.77.0.12:9001",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l85 l85/s1 n/n/n 0 sD 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 86,
        lines: "option tcplog\n    timeout queue 300ms\n    server s1 10.77.0.11:9001 maxconn 1",
        act: queue,
        logged: &[
            "CLIENT:P [D] l86 l86/<NOSRV> n/-1/n 0 sQ 2/2/1/0/0 0/1",
            "CLIENT:P [D] l86 l86/s1 n/n/n 5 -- 1/1/0/0/0 0/0",
        ],
    },
    Scene {
        port: 98,
        lines: "option tcplog\n    server s1 10.77.0.11:9001 maxconn 1",
        act: served_in_turn,
        logged: &[
            "CLIENT:P [D] l98 l98/s1 n/n/n 5 -- 3/3/2/0/0 0/0",
            "CLIENT:P [D] l98 l98/s1 n/n/n 5 -- 2/2/1/0/0 0/1",
            "CLIENT:P [D] l98 l98/s1 n/n/n 5 -- 1/1/0/0/0 0/2",
        ],
    },
    Scene {
        port: 99,
        lines: "option tcplog\n    use-server s1 if TRUE\n    server s1 10.77.0.11:9001 maxconn 1",
        act: served_in_turn,
        logged: &[
            "CLIENT:P [D] l99 l99/s1 n/n/n 5 -- 3/3/2/0/0 0/0",
            "CLIENT:P [D] l99 l99/s1 n/n/n 5 -- 2/2/1/0/0 1/0",
            "CLIENT:P [D] l99 l99/s1 n/n/n 5 -- 1/1/0/0/0 2/0",
        ],
    },
    Scene {
        port: 87,
        lines: "option tcplog\n    tcp-request inspect-delay 5s\n    tcp-request content reject if { req.len gt 0 }\n    server s1 10.77.0.11:9000",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l87 l87/<NOSRV> -1/-1/n 0 PR 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 88,
        lines: "option tcplog\n    timeout client 300ms\n    tcp-request inspect-delay 5s\n    tcp-request content accept if { req.len gt 100 }\n    server s1 10.77.0.11:9000",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l88 l88/<NOSRV> -1/-1/n 0 cR 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 89,
        lines: "option tcplog\n    server s1 10.77.0.11:9001",
        act: reset,
        logged: &["CLIENT:P [D] l89 l89/s1 n/n/n 5 CD 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 90,
        lines: "option tcplog\n    server s1 10.77.0.12:9002",
        act: say_and_wait,
        logged: &["CLIENT:P [D] l90 l90/s1 n/n/n 0 SD 1/1/0/0/0 0/0"],
    },
    // Who says nothing is not worth a line; the next one is.
    Scene {
        port: 91,
        lines: "option tcplog\n    option dontlognull\n    server s1 10.77.0.11:9001",
        act: |lab, port| {
            let mut silent = lab.client.connect(address(LB, port));
            silent.shutdown(Shutdown::Write).expect("a socket that is open");
            let _ = silent.read_to_end(&mut Vec::new());
            say_and_read(lab, port);
        },
        logged: &["CLIENT:P [D] l91 l91/s1 n/n/n 5 -- 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 92,
        lines: "option tcplog\n    option logasap\n    server s1 10.77.0.11:9001",
        act: say_and_read,
        logged: &["CLIENT:P [D] l92 l92/s1 n/n/+n +0 -- 1/1/1/1/0 0/0"],
    },
    Scene {
        port: 93,
        lines: "log-format \"%f/%b/%s %si:%sp %[dst_port,add(7)] %{+Q}[src] %U>%B\"\n    server s1 10.77.0.11:9001",
        act: say_and_read,
        logged: &["l93/l93/s1 10.77.0.11:9001 100 \"CLIENT\" 5>5"],
    },
    Scene {
        port: 94,
        lines: "server s1 10.77.0.11:9000",
        act: read,
        logged: &["Connect from CLIENT:P to 10.77.0.1:94 (l94/TCP)"],
    },
    Scene {
        port: 95,
        lines: "option tcplog\n    tcp-response content reject\n    server s1 10.77.0.11:9000",
        act: read,
        logged: &["CLIENT:P [D] l95 l95/s1 n/n/n 0 PD 1/1/0/0/0 0/0"],
    },
    // A level of its own is seen by the target's filter; `silent` is no line at all.
    Scene {
        port: 96,
        lines: "option tcplog\n    tcp-request content set-log-level silent if { src_port 41001 }\n    server s1 10.77.0.11:9000",
        act: read,
        logged: &["CLIENT:P [D] l96 l96/s1 n/n/n 3 -- 1/1/0/0/0 0/0"],
    },
    Scene {
        port: 97,
        lines: "option tcplog\n    option abortonclose\n    timeout connect 5s\n    server s1 10.77.0.99:9000",
        act: |lab, port| {
            let mut stream = lab.client.connect(address(LB, port));
            let _ = stream.write_all(b"hello");
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        },
        logged: &["CLIENT:P [D] l97 l97/s1 n/-1/n 0 CC 1/1/0/0/0 0/0"],
    },
];

pub fn lines_are_haproxys() {
    let lab = Lab::up();
    let _servers = [
        Server::naming(&lab.srv1, address(SRV1, 9000), "one"),
        Server::naming(&lab.srv2, address(SRV2, 9000), "two"),
        Server::echoing(&lab.srv1, address(SRV1, 9001)),
        Server::start(&lab.srv2, address(SRV2, 9001), |mut stream| {
            // Says nothing until the balancer has had enough.
            let _ = stream.read_to_end(&mut Vec::new());
        }),
        Server::start(&lab.srv2, address(SRV2, 9002), |mut stream| {
            let _ = stream.read(&mut [0; 5]);
            reset_now(stream);
        }),
    ];
    assert!(lab.srv1.try_connect(address(SRV1, NOBODY)).is_err());
    let mut config = String::from(
        "defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 20s\n    timeout server 20s\n    log 127.0.0.1:5140 len 2000 local0\n",
    );
    for Scene { port, lines, .. } in SCENES {
        config += &format!("\nlisten l{port}\n    bind {LB}:{port}\n    {lines}\n");
    }
    let log = lab.lb.enter(|| UdpSocket::bind("127.0.0.1:5140")).expect("a port of its own");
    log.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
    let balancer = Balancer::start(&lab, &config);
    let mut wrong = Vec::new();
    for Scene { port, act, logged, lines } in SCENES {
        act(&lab, *port);
        for expected in *logged {
            let line = next_line(&log);
            if line != *expected {
                wrong.push(format!("{lines}\n  expected {expected}\n  got      {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    log.set_read_timeout(Some(Duration::from_millis(100))).expect("an option of the socket");
    assert!(log.recv(&mut [0; 2000]).is_err(), "more lines than expected");
    balancer.wait_until_idle();
    balancer.stop();
}

/// Lines wait in a ring for a server that comes late, and goes and comes again.
pub fn rings_tell_over_tcp() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9000), "one");
    let config = format!(
        "ring late\n    format raw\n    size 32764\n    timeout connect 1s\n    server c 127.0.0.1:5140 log-proto octet-count\n    server d 127.0.0.1:5141\n\
defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 20s\n    timeout server 20s\n    log ring@late local0\n\
listen l\n    bind {LB}:80\n    log-format \"%b/%s %B %ts\"\n    server s1 {SRV1}:9000\n"
    );
    let listen = |port: u16| lab.lb.listen(address("127.0.0.1", port));
    let take = |listener: &TcpListener, expected: &str| {
        let (mut stream, _) = listener.accept().expect("the ring comes");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).expect("the lines");
        assert_eq!(String::from_utf8_lossy(&got), expected);
        stream
    };
    let balancer = Balancer::start(&lab, &config);
    let line = "l/s1 3 --";
    read(&lab, 80);
    read(&lab, 80);
    let (counted, fed) = (listen(5140), listen(5141));
    let first = take(&counted, &format!("9 {line}").repeat(2));
    let second = take(&fed, &format!("{line}\n").repeat(2));
    drop((first, counted));
    // What is said while it is away is told when it is back.
    read(&lab, 80);
    let _first = take(&listen(5140), &format!("9 {line}"));
    drop(second);
    balancer.stop();
}

/// What is told of servers, and of connections that never were streams.
pub fn other_lines_are_haproxys() {
    let lab = Lab::up();
    let config = format!(
        "global\n    log-tag lb\n    log 127.0.0.1:5140 local0\ndefaults\n    mode tcp\n    timeout connect 2s\n    timeout client 300ms\n    timeout server 20s\n    log global\n
listen strict\n    bind {LB}:80 accept-proxy name door\n    option tcplog\n    server s1 {SRV1}:9000\n
listen lax\n    bind {LB}:81 accept-proxy\n    option dontlognull\n    server s1 {SRV1}:9000\n
backend checked\n    server s1 {SRV1}:9000 check inter 100ms fall 1 rise 1\n    server s2 {SRV2}:9000 check inter 100ms fall 1 rise 1 backup\n"
    );
    let log = lab.lb.enter(|| UdpSocket::bind("127.0.0.1:5140")).expect("a port of its own");
    log.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
    let good = Server::naming(&lab.srv1, address(SRV1, 9000), "one");
    let _other = Server::naming(&lab.srv2, address(SRV2, 9000), "two");
    let balancer = Balancer::start(&lab, &config);
    let say = |port: u16, text: &[u8], closes: bool| {
        let mut stream = lab.client.connect(address(LB, port));
        stream.write_all(text).expect("the balancer takes it");
        if closes {
            stream.shutdown(Shutdown::Write).expect("a socket that is open");
        }
        let _ = stream.read_to_end(&mut Vec::new());
    };
    say(80, b"GET / HTTP/1.0\r\n\r\n", false);
    let mut lines = vec![next_line(&log)];
    say(80, b"PROXY TCP4 192", false);
    lines.push(next_line(&log));
    say(80, b"", false);
    lines.push(next_line(&log));
    say(80, b"", true);
    lines.push(next_line(&log));
    say(81, b"", true);
    say(81, b"PROXY TCP4 203.0.113.9 198.51.100.1 5678 80\r\n", true);
    lines.push(next_line(&log));
    // The first check may come later than all that.
    drop(good);
    lines.push(next_line(&log));
    let _good = Server::naming(&lab.srv1, address(SRV1, 9000), "one");
    lines.push(next_line(&log));
    let expected = [
        "CLIENT:P [D] strict/door: Received something which does not look like a PROXY protocol header",
        "CLIENT:P [D] strict/door: Truncated PROXY protocol header received",
        "CLIENT:P [D] strict/door: Timeout while waiting for PROXY protocol header",
        "CLIENT:P [D] strict/door: Connection closed while waiting for PROXY protocol header",
        "Connect from 203.0.113.9:5678 to 198.51.100.1:80 (lax/TCP)",
        "Server checked/s1 is DOWN, reason: Layer4 connection problem, info: \"Connection refused\", check duration: Nms. 0 active and 1 backup servers left. Running on backup. 0 sessions active, 0 requeued, 0 remaining in queue.",
        "Server checked/s1 is UP, reason: Layer4 check passed, check duration: Nms. 1 active and 1 backup servers online. 0 sessions requeued, 0 total in queue.",
    ];
    assert_eq!(lines, expected);
    balancer.stop();
}

/// The next line about a stream, without what differs from run to run.
pub fn next_line(log: &UdpSocket) -> String {
    loop {
        match next_line_of_all(log) {
            // A server without checks may be told of at start.
            Some(line) if line.contains("has no server available") => {}
            Some(line) => return line,
            None => return "nothing".into(),
        }
    }
}

/// The next line of any kind; `None`: none has come within the socket's time limit.
pub fn next_line_of_all(log: &UdpSocket) -> Option<String> {
    let mut bytes = [0; 2000];
    let len = log.recv(&mut bytes).ok()?;
    let line = String::from_utf8_lossy(&bytes[..len]);
    let (_, text) = line.split_once("]: ").expect("a header with a pid");
    Some(masked(text.trim_end_matches('\n')))
}

fn masked(text: &str) -> String {
    let words: Vec<String> = text
        .replace("10.77.0.2", "CLIENT")
        .split(' ')
        .map(|word| {
            let timers: Vec<&str> = word.split('/').collect();
            if let Some(date) = word.strip_prefix('[') {
                assert_eq!(date.len(), "26/Nov/2026:16:08:50.814]".len(), "{word}");
                return "[D]".into();
            }
            if let Some((client, _)) = word.split_once(':').filter(|(c, _)| *c == "CLIENT") {
                return format!("{client}:P");
            }
            if let Some(end @ ("ms." | "ms,")) = word.get(word.len().saturating_sub(3)..) {
                return format!("N{end}");
            }
            if timers.len() == 3 && timers.iter().all(|timer| timer.parse::<i64>().is_ok()) {
                let mask = |timer: &&str| match (*timer, timer.starts_with('+')) {
                    ("-1", _) => "-1",
                    (_, true) => "+n",
                    _ => "n",
                };
                return timers.iter().map(mask).collect::<Vec<_>>().join("/");
            }
            word.into()
        })
        .collect();
    words.join(" ")
}
