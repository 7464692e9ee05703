//! Packet scripts: a connection against segments that are written down line by line.
//!
//! In:    scripts in the manner of packetdrill
//! Out:   a panic that names the line
//! Owns:  a connection, its clock, and the streams of bytes on both sides
//! Never: depends on a sequence number or a clock's epoch: each script runs under several of both
//! Read:  RFC 9293, section 3.10.7
//!
//! ```text
//! < S. 0:0(0) ack 1 win 60000 <mss 1000,sackOK> !Accepted   this comes, and that is the verdict on it
//! > . 1:1(0) ack 1 win 255 <TS val 0 ecr 7>                 this is said, and nothing else
//! +200ms                                                    time passes, and nobody speaks before it has
//! write 1000; read 1000; shut; close; abort                 the user acts
//! = CLOSED Reset                                            the state, and why it ended
//! ```
//!
//! Sequence numbers and timestamps count from the initial ones. `ack`, window and options of what is
//! said are compared when they are given; a line longer than a segment stands for several in a row.

mod closing;
mod data;
mod duplicates;
mod liveness;
mod matrix;
mod opening;
mod options;
mod path;
mod recovery;
mod undo;
mod windows;

use std::collections::VecDeque;
use std::time::Duration;

use super::congestion::CongestionControl;
use super::{Connection, Context, Handshake, Keepalive, Pools, TcpConfig};
use crate::flow::{Endpoint, FourTuple};
use crate::segment::{Flags, Header, Options, SackBlocks, Segment};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// What our link takes: segments of so many bytes.
const OWN_MSS: u16 = 1460;

/// What a script counts from: ISS, IRS, our timestamp clock, the peer's.
#[derive(Clone, Copy, Debug)]
struct Base {
    iss: u32,
    irs: u32,
    clock: u32,
    peer_clock: u32,
}

/// Plain numbers; everything wraps within the script; everything changes its sign within it.
const BASES: [Base; 4] = [
    Base { iss: 1000, irs: 2000, clock: 5000, peer_clock: 7000 },
    Base { iss: u32::MAX - 700, irs: u32::MAX, clock: u32::MAX - 5, peer_clock: u32::MAX - 120 },
    Base { iss: u32::MAX, irs: u32::MAX - 1500, clock: u32::MAX, peer_clock: u32::MAX - 100 },
    Base { iss: (1 << 31) - 700, irs: (1 << 31) - 1, clock: 1 << 31, peer_clock: (1 << 31) - 120 },
];

/// Limits that keep scripts short.
fn config() -> TcpConfig {
    TcpConfig { syn_retries: 2, retries: 3, orphan_retries: 2, ..TcpConfig::default() }
}

/// Runs a script from our SYN on, which is the first thing said.
fn connecting(script: &str) {
    run(&config(), None, script);
}

/// Runs a script on a connection that we opened, with a round trip of 10 ms, to a peer of these options.
fn established(options: &str, script: &str) {
    established_with(&config(), options, script);
}

fn established_with(config: &TcpConfig, options: &str, script: &str) {
    let opening = format!(
        "> S 0:0(0)
        +10ms
        < S. 0:0(0) ack 1 win 60000 <{options}>
        > . 1:1(0) ack 1
        = ESTABLISHED
        event"
    );
    run(config, None, &format!("{opening}\n{script}"));
}

/// Runs a script on a connection that a peer of these options opened.
fn accepted(options: &str, script: &str) {
    run(&config(), Some(options), script);
}

fn run(config: &TcpConfig, accept: Option<&str>, script: &str) {
    for base in BASES {
        let mut host = Host::new(base, config, accept);
        for (number, line) in script.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            host.place = format!("line {}, `{line}`, {base:x?}", number + 1);
            for statement in line.split(';').map(str::trim).filter(|text| !text.is_empty()) {
                host.step(statement);
            }
        }
        host.finish();
    }
}

/// The byte at an offset of a stream, by who sends it.
fn byte(of_peer: bool, offset: usize) -> u8 {
    (offset.wrapping_mul(31) ^ (offset >> 8).wrapping_mul(17)) as u8
        ^ if of_peer { 0x55 } else { 0 }
}

fn bytes(of_peer: bool, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|offset| byte(of_peer, offset)).collect()
}

/// A segment that was said.
struct Said {
    header: Header,
    payload: Vec<u8>,
}

/// The connection under test with all that surrounds it.
struct Host {
    connection: Connection,
    config: TcpConfig,
    pools: Pools,
    now: Instant,
    base: Base,
    written: usize,
    read: usize,
    said: VecDeque<Said>,
    place: String,
}

