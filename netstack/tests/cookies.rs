//! A listener under a flood of SYNs: bounded state, and cookies that lose nothing of what a peer asked for.
//!
//! Read:  RFC 4987

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use common::lab::{Lab, offset};
use common::{OWN, Outbox, PEER, Seen, Tcp, link};
use netstack::fib::{LinkId, WireId};
use netstack::{Arrival, ConnId, Disposition, Event, ListenerId, StackConfig};
use smoltcp::wire::TcpOption;

/// The peer's initial sequence number; the clock of its timestamps.
const IRS: u32 = 1000;
const CLOCK: u32 = 7_000_000;

/// A lab with one place for a handshake, which is taken: every further SYN is answered by a cookie.
fn full_lab() -> (Lab, ListenerId) {
    full_lab_with(|_| {})
}

fn full_lab_with(adjust: impl Fn(&mut StackConfig)) -> (Lab, ListenerId) {
    let mut lab = Lab::with(link(), adjust);
    let listener = lab.listen(1);
    let port = 3000 + lab.stack.worker() as u16;
    for family in [0, 1] {
        assert_eq!(lab.one(&from(family, port, "S", IRS, None)).flags, "S.");
    }
    assert_eq!((lab.stack.stats().half_open, lab.stack.counters().cookies_sent), (2, 0));
    (lab, listener)
}

fn from(family: usize, port: u16, flags: &'static str, seq: u32, ack: Option<u32>) -> Tcp {
    let addresses = [PEER[family], OWN[family]];
    Tcp { addresses, ports: [port, 80], ..Tcp::new(flags, seq, ack) }
}

fn syn(port: u16) -> Tcp {
    from(0, port, "S", IRS, None)
}

/// The acknowledgment of a SYN-ACK.
fn ack_of(port: u16, syn_ack: &Seen) -> Tcp {
    from(0, port, "", IRS + 1, Some(offset(syn_ack.seq, 1)))
}

/// What a SYN asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    family: usize,
    mss: u16,
    scale: Option<u8>,
    sack: bool,
    timestamps: bool,
}

impl Wish {
    fn all() -> impl Iterator<Item = Wish> {
        let places = (0..2 * 2 * 4 * 2 * 2).map(|place| [1, 2, 4, 16, 32].map(|by| place / by));
        places.map(|[family, mss, scale, sack, timestamps]| Wish {
            family: family % 2,
            mss: [1440, 536][mss % 2],
            scale: [None, Some(0), Some(7), Some(14)][scale % 4],
            sack: sack % 2 == 1,
            timestamps: timestamps % 2 == 1,
        })
    }

    fn segment(&self, flags: &'static str, seq: u32, ack: Option<u32>, echo: u32) -> Tcp {
        let mut tcp = from(self.family, 4000, flags, seq, ack);
        if flags == "S" {
            tcp.options.push(TcpOption::MaxSegmentSize(self.mss));
            tcp.options.extend(self.scale.map(TcpOption::WindowScale));
            tcp.options.extend(self.sack.then_some(TcpOption::SackPermitted));
        }
        let stamp = TcpOption::TimeStamp { tsval: CLOCK + seq, tsecr: echo };
        tcp.options.extend(self.timestamps.then_some(stamp));
        tcp
    }
}

