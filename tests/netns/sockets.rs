//! Sockets of the kernel beside the wires: UNIX sockets, inherited ones, a layer in front of a layer.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::balancer::{Balancer, DEFAULTS};
use crate::bytes::{MIB, Server, receive_bytes, send_bytes};
use crate::lab::{CLIENT, LB, Lab, SRV1, address, wait_until};

fn answer(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer and an end");
    text
}

/// The seeds' two layers: what ends at the first goes on to the second by a UNIX socket, which hears of the client.
pub fn two_layers() {
    let lab = Lab::up();
    let path = lab.dir.join("inner.sock");
    let shown = path.display();
    let (bulk, on) = (address(LB, 81), address(SRV1, 9001));
    let _servers = [
        Server::naming(&lab.srv1, address(SRV1, 9000), "one"),
        Server::start(&lab.srv1, on, |stream| {
            send_bytes(&stream, 64 * MIB).expect("sending");
        }),
    ];
    let config = format!(
        "{DEFAULTS}
listen outer\n    bind {LB}:80\n    server inner unix@{shown} send-proxy-v2\n
frontend inner\n    bind {shown} accept-proxy mode 640\n    tcp-request session reject unless {{ src {CLIENT} }}\n    default_backend servers\n
backend servers\n    server s1 {SRV1}:9000\n
listen bulk\n    bind {bulk}\n    server abstract abns@bulk\n
listen abstract\n    bind abns@bulk\n    server s1 {on}\n"
    );
    let balancer = Balancer::start(&lab, &config);
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    for _ in 0..8 {
        assert_eq!(answer(lab.client.connect(address(LB, 80))), "one");
    }
    receive_bytes(&lab.client.connect(bulk), 64 * MIB).expect("every byte, in its place");
    balancer.wait_until_idle();
    balancer.stop();
    assert!(!path.exists() || crate::balancer::kind() == crate::balancer::Kind::HaProxy);
}

/// A server behind a UNIX socket, and a client at another.
pub fn unix_sockets_at_both_ends() {
    let lab = Lab::up();
    let (front, back) = (lab.dir.join("front.sock"), lab.dir.join("back.sock"));
    let server = UnixListener::bind(&back).expect("a path of its own");
    std::thread::spawn(move || {
        for stream in server.incoming().map_while(Result::ok) {
            // The peer may be gone already; that is its test's business.
            let _ = std::io::copy(&mut &stream, &mut &stream);
        }
    });
    let config = format!(
        "{DEFAULTS}\nlisten unix\n    bind {}\n    bind {LB}:80\n    server s1 {}\n",
        front.display(),
        back.display()
    );
    let balancer = Balancer::start(&lab, &config);
    let mut stream = UnixStream::connect(&front).expect("the balancer listens");
    stream.write_all(b"hello").expect("the balancer takes it");
    stream.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
    assert_eq!(answer(stream), "hello");
    let mut stream = lab.client.connect(address(LB, 80));
    stream.write_all(b"from afar").expect("the balancer takes it");
    stream.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
    assert_eq!(answer(stream), "from afar");
    balancer.wait_until_idle();
    balancer.stop();
}

/// A listening socket that the balancer was started with.
pub fn an_inherited_socket() {
    let lab = Lab::up();
    let _server = Server::naming(&lab.srv1, address(SRV1, 9000), "one");
    let at = address(LB, 8088);
    let listener = lab.lb.listen(at);
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).expect("a flag of a descriptor");
    let config = format!(
        "{DEFAULTS}\nlisten inherited\n    bind fd@{}\n    bind {LB}:80\n    server s1 {SRV1}:9000\n",
        listener.as_raw_fd()
    );
    let balancer = Balancer::start(&lab, &config);
    wait_until("an answer by the inherited socket", crate::lab::PATIENCE, || {
        answer(lab.client.connect(at)) == "one"
    });
    balancer.wait_until_idle();
    balancer.stop();
}