impl Host {
    /// `accept`: the options of a peer that opened; without, we open.
    fn new(base: Base, config: &TcpConfig, accept: Option<&str>) -> Host {
        let now = Instant::from_millis(1_000_000);
        let tuple = FourTuple {
            local: Endpoint::new([10, 0, 0, 1], 20_000),
            remote: Endpoint::new([10, 0, 0, 2], 80),
        };
        let iss = SeqNumber(base.iss);
        let timestamp_offset = base.clock.wrapping_sub(now.millis() as u32);
        let connection = match accept {
            None => Connection::connect(tuple, iss, OWN_MSS, timestamp_offset, config, now),
            Some(options) => {
                let irs = SeqNumber(base.irs);
                let peer = parse_options(options, base.peer_clock, base.clock, base.iss);
                let (mss, retries) = (OWN_MSS, 0);
                let handshake = Handshake { tuple, iss, irs, peer, mss, retries, timestamp_offset };
                let ack = Segment {
                    seq: irs + 1,
                    ack: iss + 1,
                    flags: Flags::ACK,
                    window: 60000,
                    options: Options { timestamp: peer.timestamp, ..Options::default() },
                    payload: &[],
                };
                let rtt = Some(Duration::from_millis(10));
                Connection::accept(&handshake, &ack, rtt, config, now)
            }
        };
        let mut host = Host {
            connection,
            config: config.clone(),
            pools: Pools::new(10_000, 0),
            now,
            base,
            written: 0,
            read: 0,
            said: VecDeque::new(),
            place: String::new(),
        };
        host.poll();
        host
    }

