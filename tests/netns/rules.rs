//! Rules of layer 4: who is let in, where streams are sent, what is waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, DEFAULTS};
use crate::bytes::{Server, is_timeout};
use crate::lab::{CLIENT, LB, Lab, PATIENCE, SRV1, SRV2, address};

/// In this time nothing comes that is not to come.
const SILENCE: Duration = Duration::from_millis(300);

/// What a client gets until the end, or until it has been silent for too long.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Text(String),
    /// An end without a byte, in order or by a reset.
    Nothing,
    Silence,
}

fn got(stream: io::Result<TcpStream>) -> Got {
    let mut text = String::new();
    match stream.and_then(|mut stream| stream.read_to_string(&mut text)) {
        Ok(0) => Got::Nothing,
        Ok(_) => Got::Text(text),
        Err(error) if RESET.contains(&error.kind()) => Got::Nothing,
        Err(error) if is_timeout(&error) => Got::Silence,
        Err(error) => panic!("{error}"),
    }
}

/// What sending, or even connecting, may meet when the other side resets at once.
const RESET: [ErrorKind; 2] = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

/// Sends these pieces one after the other, each in a segment of its own.
fn says(lab: &Lab, port: u16, pieces: &[&[u8]]) -> io::Result<TcpStream> {
    let mut stream = lab.client.try_connect(address(LB, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    for piece in pieces {
        stream.write_all(piece)?;
    }
    Ok(stream)
}

/// Two servers that tell their names, one backend for each.
const BACKENDS: &str = "
backend one
    server s1 10.77.0.11:9000
backend two
    server s2 10.77.0.12:9000
backend both
    server s1 10.77.0.11:9000
    server s2 10.77.0.12:9000
    use-server s2 if { src_port 41000:41999 }
    use-server s1 unless { src_port 41000:41999 }
";

fn servers(lab: &Lab) -> [Server; 2] {
    [
        Server::naming(&lab.srv1, address(SRV1, 9000), "one"),
        Server::naming(&lab.srv2, address(SRV2, 9000), "two"),
    ]
}

pub fn the_door() {
    let lab = Lab::up();
    let _servers = servers(&lab);
    let frontend = |port: u16, lines: &str| {
        format!("\nfrontend f{port}\n    bind {LB}:{port}\n    default_backend one\n{lines}\n")
    };
    let clients = lab.file("clients", &format!("# who\n192.0.2.0/24\n{CLIENT}\n"));
    let config = [
        DEFAULTS,
        &frontend(80, "    tcp-request connection accept if { src 10.77.0.0/24 }\n    tcp-request connection reject"),
        &frontend(81, &format!("    acl bad src -f {clients}\n    tcp-request connection reject if bad")),
        &frontend(82, "    tcp-request connection silent-drop if !{ src 192.0.2.1 }"),
        &frontend(84, "    tcp-request session reject if { dst_port 84 }"),
        &frontend(85, "    tcp-request connection expect-proxy layer4 if { src 10.77.0.2 }\n    tcp-request session reject unless { src 203.0.113.9 }"),
        &frontend(86, "    tcp-request connection set-var(sess.port) dst_port,add(4)\n    use_backend two if { var(sess.port) -m int 90 }"),
        BACKENDS,
    ]
    .concat();
    let balancer = Balancer::start(&lab, &config);
    assert_eq!(got(says(&lab, 80, &[])), text("one"));
    assert_eq!(got(says(&lab, 81, &[])), Got::Nothing);
    let dropped = says(&lab, 82, &[]).expect("nobody says no");
    dropped.set_read_timeout(Some(SILENCE)).expect("an option of the socket");
    assert_eq!(got(Ok(dropped)), Got::Silence);
    assert_eq!(got(says(&lab, 84, &[])), Got::Nothing);
    let told = b"PROXY TCP4 203.0.113.9 198.51.100.1 5678 80\r\n";
    assert_eq!(got(says(&lab, 85, &[told])), text("one"));
    let other = b"PROXY TCP4 203.0.113.8 198.51.100.1 5678 80\r\n";
    assert_eq!(got(says(&lab, 85, &[other])), Got::Nothing);
    assert_eq!(got(says(&lab, 86, &[])), text("two"));
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn a_monitor_is_let_go() {
    let lab = Lab::up();
    let _servers = servers(&lab);
    let frontend = |port: u16, net: &str| {
        format!(
            "\nfrontend f{port}\n    bind {LB}:{port}\n    monitor-net {net}\n    default_backend one\n"
        )
    };
    let config = [DEFAULTS, &frontend(80, "10.77.0.2/31"), &frontend(81, "10.77.0.4/31"), BACKENDS];
    let balancer = Balancer::start(&lab, &config.concat());
    assert_eq!(got(says(&lab, 80, &[])), Got::Nothing);
    assert_eq!(got(says(&lab, 81, &[])), text("one"));
    balancer.wait_until_idle();
    let total = balancer.dump().expect("xlb has dumps").sum("proxy f80 frontend", "total");
    assert_eq!(total, 0.0, "a monitor is no session");
    balancer.stop();
}

pub fn what_the_client_says() {
    let lab = Lab::up();
    let _servers = servers(&lab);
    let frontend = |port: u16, lines: &str| {
        format!(
            "\nfrontend f{port}\n    bind {LB}:{port}\n    tcp-request inspect-delay 2s\n{lines}\n    default_backend one\n"
        )
    };
    let names = lab.file("names", "a.example two\n# others\nb.example one\n");
    let config = [
        DEFAULTS,
        &frontend(80, "    tcp-request content accept if { req.payload(0,4) -m str PUT\\  }\n    tcp-request content reject if { req.len ge 4 }\n    use_backend two if { req.payload(0,4) -m sub UT }"),
        &frontend(81, &format!("    tcp-request content accept if {{ req.ssl_hello_type 1 }}\n    tcp-request content reject if {{ req.len gt 0 }}\n    use_backend %[req.ssl_sni,lower,map({names})]")),
        &frontend(82, "    tcp-request content accept if WAIT_END\n    use_backend two if { req.len 0 }"),
        &frontend(83, "    tcp-request content reject if !{ req.payload(0,1) -m bin 41 }"),
        &format!("\nfrontend f84\n    bind {LB}:84\n    default_backend both\n"),
        BACKENDS,
    ]
    .concat();
    let balancer = Balancer::start(&lab, &config);
    // A value that comes in pieces is waited for, and one that never comes is not what was asked for.
    assert_eq!(got(says(&lab, 80, &[b"P", b"U", b"T ", b"x"])), text("two"));
    assert_eq!(got(says(&lab, 80, &[b"GET "])), Got::Nothing);
    // The whole hello is needed, whatever its pieces.
    for (name, answer) in
        [("a.example", "two"), ("A.Example", "two"), ("b.example", "one"), ("c", "one")]
    {
        let hello = client_hello(name);
        let pieces: Vec<&[u8]> = hello.chunks(40).collect();
        assert_eq!(got(says(&lab, 81, &pieces)), text(answer), "{name}");
    }
    assert_eq!(got(says(&lab, 81, &[b"GET / HTTP/1.0\r\n\r\n"])), Got::Nothing);
    // Who says nothing is served when the delay is over; who closes his half is served at once.
    let begin = Instant::now();
    assert_eq!(got(says(&lab, 82, &[])), text("two"));
    assert!(begin.elapsed() >= Duration::from_millis(1900), "{:?}", begin.elapsed());
    let begin = Instant::now();
    let closed = says(&lab, 82, &[b"x"]).expect("an open connection");
    closed.shutdown(Shutdown::Write).expect("a socket that is open");
    assert_eq!(got(Ok(closed)), text("one"));
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
    assert_eq!(got(says(&lab, 83, &[b"A"])), text("one"));
    assert_eq!(got(says(&lab, 83, &[b"B"])), Got::Nothing);
    for (port, answer) in [(41_000, "two"), (42_000, "one")] {
        let port = port.to_string();
        let asks =
            ["-s", "-m", "10", "--http0.9", "--local-port", port.as_str(), "http://10.77.0.1:84/"];
        let answered = lab.client.output("curl", &asks);
        assert!(answered.text.starts_with(answer), "{port}: {}", answered.text);
    }
    balancer.wait_until_idle();
    balancer.stop();
}

pub fn what_the_server_says() {
    let lab = Lab::up();
    let _servers = servers(&lab);
    let backend = |port: u16, lines: &str| {
        format!(
            "\nlisten l{port}\n    bind {LB}:{port}\n    tcp-response inspect-delay 1s\n{lines}\n    server s1 {SRV1}:9000\n"
        )
    };
    let config = [
        DEFAULTS,
        &backend(80, "    tcp-response content reject if { res.payload(0,3) -m bin 6f6e65 }"),
        &backend(81, "    tcp-response content accept if { res.payload(0,3) -m bin 6f6e65 }\n    tcp-response content reject"),
        &backend(82, "    tcp-response content reject unless { res.len gt 100 }"),
    ]
    .concat();
    let balancer = Balancer::start(&lab, &config);
    assert_eq!(got(says(&lab, 80, &[])), Got::Nothing);
    assert_eq!(got(says(&lab, 81, &[])), text("one"));
    assert_eq!(got(says(&lab, 82, &[])), Got::Nothing);
    balancer.wait_until_idle();
    balancer.stop();
}

/// A TLS 1.2 client hello (RFC 5246, 7.4.1.2) that asks for a name (RFC 6066, 3).
fn client_hello(name: &str) -> Vec<u8> {
    let sized = |bytes: Vec<u8>| [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let names = sized([&[0][..], &sized(name.into())].concat());
    let extension = [&[0, 0][..], &sized(names)].concat();
    let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0x01, 1, 0], &sized(extension)].concat();
    let message = [&[1, 0][..], &sized(hello)].concat();
    [&[22, 3, 1][..], &sized(message)].concat()
}