#[test]
fn a_cookie_preserves_every_option() {
    for wish in Wish::all() {
        let (mut lab, _) = full_lab();
        let answer = lab.one(&wish.segment("S", IRS, None, 0));
        let echo = answer.timestamp.map_or(0, |(tsval, _)| tsval);
        assert_eq!(lab.stack.counters().cookies_sent, 1);
        assert_eq!((answer.flags.as_str(), answer.ack), ("S.", IRS + 1), "{wish:?}");
        assert_eq!(
            (answer.scale.is_some(), answer.sack_permitted),
            (wish.scale.is_some(), wish.sack)
        );
        assert_eq!(answer.timestamp.map(|(_, tsecr)| tsecr), stamp_of(wish, IRS));
        let mss = if wish.family == 0 { 1460 } else { 1440 };
        assert_eq!(answer.mss, Some(mss), "{wish:?}");

        // Some round-trip time later, a window of 100 units.
        lab.now += Duration::from_millis(300);
        let iss = offset(answer.seq, 1);
        let mut ack = wish.segment("", IRS + 1, Some(iss), echo);
        ack.window = 100;
        lab.silence(&ack);
        assert_eq!(lab.stack.counters().cookies_accepted, 1, "{wish:?}");
        let id = accept_next(&mut lab);

        // What is sent fills the peer's segments and no more than its window.
        assert_eq!(lab.stack.send(id, &[5; 20_000], lab.now), 20_000);
        let sent = said(&mut lab);
        let window = 100_usize << wish.scale.unwrap_or(0);
        let stamp = if wish.timestamps { 12 } else { 0 };
        let largest = usize::from(wish.mss) - stamp;
        assert_eq!(sent[0].len, largest.min(window), "{wish:?}");
        let in_flight: usize = sent.iter().map(|seen| seen.len).sum();
        assert!(in_flight <= window && in_flight + largest > window.min(10 * largest), "{wish:?}");
        // Our clock goes on from the SYN-ACK; theirs is echoed.
        for seen in &sent {
            assert_eq!(
                seen.timestamp.map(|(tsval, _)| tsval),
                wish.timestamps.then_some(echo + 300)
            );
            assert_eq!(seen.timestamp.map(|(_, tsecr)| tsecr), stamp_of(wish, IRS + 1));
        }
        // A gap is reported if that was agreed on; our windows are scaled if theirs are.
        let mut beyond = wish.segment("", IRS + 101, Some(iss), echo);
        (beyond.window, beyond.payload) = (100, vec![1; 50]);
        let gap = lab.one(&beyond);
        assert_eq!((gap.ack, gap.sack), (IRS + 1, usize::from(wish.sack)), "{wish:?}");
        assert_eq!(gap.window < 1000, wish.scale.is_some(), "{wish:?}: {}", gap.window);
    }
}

/// The peer's timestamp at a sequence number, if it wished for them.
fn stamp_of(wish: Wish, seq: u32) -> Option<u32> {
    wish.timestamps.then_some(CLOCK + seq)
}

/// The connection that an event tells of.
fn accept_next(lab: &mut Lab) -> ConnId {
    loop {
        if let Event::Accept(listener, _) = lab.stack.poll_event().expect("one to be accepted") {
            return lab.stack.accept(listener, 1).expect("a connection");
        }
    }
}

fn said(lab: &mut Lab) -> Vec<Seen> {
    lab.speak().iter().filter_map(|frame| common::see(frame)).collect()
}

#[test]
fn data_in_the_acknowledgment_is_taken() {
    let (mut lab, _) = full_lab();
    let syn_ack = lab.one(&syn(4000));
    // The bare acknowledgment was lost; this is the request.
    let mut request = ack_of(4000, &syn_ack);
    request.payload = b"GET /".to_vec();
    assert_eq!(lab.one(&request).ack, IRS + 6);
    let id = accept_next(&mut lab);
    let mut bytes = [0; 10];
    assert_eq!(lab.stack.recv(id, &mut bytes, lab.now), 5);
    assert_eq!(&bytes[..5], b"GET /");
    // And with the end of the stream in it.
    let syn_ack = lab.one(&syn(4001));
    let mut request = ack_of(4001, &syn_ack);
    (request.flags, request.payload) = ("F", b"GET /".to_vec());
    assert_eq!(lab.one(&request).ack, IRS + 7);
    let id = accept_next(&mut lab);
    assert_eq!(lab.stack.recv(id, &mut bytes, lab.now), 5);
    assert!(lab.stack.status(id).unwrap().eof);
}