    /// Lets the connection do something.
    fn with<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Context<'_>) -> T) -> T {
        let cx = &mut Context { config: &self.config, pools: &mut self.pools, now: self.now };
        act(&mut self.connection, cx)
    }

    fn step(&mut self, statement: &str) {
        let (verb, rest) = statement.split_at(statement.find(' ').unwrap_or(statement.len()));
        let rest = rest.trim();
        if verb != ">" && verb != "=" {
            self.expect_silence();
        }
        match verb {
            "<" => self.hear(rest),
            ">" => self.expect(rest),
            "=" => self.expect_state(rest),
            "write" => self.write(rest),
            "read" => self.take(number(rest)),
            "readable" => assert_eq!(self.connection.rx.len(), number(rest), "{}", self.place),
            "unacknowledged" => {
                assert_eq!(self.connection.tx.len(), number(rest), "{}", self.place);
            }
            "eof" => assert!(self.connection.is_eof(), "{}", self.place),
            "event" => {
                assert!(std::mem::take(&mut self.connection.event_pending), "{}", self.place);
            }
            "calm" => assert!(!self.connection.event_pending, "{}", self.place),
            "cwnd" => self.expect_number(self.connection.cwnd(), rest),
            "ssthresh" => self.expect_number(self.connection.congestion.ssthresh(), rest),
            "retransmits" => self.expect_number(self.connection.retransmits(), rest),
            "undone" => self.expect_number(self.connection.undone(), rest),
            "keepalive" => self.keepalive(rest),
            "patience" => self.connection.set_user_timeout(Some(duration(rest))),
            "finished" => assert!(self.connection.is_finished(), "{}", self.place),
            "idle" => assert_eq!(self.connection.deadline(), None, "no timer: {}", self.place),
            "mss" => self.with(|connection, cx| connection.reduce_mss(number(rest), cx)),
            "shut" => self.connection.shut(),
            "close" => self.with(|connection, cx| connection.close(cx)),
            "abort" => self.with(|connection, cx| connection.abort(cx)),
            _ => match verb.strip_prefix('+') {
                Some(time) => self.advance(duration(time)),
                None => panic!("no such statement: {}", self.place),
            },
        }
        self.poll();
        let held = self.connection.assert_invariants(&self.pools.buffers);
        assert_eq!(
            self.pools.buffers.stats().used,
            held,
            "every buffer is in a queue: {}",
            self.place
        );
    }

    fn finish(mut self) {
        self.expect_silence();
        self.with(|connection, cx| connection.release(cx));
        assert_eq!(self.pools.buffers.stats().used, 0, "all buffers are back: {}", self.place);
    }

    /// Lets the connection say what it has to say, as the stack does after every change.
    fn poll(&mut self) {
        while let Some(outgoing) = self.with(|connection, cx| connection.poll_segment(OWN_MSS, cx))
        {
            let mut payload = vec![0; outgoing.len];
            self.connection.copy_payload(&self.pools.buffers, outgoing.offset, &mut payload);
            self.said.push_back(Said { header: outgoing.header, payload });
            assert!(self.said.len() < 1000, "talks without end: {}", self.place);
        }
    }

    fn expect_silence(&self) {
        let Some(said) = self.said.front() else { return };
        panic!("it said {}, before {}", self.show(said), self.place);
    }

    fn hear(&mut self, text: &str) {
        let Base { iss, irs, clock, peer_clock } = self.base;
        let line = Line::parse(text);
        let options = line
            .options
            .map_or(Options::default(), |text| parse_options(text, peer_clock, clock, iss));
        let payload = bytes(true, (line.seq - 1).max(0) as usize, line.len);
        let segment = Segment {
            seq: SeqNumber(irs.wrapping_add(line.seq as u32)),
            ack: SeqNumber(iss.wrapping_add(line.ack.unwrap_or(0) as u32)),
            flags: line.flags,
            window: line.window.unwrap_or(60000),
            options,
            payload: &payload,
        };
        let verdict = self.with(|connection, cx| connection.handle_segment(&segment, cx));
        let verdict = format!("{verdict:?}");
        let expected = line.verdict.unwrap_or("Accepted");
        assert!(verdict.starts_with(expected), "{verdict} at {}", self.place);
    }

    fn expect(&mut self, text: &str) {
        let line = Line::parse(text);
        let mut seq = line.seq;
        let mut left = line.len;
        loop {
            let Some(said) = self.said.pop_front() else {
                panic!("it said nothing, instead of {}", self.place)
            };
            let shown = self.show(&said);
            let fits = self.fits(&said, &line, seq, left);
            assert!(fits, "it said {shown}, instead of {}", self.place);
            let offset = (seq - 1).max(0) as usize;
            let expected = bytes(false, offset, said.payload.len());
            assert!(said.payload == expected, "wrong bytes in {shown}, {}", self.place);
            seq += said.payload.len() as i64;
            left -= said.payload.len();
            if left == 0 {
                break;
            }
        }
    }

    fn fits(&self, said: &Said, line: &Line<'_>, seq: i64, left: usize) -> bool {
        let Base { iss, irs, clock, peer_clock } = self.base;
        let Header { flags, window, options, .. } = said.header;
        // Of several segments in a row only the last has the FIN.
        let last = said.payload.len() == left;
        let expected = Flags { fin: line.flags.fin && last, ..line.flags };
        // A SYN alone echoes nothing: its TSecr is zero, not the peer's clock.
        let echoed = if flags.ack { peer_clock } else { 0 };
        Flags { psh: false, ..flags } == expected
            && said.header.seq == SeqNumber(iss.wrapping_add(seq as u32))
            && said.payload.len() <= left
            && (left == 0 || !said.payload.is_empty())
            && line.ack.is_none_or(|ack| said.header.ack == SeqNumber(irs.wrapping_add(ack as u32)))
            && line.window.is_none_or(|expected| window == expected)
            && line.options.is_none_or(|text| options == parse_options(text, clock, echoed, irs))
    }

    fn show(&self, said: &Said) -> String {
        let Base { iss, irs, clock, peer_clock } = self.base;
        let Header { seq, ack, flags, window, options } = said.header;
        let from = seq.0.wrapping_sub(iss) as i32;
        let mut text = String::new();
        for (set, letter) in
            [(flags.syn, 'S'), (flags.fin, 'F'), (flags.rst, 'R'), (flags.ack, '.')]
        {
            text.extend(set.then_some(letter));
        }
        let len = said.payload.len();
        text += &format!(" {from}:{}({len})", from + len as i32);
        text += &format!(" ack {} win {window} <", ack.0.wrapping_sub(irs) as i32);
        if let Some((value, echo)) = options.timestamp {
            let (value, echo) = (value.wrapping_sub(clock), echo.wrapping_sub(peer_clock));
            text += &format!("TS val {value} ecr {echo} ");
        }
        for (left, right) in options.sack.as_slice() {
            let relative = |edge: &SeqNumber| edge.0.wrapping_sub(irs) as i32;
            text += &format!("sack {}:{} ", relative(left), relative(right));
        }
        let with_others = format!("mss {:?} wscale {:?}", options.mss, options.window_scale);
        text + if flags.syn { &with_others } else { "" } + ">"
    }

    fn expect_number(&self, found: u32, text: &str) {
        assert_eq!(found, number::<u32>(text), "{}", self.place);
    }

    /// `keepalive 10s 1s 3`: idle, interval, count.
    fn keepalive(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [idle, interval, count] = words[..] else { panic!("{}", self.place) };
        let (idle, interval) = (duration(idle), duration(interval));
        let keepalive = Keepalive { idle, interval, count: number(count) };
        self.connection.set_keepalive(Some(keepalive), &self.config);
    }

    fn expect_state(&self, text: &str) {
        let status = self.connection.status(&self.config);
        let mut shown = status.state.to_string();
        if let Some(error) = status.error {
            shown += &format!(" {error:?}");
        }
        assert_eq!(shown, text, "{}", self.place);
    }

    /// `write 1000`, or `write 1000 takes 600`.
    fn write(&mut self, text: &str) {
        let (count, takes) = text.split_once(" takes ").unwrap_or((text, text));
        let data = bytes(false, self.written, number(count));
        let taken = self.with(|connection, cx| connection.write(&data, cx));
        assert_eq!(taken, number(takes), "{}", self.place);
        self.written += taken;
    }

    fn take(&mut self, count: usize) {
        let mut out = vec![0; count];
        let got = self.with(|connection, cx| connection.read(&mut out, cx));
        assert_eq!(got, count, "bytes to read, {}", self.place);
        assert!(out == bytes(true, self.read, count), "wrong bytes, {}", self.place);
        self.read += count;
    }

    /// To `now + time`, with every deadline on the way handled at its time.
    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.connection.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.with(|connection, cx| connection.handle_deadline(cx));
            if at < end {
                self.poll();
                self.expect_silence();
            }
        }
        self.now = end;
    }
}

