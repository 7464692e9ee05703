//! AF_XDP queues over veth: frames cross, none is lost, and nothing stays behind.
//!
//! In:    namespaces with a veth pair between them
//! Out:   frames at the other end
//! Never: sleeps; takes a lost frame for granted

use std::env;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nic::{Interface, Mode, OpenError, Program, Wire, WireStats, XskConfig, XskQueue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{End, INTERFACE, Lab, PATIENCE, SOLE, enter, ip, numbered, send, wait_until};

/// Frames on their way per direction: less than veth's own ring of 256, which would lose the rest.
const WINDOW: u32 = 128;

/// How long opening and attaching wait for a process that has just ended.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(2);

/// Sends `count` frames of `len` bytes from `from` to `to`, which is to get each of them, in order.
struct Stream {
    count: u32,
    len: usize,
    sent: u32,
    received: u32,
}

impl Stream {
    fn new(count: u32, len: usize) -> Self {
        Self { count, len, sent: 0, received: 0 }
    }

    fn is_done(&self) -> bool {
        self.received == self.count
    }

    fn turn(&mut self, from: &mut XskQueue, to: &mut XskQueue) {
        from.reclaim();
        while self.sent < self.count && self.sent - self.received < WINDOW {
            send(from, &numbered(self.sent, self.len));
            self.sent += 1;
        }
        from.flush();
        to.reclaim();
        while let Some(frame) = to.next() {
            assert_eq!(to.bytes(&frame), numbered(self.received, self.len), "{}", self.received);
            to.release(frame);
            self.received += 1;
        }
        to.flush();
    }
}

/// Waits until all that was sent has completed; then no frame may be missing.
fn assert_settled(queue: &mut XskQueue) {
    wait_until("all transmissions complete", || {
        queue.flush();
        queue.reclaim();
        queue.in_flight() == 0
    });
    queue.assert_conserved(0);
}

fn assert_clean(stats: WireStats) {
    let lost = [
        stats.rx_dropped,
        stats.rx_fill_ring_empty,
        stats.rx_ring_full,
        stats.rx_invalid_descriptors,
        stats.tx_invalid_descriptors,
        stats.kick_errors,
    ];
    assert_eq!(lost, [0; 6], "{stats:?}");
}

fn cross(lab: &Lab, queues: u32, prefer: Mode, len: usize, count: u32) -> [End; 2] {
    let mut a = End::new(&lab.a, queues, prefer);
    let mut b = End::new(&lab.b, queues, prefer);
    let mut streams: Vec<_> =
        (0..queues).map(|_| [Stream::new(count, len), Stream::new(count, len)]).collect();
    wait_until("all frames have crossed", || {
        for ((forth_and_back, a), b) in streams.iter_mut().zip(&mut a.queues).zip(&mut b.queues) {
            forth_and_back[0].turn(a, b);
            forth_and_back[1].turn(b, a);
        }
        streams.iter().flatten().all(Stream::is_done)
    });
    for end in [&mut a, &mut b] {
        for (index, queue) in end.queues.iter_mut().enumerate() {
            assert_settled(queue);
            let stats = queue.stats();
            assert_clean(stats);
            assert_eq!((stats.rx_frames, stats.tx_frames), (u64::from(count), u64::from(count)));
            assert_eq!(stats.rx_bytes, u64::from(count) * len as u64);
            assert_eq!(end.program.counters().unwrap()[index].redirected, u64::from(count));
        }
    }
    [a, b]
}

#[test]
fn ten_thousand_frames_cross_each_way_on_two_queues() {
    let lab = Lab::new(2, 1500);
    let ends = cross(&lab, 2, Mode::ZeroCopy, 64, 10_000);
    for queue in ends.iter().flat_map(|end| &end.queues) {
        assert_eq!(queue.mode(), Mode::DriverCopy, "veth's best");
    }
}

#[test]
fn full_frames_cross() {
    cross(&Lab::new(1, 1500), 1, Mode::ZeroCopy, 1514, 2000);
}

#[test]
fn frames_cross_in_generic_mode() {
    let lab = Lab::new(1, 1500);
    let [a, _b] = cross(&lab, 1, Mode::Generic, 64, 2000);
    assert_eq!((a.program.mode(), a.queues[0].mode()), (Mode::Generic, Mode::Generic));
    assert_eq!(a.program.driver_refusal(), None, "the driver was not asked");
}

#[test]
fn an_mtu_above_a_page_leaves_the_driver_mode() {
    let lab = Lab::new(1, 9000);
    let [a, _b] = cross(&lab, 1, Mode::ZeroCopy, 3840, 1000);
    assert_eq!(a.queues[0].mode(), Mode::DriverCopy);
    assert_eq!(a.queues[0].frame_len_max(), 3840);
}

#[test]
fn a_queue_moves_to_its_worker() {
    let lab = Lab::new(1, 1500);
    let mut a = End::new(&lab.a, 1, Mode::ZeroCopy);
    let mut b = End::new(&lab.b, 1, Mode::ZeroCopy);
    let mut from = a.queues.pop().unwrap();
    let worker = thread::spawn(move || {
        for number in 0..100 {
            send(&mut from, &numbered(number, 60));
        }
        assert_settled(&mut from);
    });
    let mut received = 0;
    wait_until("100 frames arrive", || {
        b.queues[0].reclaim();
        while let Some(frame) = b.queues[0].next() {
            b.queues[0].release(frame);
            received += 1;
        }
        received == 100
    });
    worker.join().unwrap();
}

#[test]
fn a_received_frame_leaves_again_in_place() {
    let lab = Lab::new(1, 1500);
    let mut a = End::new(&lab.a, 1, Mode::ZeroCopy);
    let mut b = End::new(&lab.b, 1, Mode::ZeroCopy);
    send(&mut a.queues[0], &numbered(1, 100));
    a.queues[0].flush();
    wait_until("the frame is reflected", || reflect(&mut b.queues[0]) == 1);
    let mut back = None;
    wait_until("the frame is back", || {
        back = a.queues[0].next();
        back.is_some()
    });
    let frame = back.unwrap();
    assert_eq!(&a.queues[0].bytes(&frame)[14..], &numbered(1, 100)[14..]);
    a.queues[0].release(frame);
    assert_settled(&mut a.queues[0]);
    assert_settled(&mut b.queues[0]);
}

/// Sends back what has come, with the Ethernet addresses swapped. Returns how many.
fn reflect(queue: &mut XskQueue) -> usize {
    let mut reflected = 0;
    queue.reclaim();
    while let Some(mut frame) = queue.next() {
        let len = frame.len();
        let bytes = queue.bytes_mut(&mut frame);
        let (destination, source) = bytes.split_at_mut(6);
        destination.swap_with_slice(&mut source[..6]);
        match queue.submit(frame, len) {
            Ok(()) => reflected += 1,
            Err(frame) => queue.release(frame),
        }
    }
    queue.flush();
    reflected
}

#[test]
fn poll_wakes_when_a_frame_comes() {
    let lab = Lab::new(1, 1500);
    let mut a = End::new(&lab.a, 1, Mode::ZeroCopy);
    let b = End::new(&lab.b, 1, Mode::ZeroCopy);
    let readable = |timeout: Duration| {
        let timeout = Timespec::try_from(timeout).unwrap();
        poll(&mut [PollFd::new(&b.queues[0].fd(), PollFlags::IN)], Some(&timeout)).unwrap()
    };
    assert_eq!(readable(Duration::ZERO), 0, "nothing has come");
    send(&mut a.queues[0], &numbered(0, 60));
    a.queues[0].flush();
    assert_eq!(readable(PATIENCE), 1);
}

#[test]
fn running_out_is_a_state() {
    let lab = Lab::new(1, 1500);
    enter(&lab.a);
    let config = XskConfig { frames: 128, ring_size: 32, ..XskConfig::new(INTERFACE, 0) };
    let mut queue = XskQueue::open(&config).unwrap();
    let mut frames: Vec<_> = std::iter::from_fn(|| queue.reserve()).collect();
    assert_eq!(frames.len(), 128 - 32, "all but those that are out for receiving");
    assert_eq!(queue.stats().no_frame, 1);
    queue.assert_conserved(96);
    for frame in frames.drain(..32) {
        queue.submit(frame, 60).unwrap();
    }
    let refused = queue.submit(frames.pop().unwrap(), 60).unwrap_err();
    assert_eq!((queue.stats().tx_full, queue.in_flight()), (1, 32));
    queue.assert_conserved(64);
    frames.push(refused);
    for frame in frames {
        queue.release(frame);
    }
    assert_settled(&mut queue);
}

#[test]
fn frames_that_nobody_takes_are_counted() {
    let lab = Lab::new(1, 1500);
    let mut a = End::new(&lab.a, 1, Mode::ZeroCopy);
    enter(&lab.b);
    let mut b = End::new(&lab.b, 1, Mode::ZeroCopy);
    let ring_size = u64::from(XskConfig::new(INTERFACE, 0).ring_size);
    let mut sent = 0;
    wait_until("the receive ring is full", || {
        a.queues[0].reclaim();
        if a.queues[0].in_flight() == 0 {
            send(&mut a.queues[0], &numbered(sent, 60));
            sent += 1;
        }
        a.queues[0].flush();
        let stats = b.queues[0].stats();
        stats.rx_ring_full + stats.rx_fill_ring_empty + stats.rx_dropped > 0
    });
    assert!(u64::from(sent) > ring_size, "{sent}");
    let mut held = Vec::new();
    while let Some(frame) = b.queues[0].next() {
        held.push(frame);
    }
    assert_eq!(held.len() as u64, ring_size);
    // The caller holds half of all slots; there are as many to receive into as before.
    b.queues[0].reclaim();
    b.queues[0].assert_conserved(held.len());
    assert!(b.queues[0].reserve().is_some_and(|frame| {
        held.push(frame);
        true
    }));
    for frame in held {
        b.queues[0].release(frame);
    }
    assert_settled(&mut a.queues[0]);
    assert_settled(&mut b.queues[0]);
}

#[test]
fn what_is_not_own_reaches_the_kernel() {
    let lab = Lab::new(1, 1500);
    for (namespace, address) in [(&lab.a, "198.51.100.1/24"), (&lab.b, "198.51.100.2/24")] {
        ip(&format!("-n {namespace} addr add {address} dev {INTERFACE}"));
    }
    let _b = End::new(&lab.b, 1, Mode::ZeroCopy);
    let listener = TcpListener::bind("198.51.100.2:22").unwrap();
    enter(&lab.a);
    let ping = Command::new("ping").args(["-c1", "-W5", "198.51.100.2"]).output().unwrap();
    assert!(ping.status.success(), "{ping:?}");
    let address = listener.local_addr().unwrap();
    TcpStream::connect_timeout(&address, PATIENCE).unwrap();
}

#[test]
fn a_veth_tells_about_itself() {
    let lab = Lab::new(2, 1400);
    enter(&lab.a);
    let interface = Interface::read(INTERFACE).unwrap();
    assert_eq!((interface.driver.as_str(), interface.mtu), ("veth", 1400));
    assert_eq!((interface.rx_queues, interface.up), (2, true));
    assert!(interface.has_partial_checksums());
    let mac = interface.mac.map(|byte| format!("{byte:02x}")).join(":");
    let link = ip(&format!("-n {} -o link show {INTERFACE}", lab.a));
    assert!(link.contains(&mac), "{mac} is not in {link}");
    assert!(link.starts_with(&format!("{}:", interface.index)), "{link}");
}

// Opening, and failing to.

#[test]
fn a_queue_opens_again_at_once() {
    let lab = Lab::new(1, 1500);
    for _ in 0..3 {
        drop(cross(&lab, 1, Mode::ZeroCopy, 64, 100));
    }
}

#[test]
fn a_child_process_does_not_inherit_a_queue() {
    let lab = Lab::new(1, 1500);
    enter(&lab.a);
    let queue = XskQueue::open(&XskConfig::new(INTERFACE, 0)).unwrap();
    assert!(fcntl_getfd(queue.fd()).unwrap().contains(FdFlags::CLOEXEC));
}

#[test]
fn a_queue_that_is_in_use_is_named() {
    let lab = Lab::new(1, 1500);
    enter(&lab.a);
    let _queue = XskQueue::open(&XskConfig::new(INTERFACE, 0)).unwrap();
    let start = Instant::now();
    let error = XskQueue::open(&XskConfig::new(INTERFACE, 0)).unwrap_err().to_string();
    assert!(start.elapsed() >= SUCCESSOR_PATIENCE, "a predecessor's end is waited for");
    for part in ["queue 0", INTERFACE, "another process", "ss --xdp"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let lab = Lab::new(2, 1500);
    enter(&lab.a);
    let explain = |config: XskConfig| XskQueue::open(&config).unwrap_err().to_string();
    let error = explain(XskConfig::new(INTERFACE, 2));
    assert!(error.contains("has 2 receive queue(s)") && error.contains("ethtool -L"), "{error}");
    let error = explain(XskConfig::new("nosuch0", 0));
    assert!(error.contains("'nosuch0'"), "{error}");
    let error = explain(XskConfig { frames: 3000, ..XskConfig::new(INTERFACE, 0) });
    assert!(error.contains("powers of two"), "{error}");
    let error = explain(XskConfig { frames: 2048, ..XskConfig::new(INTERFACE, 0) });
    assert!(error.contains("too few"), "{error}");
    ip(&format!("-n {} link set {INTERFACE} down", lab.a));
    let error = explain(XskConfig::new(INTERFACE, 0));
    assert!(error.contains("is down"), "{error}");
}

#[test]
fn huge_pages_that_are_not_there_are_explained() {
    let lab = Lab::new(1, 1500);
    enter(&lab.a);
    // More than any machine that runs tests has set aside.
    let config = XskConfig { frames: 1 << 24, huge_pages: true, ..XskConfig::new(INTERFACE, 0) };
    match XskQueue::open(&config).unwrap_err() {
        error @ OpenError::Memory { .. } => {
            assert!(error.to_string().contains("vm.nr_hugepages"), "{error}");
        }
        error => panic!("{error}"),
    }
}

#[test]
fn another_program_is_not_replaced() {
    let lab = Lab::new(1, 1500);
    enter(&lab.a);
    let _program = Program::attach(INTERFACE, Mode::ZeroCopy).unwrap();
    for prefer in [Mode::ZeroCopy, Mode::Generic] {
        let start = Instant::now();
        let error = Program::attach(INTERFACE, prefer).unwrap_err().to_string();
        assert!(start.elapsed() >= SUCCESSOR_PATIENCE, "a predecessor's end is waited for");
        assert!(error.contains("another XDP program is attached"), "{error}");
        assert!(error.contains(&format!("ip link show dev {INTERFACE}")), "{error}");
    }
}

// The end of a process, however it comes.

/// Which namespace the child of a test is to serve; without it the child's test does nothing.
const CHILD_NAMESPACE: &str = "NICX_CHILD_NAMESPACE";
const CHILD_READY: &str = "child is ready";

/// Not a test by itself: what `spawn_reflector` runs.
#[test]
fn child_reflects_until_killed() {
    let Ok(namespace) = env::var(CHILD_NAMESPACE) else { return };
    let mut end = End::new(&namespace, 1, Mode::ZeroCopy);
    println!("{CHILD_READY}");
    loop {
        reflect(&mut end.queues[0]);
    }
}

/// This program again, as a process that can be killed.
fn spawn_reflector(namespace: &str) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "queue::child_reflects_until_killed", "--nocapture"])
        .env(CHILD_NAMESPACE, namespace)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = lines.any(|line| line.unwrap().contains(CHILD_READY));
    assert!(is_ready, "the child ended early");
    child
}