#[test]
fn what_is_no_cookie_is_refused() {
    let (mut lab, _) = full_lab();
    let syn_ack = lab.one(&syn(4000));
    let good = ack_of(4000, &syn_ack);
    let ack = good.ack.unwrap();
    let wrong = [
        Tcp { ports: [4001, 80], ..good.clone() },
        Tcp { addresses: [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), OWN[0]], ..good.clone() },
        Tcp { seq: IRS + 2, ..good.clone() },
        Tcp { ack: Some(offset(ack, 1)), ..good.clone() },
        Tcp { ack: Some(ack ^ 1 << 31), ..good.clone() },
    ];
    lab.stack.set_neighbor(LinkId(0), wrong[1].addresses[0], Some([2, 0, 0, 0, 0, 9]), lab.now);
    for (count, segment) in (1..).zip(wrong) {
        let answer = lab.one(&segment);
        assert_eq!((answer.flags.as_str(), answer.seq), ("R", segment.ack.unwrap()));
        assert_eq!(lab.stack.counters().cookies_failed, count);
    }
    lab.silence(&Tcp { flags: "R", ..good.clone() });
    assert_eq!((lab.stack.counters().cookies_failed, lab.stack.counters().accepted), (5, 0));
    // The right one still counts, but not for ever.
    lab.pass(Duration::from_secs(60));
    lab.silence(&good);
    assert_eq!(lab.stack.counters().cookies_accepted, 1);
}

#[test]
fn an_old_cookie_is_refused() {
    let (mut lab, _) = full_lab();
    let old = ack_of(4000, &lab.one(&syn(4000)));
    lab.pass(Duration::from_secs(128));
    // Others are out, so it is looked at.
    for family in [0, 1] {
        lab.one(&from(family, 3000, "S", IRS, None));
    }
    lab.one(&syn(4001));
    assert_eq!(lab.one(&old).flags, "R");
    let counters = lab.stack.counters();
    assert_eq!((counters.cookies_failed, counters.cookies_accepted), (1, 0));
    // Without any out, nothing is looked for.
    lab.pass(Duration::from_secs(128));
    assert_eq!(lab.one(&old).flags, "R");
    assert_eq!(lab.stack.counters().cookies_failed, 1);
}

#[test]
fn a_repeated_acknowledgment_makes_no_second_connection() {
    let (mut lab, _) = full_lab();
    let ack = ack_of(4000, &lab.one(&syn(4000)));
    lab.silence(&ack);
    lab.silence(&ack);
    let id = accept_next(&mut lab);
    assert_eq!((lab.stack.counters().accepted, lab.stack.stats().connections.used), (1, 1));
    // Nor after its end, while there is a record of it.
    lab.stack.close(id, lab.now);
    let fin = said(&mut lab).remove(0);
    let last = from(0, 4000, "F", IRS + 1, Some(offset(fin.seq, 1)));
    assert_eq!(lab.one(&last).flags, ".");
    lab.silence(&ack);
    assert_eq!((lab.stack.counters().accepted, lab.stack.stats().time_wait), (1, 1));
}

#[test]
fn a_syn_that_found_a_record_after_all_is_one_connection() {
    let (mut lab, listener) = full_lab();
    let by_cookie = lab.one(&syn(4000));
    lab.silence(&from(0, 3000, "R", IRS + 1, None));
    // The peer asks again before the answer is there, and there is a record now.
    lab.one(&syn(4000));
    assert_eq!(lab.stack.stats().half_open, 2);
    lab.silence(&ack_of(4000, &by_cookie));
    assert_eq!((lab.stack.stats().half_open, lab.stack.stats().connections.used), (1, 1));
    assert!(lab.stack.accept(listener, 1).is_some());
    assert_eq!(lab.stack.counters().cookies_accepted, 1);
}