/// A segment as a script writes it.
struct Line<'a> {
    flags: Flags,
    seq: i64,
    len: usize,
    ack: Option<i64>,
    window: Option<u16>,
    options: Option<&'a str>,
    verdict: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Line<'a> {
        let (text, verdict) = text.split_once('!').map_or((text, None), |(a, b)| (a, Some(b)));
        let (text, options) = match text.trim().split_once('<') {
            Some((text, options)) => (text, Some(options.trim_end_matches('>'))),
            None => (text, None),
        };
        let mut words = text.split_whitespace();
        let letters = words.next().unwrap_or_default();
        let has = |letter| letters.contains(letter);
        let flags =
            Flags { syn: has('S'), fin: has('F'), rst: has('R'), psh: false, ack: has('.') };
        let range = words.next().unwrap_or_default();
        let (from, rest) = range.split_once(':').unwrap_or_else(|| panic!("no range in `{text}`"));
        let (to, len) = rest.trim_end_matches(')').split_once('(').expect("a length");
        let (seq, len): (i64, usize) = (number(from), number(len));
        assert_eq!(seq + len as i64, number(to), "`{range}` does not add up");
        let mut line = Line { flags, seq, len, ack: None, window: None, options, verdict };
        while let (Some(key), Some(value)) = (words.next(), words.next()) {
            match key {
                "ack" => line.ack = Some(number(value)),
                "win" => line.window = Some(number(value)),
                _ => panic!("`{key}` in `{text}`"),
            }
        }
        line
    }
}

/// Options in the manner of packetdrill; values count from the bases given.
fn parse_options(text: &str, value_base: u32, echo_base: u32, sack_base: u32) -> Options {
    let mut options = Options::default();
    for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let words: Vec<&str> = option.split_whitespace().collect();
        match words[..] {
            ["mss", size] => options.mss = Some(number(size)),
            ["wscale", shift] => options.window_scale = Some(number(shift)),
            ["sackOK"] => options.sack_permitted = true,
            ["TS", "val", value, "ecr", echo] => {
                let value = value_base.wrapping_add(number::<i64>(value) as u32);
                let echo = echo_base.wrapping_add(number::<i64>(echo) as u32);
                options.timestamp = Some((value, echo));
            }
            ["sack", ref blocks @ ..] => options.sack = sack_blocks(blocks, sack_base),
            _ => panic!("no such option: `{option}`"),
        }
    }
    options
}

fn sack_blocks(texts: &[&str], base: u32) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for text in texts {
        let (left, right) = text.split_once(':').expect("a block");
        let edge = |text| SeqNumber(base.wrapping_add(number::<i64>(text) as u32));
        blocks.push(edge(left), edge(right));
    }
    blocks
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.trim().parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let value = number(digits);
    match &text[digits.len()..] {
        "us" => Duration::from_micros(value),
        "ms" => Duration::from_millis(value),
        "s" => Duration::from_secs(value),
        unit => panic!("`{unit}` is no unit of time"),
    }
}