#[test]
fn nothing_stays_behind_a_killed_process() {
    let lab = Lab::new(1, 1500);
    let has_program = || ip(&format!("-n {} -d link show {INTERFACE}", lab.b)).contains("prog/xdp");
    let mut child = spawn_reflector(&lab.b);
    assert!(has_program());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    wait_until("the program is gone", || !has_program());
    cross(&lab, 1, Mode::ZeroCopy, 64, 100);
}

#[test]
fn a_killed_process_makes_room_at_once() {
    let lab = Lab::new(1, 1500);
    let mut child = spawn_reflector(&lab.b);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    // Not waited for: what the successor of a killed process sees.
    cross(&lab, 1, Mode::ZeroCopy, 64, 100);
    child.wait().unwrap();
}

/// Prints how many 64-byte frames a second one core reflects to another. Not a verdict on anything:
/// the peer and the kernel's softirqs share these cores.
#[test]
#[ignore = "a measurement: run it alone, in release"]
fn reflect_rate() {
    let lab = Lab::new(1, 1500);
    let mut child = spawn_reflector(&lab.b);
    let mut a = End::new(&lab.a, 1, Mode::ZeroCopy);
    let queue = &mut a.queues[0];
    let frame_bytes = numbered(0, 64);
    let (mut sent, mut received) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        queue.reclaim();
        while let Some(frame) = queue.next() {
            queue.release(frame);
            received += 1;
        }
        // What veth lost is not coming back: the window counts what is in transmission only.
        while queue.in_flight() < 256 {
            send(queue, &frame_bytes);
            sent += 1;
        }
        queue.flush();
    }
    let rate = received as f64 / start.elapsed().as_secs_f64() / 1e6;
    let kicks = queue.stats().kicks;
    println!("{rate:.2} million frames a second to {SOLE} and back; {sent} sent, {kicks} kicks");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(received > 0);
}