#[test]
fn a_full_accept_queue_makes_the_peer_repeat() {
    let (mut lab, listener) = full_lab();
    let acks = [4000, 4001].map(|port| ack_of(port, &lab.one(&syn(port))));
    lab.silence(&acks[0]);
    lab.silence(&acks[1]);
    let counters = lab.stack.counters();
    assert_eq!((counters.accept_queue_full, counters.cookies_accepted), (1, 1));
    assert!(lab.stack.accept(listener, 1).is_some());
    lab.silence(&acks[1]);
    assert!(lab.stack.accept(listener, 1).is_some());
}

/// Gives the stack SYNs of so many peers, as fast as it takes them; returns how many it answered.
fn flood(lab: &mut Lab, syns: u32) -> usize {
    let mut answers = 0;
    for number in 0..syns {
        let mut syn = syn(5000 + (number >> 8) as u16);
        syn.addresses[0] = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number as u8));
        syn.seq = number.wrapping_mul(0x9e37_79b1);
        syn.options = vec![TcpOption::MaxSegmentSize(1460), TcpOption::SackPermitted];
        let done = lab.stack.handle_frame(WireId(0), &syn.frame(), Arrival::Wire, lab.now);
        assert_eq!(done, Disposition::Done);
        let mut frames = Vec::new();
        lab.stack.poll_transmit(64, &mut Outbox(&mut frames), lab.now);
        answers += frames.len();
    }
    lab.stack.assert_invariants();
    answers
}

/// A lab whose flooders are behind a router that it knows.
fn routed_lab(adjust: impl Fn(&mut StackConfig)) -> Lab {
    let mut lab = Lab::with(link(), adjust);
    lab.stack.set_fib(Arc::new(common::routed(link(), PEER[0])), lab.now);
    lab
}

#[test]
fn a_flood_leaves_no_state() {
    let mut lab = routed_lab(|_| {});
    let listener = lab.listen(100);
    assert_eq!(flood(&mut lab, 100), 100);
    let before = (lab.stack.stats(), lab.stack.poll_at());
    assert_eq!(before.0.half_open, 100);
    lab.now += Duration::from_millis(1);
    assert_eq!(flood(&mut lab, 60_000), 60_000, "each has its answer, at once");
    assert_eq!((lab.stack.stats(), lab.stack.poll_at()), before);
    assert_eq!(lab.stack.counters().cookies_sent, 60_000 - 100, "some had a record");
    // An honest peer gets through in the middle of it.
    let syn_ack = lab.one(&syn(4000));
    lab.silence(&ack_of(4000, &syn_ack));
    flood(&mut lab, 1000);
    assert!(lab.stack.accept(listener, 1).is_some());
    // Nothing is sent again for cookies, once for records, and soon there is room for records.
    assert_eq!(lab.pass(Duration::from_millis(2998)).len(), 100);
    assert_eq!(lab.stack.stats().half_open, 100);
    assert_eq!(lab.pass(Duration::from_millis(2)).len(), 0);
    assert_eq!(lab.stack.stats().half_open, 0);
    let sent = lab.stack.counters().cookies_sent;
    lab.one(&syn(4001));
    assert_eq!((lab.stack.counters().cookies_sent, lab.stack.stats().half_open), (sent, 1));
}

#[test]
fn all_listeners_together_have_a_bound() {
    let mut lab = Lab::with(link(), |config| config.half_open_max = 3);
    lab.listen(1000);
    for (port, family) in [(4000, 0), (4001, 1), (4002, 0), (4003, 1), (4004, 0)] {
        assert_eq!(lab.one(&from(family, port, "S", IRS, None)).flags, "S.");
    }
    assert_eq!((lab.stack.stats().half_open, lab.stack.counters().cookies_sent), (3, 2));
    // And are scarce beyond half of it.
    assert_eq!(lab.pass(Duration::from_secs(3)).len(), 3);
    assert_eq!(lab.stack.stats().half_open, 0);
}

