//! Limits under load on two workers: never exceeded, and whoever waits is served in the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, DEFAULTS, config, is_on_kernel};
use crate::bytes::{MIB, Server, exchange_half, send_bytes, verdict};
use crate::lab::{LB, Lab, SRV1, SRV2, address};

/// Clients at a time, in threads of their own.
const CLIENTS: usize = 24;

/// Runs `work` in many threads of the client's namespace at a time.
fn at_once(lab: &Lab, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let work = &work;
            scope.spawn(move || lab.client.enter(|| work(client)));
        }
    });
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(address(LB, port)).expect("nobody is turned away");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option of the socket");
    stream
}

/// A server that answers one byte, and knows how many connections it ever had at a time.
fn counting(lab: &Lab, port: u16) -> (Server, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen) = (AtomicUsize::new(0), most.clone());
    let server = Server::start(&lab.srv1, address(SRV1, port), move |mut stream| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _ = stream.read(&mut [0; 1]);
        // What a service does takes a while.
        thread::park_timeout(Duration::from_millis(3));
        // Before the balancer can know that it has ended.
        now.fetch_sub(1, Ordering::SeqCst);
        let _ = stream.write_all(b"x");
    });
    (server, most)
}

/// A server's maxconn, a listener's, a frontend's, the process's: each alone, with many more clients than places.
pub fn no_limit_is_ever_exceeded() {
    for (place, global, proxy, bind, server) in [
        ("server", "", "", "", "maxconn 5"),
        ("server by load", "", "fullconn 10", "", "minconn 2 maxconn 5"),
        ("listener", "", "", "maxconn 5 backlog 100", ""),
        ("frontend", "", "maxconn 5\n    backlog 100", "", ""),
        ("process", "maxconn 5", "backlog 100", "", ""),
    ] {
        let lab = Lab::up();
        let (_server, most) = counting(&lab, 9000);
        let text = format!(
            "global\n    {global}\n{DEFAULTS}\n    timeout queue 60s\nlisten l\n    {proxy}\n    bind {LB}:80 {bind}\n    server s1 {SRV1}:9000 {server}\n"
        );
        let balancer = Balancer::start(&lab, &text);
        at_once(&lab, |_| {
            for _ in 0..20 {
                let mut stream = connect(80);
                stream.write_all(b"x").expect("the balancer takes it");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("an answer");
                assert_eq!(answer, b"x", "{place}");
            }
        });
        let most = most.load(Ordering::SeqCst);
        assert!(most <= 5, "{place}: {most} at a time");
        assert!(most == 5, "{place}: places were left free, {most} at most");
        balancer.wait_until_idle();
        balancer.stop();
    }
}

/// Sessions beyond a rate wait, and come when the next second allows.
pub fn rates_hold_and_resume() {
    for limit in ["rate-limit sessions 10", "maxconnrate 10", "maxsessrate 10"] {
        let lab = Lab::up();
        let _server = Server::naming(&lab.srv1, address(SRV1, 9000), "one");
        let is_global = limit.starts_with("max");
        let (global, proxy) = if is_global { (limit, "") } else { ("", limit) };
        let text = format!(
            "global\n    {global}\n{DEFAULTS}\nlisten l\n    {proxy}\n    bind {LB}:80\n    server s1 {SRV1}:9000\n"
        );
        let balancer = Balancer::start(&lab, &text);
        let begin = Instant::now();
        at_once(&lab, |_| {
            let mut text = String::new();
            connect(80).read_to_string(&mut text).expect("an answer");
            assert_eq!(text, "one", "{limit}");
        });
        // Ten in the first second and ten in the next leave four for the third.
        assert!(begin.elapsed() > Duration::from_secs(1), "{limit}: {:?}", begin.elapsed());
        balancer.wait_until_idle();
        balancer.stop();
    }
}

/// A handful of buffers for many streams with bytes both ways: all wait for each other, nothing is lost.
pub fn a_handful_of_buffers_is_enough() {
    let lab = Lab::up();
    let on = address(SRV1, 9000);
    let (_server, served) = Server::exchanging(&lab.srv1, on);
    let text = format!(
        "global\n    tune.buffers.limit 8\n    tune.buffers.reserve 2\n{}",
        config(&[], &[address(LB, 80)], &[on])
    );
    let balancer = Balancer::start(&lab, &text);
    at_once(&lab, |_| exchange_half(&connect(80), 2 * MIB, 2 * MIB));
    for _ in 0..CLIENTS {
        verdict(&served);
    }
    balancer.wait_until_idle();
    if let Some(dump) = balancer.dump()
        && !is_on_kernel()
    {
        let (limit, allocated) =
            (dump.sum("pool buffers", "limit"), dump.sum("pool buffers", "allocated"));
        assert_eq!(limit, 8.0 * 4.0, "8 buffers of 16384 bytes are 32 of 4096");
        assert!(allocated <= limit, "{allocated} of {limit}");
    }
    balancer.stop();
}

/// Streams that never stop do not keep others from their turn.
pub fn a_flood_does_not_starve_who_says_little() {
    let lab = Lab::up();
    let _servers = [
        Server::start(&lab.srv1, address(SRV1, 9000), |stream| {
            let _ = send_bytes(&stream, u64::MAX / 2);
        }),
        Server::echoing(&lab.srv2, address(SRV2, 9001)),
    ];
    let text = format!(
        "{DEFAULTS}\nlisten flood\n    bind {LB}:80\n    server s1 {SRV1}:9000\n
listen echo\n    bind {LB}:81\n    server s2 {SRV2}:9001\n"
    );
    let balancer = Balancer::start_on(&lab, "0-1", &text);
    let (is_over, flooded) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            let (is_over, flooded, lab) = (&is_over, &flooded, &lab);
            scope.spawn(move || {
                let stream = lab.client.connect(address(LB, 80));
                while !is_over.load(Ordering::SeqCst) {
                    take_a_mib(&stream);
                    flooded.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut stream = lab.client.connect(address(LB, 81));
        stream.set_nodelay(true).expect("an option of TCP");
        let before = flooded.load(Ordering::SeqCst);
        for round in 0..500_u32 {
            stream.write_all(&round.to_be_bytes()).expect("the balancer takes it");
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).expect("an answer in the midst of it");
            assert_eq!(answer, round.to_be_bytes());
        }
        // The flood went on meanwhile.
        while flooded.load(Ordering::SeqCst) == before {
            thread::yield_now();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    balancer.stop();
}

fn take_a_mib(mut stream: &TcpStream) {
    let mut chunk = [0; 64 * 1024];
    let mut left = MIB as usize;
    while left > 0 {
        let count = stream.read(&mut chunk).expect("the flood goes on");
        assert!(count > 0, "the flood has ended");
        left = left.saturating_sub(count);
    }
}