#[test]
fn connections_speak_while_replies_wait() {
    let (mut lab, _) = full_lab();
    let syn_ack = lab.one(&syn(4000));
    lab.silence(&ack_of(4000, &syn_ack));
    let id = accept_next(&mut lab);
    lab.stack.send(id, &[5; 4000], lab.now);
    for port in 5000..5064 {
        lab.stack.handle_frame(WireId(0), &syn(port).frame(), Arrival::Wire, lab.now);
    }
    let mut frames = Vec::new();
    lab.stack.poll_transmit(16, &mut Outbox(&mut frames), lab.now);
    let data = frames.iter().filter_map(|frame| common::see(frame)).filter(|seen| seen.len > 0);
    assert_eq!((frames.len(), data.count()), (16, 8), "half of the budget each: 4000 bytes in 536");
    // Where the wire has no room for more than one, each has its turn.
    lab.stack.send(id, &[5; 4000], lab.now);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let mut frames = vec![Vec::new(); 63];
        lab.stack.poll_transmit(16, &mut Outbox(&mut frames), lab.now);
        assert_eq!(frames.len(), 64);
        kinds.push(common::see(&frames[63]).map(|seen| seen.flags));
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

/// Two workers of one process; a frame goes on from one to the other as long as they say so.
fn give(workers: &mut [Lab; 2], first: usize, frame: &[u8]) -> Vec<(usize, Seen)> {
    let mut at = first;
    let mut arrival = Arrival::Wire;
    for asked in 1.. {
        match workers[at].stack.handle_frame(WireId(0), frame, arrival, workers[at].now) {
            Disposition::HandOn => {
                at = 1 - at;
                arrival = Arrival::Handed { asked };
            }
            Disposition::Done => break,
            other => panic!("{other:?}"),
        }
    }
    let [one, two] = workers;
    let said = |(number, lab)| said(lab).into_iter().map(move |seen| (number, seen));
    [(0, one), (1, two)].into_iter().flat_map(said).collect()
}

fn two_workers() -> [Lab; 2] {
    [0, 1].map(|worker| {
        let adjust = |config: &mut StackConfig| {
            config.worker = worker;
            config.workers = 2;
        };
        full_lab_with(adjust).0
    })
}

/// As with a record: when the interface begins to spread flows otherwise in the middle of a handshake, each copy
/// of what completes it must come to the same worker.
#[test]
fn a_cookie_finds_the_worker_that_sent_it() {
    for both_under_flood in [false, true] {
        let mut workers = two_workers();
        let syn_ack = give(&mut workers, 0, &syn(4000).frame()).remove(0).1;
        if both_under_flood {
            give(&mut workers, 1, &syn(4001).frame());
        }
        let mut ack = ack_of(4000, &syn_ack);
        assert_eq!(give(&mut workers, 1, &ack.frame()), []);
        ack.payload = vec![1; 10];
        assert_eq!(give(&mut workers, 1, &ack.frame())[0].1.ack, IRS + 11);
        let counters = workers.each_ref().map(|lab| *lab.stack.counters());
        assert_eq!(counters.map(|counters| counters.cookies_accepted), [1, 0]);
        assert_eq!(counters.map(|counters| counters.cookies_failed), [0, 0]);
    }
}

#[test]
fn a_worker_under_the_flood_passes_on_what_is_not_its_own() {
    let mut workers = two_workers();
    give(&mut workers, 1, &syn(4001).frame());
    // A handshake with a record at the other worker.
    let record = workers[0].one(&from(0, 3000, "S", IRS, None));
    assert_eq!(give(&mut workers, 1, &ack_of(3000, &record).frame()), []);
    assert_eq!(workers[0].stack.counters().accepted, 1);
    assert_eq!(workers[1].stack.counters().cookies_failed, 0, "it was another's");
    // Nobody's: the last one that is asked resets it, and only one says so.
    let stray = from(0, 4321, "", 77, Some(88));
    let said = give(&mut workers, 1, &stray.frame());
    assert_eq!(
        said.iter().map(|(at, seen)| (*at, seen.flags.as_str())).collect::<Vec<_>>(),
        [(0, "R")]
    );
}
