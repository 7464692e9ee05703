//! A connection as bytes, and back: how a live one moves to another process, or survives it.
//!
//! In:    a connection at any instant; or bytes from anywhere
//! Out:   bytes; or a connection, when the bytes say one that can be
//! Never: trusts a byte; keeps a time of the clock it was taken under
//! Read:  RFC 9293, section 3.3.1, for what has to be carried over
//!
//! What is measured rather than agreed on begins anew where that is harmless: the window grows on from where
//! it was, a recovery under way is finished by the losses that are still marked, and nobody measures a round
//! trip by segments that were sent before.

use serde::{Deserialize, Serialize};

use super::congestion::{CongestionControl, Controller};
use super::liveness::KeepaliveSeconds;
use super::reassembly::{RANGES_MAX, Reassembly};
use super::rtt::RttEstimator;
use super::scoreboard::{RECORDS_MAX, RestoredSegment};
use super::{Algorithm, Connection, Context, Handshake, MSS_MIN, Negotiated, State};
use crate::buffer::{BUFFER_SIZE, BufferPool};
use crate::flow::FourTuple;
use crate::segment::Options;
use crate::seq::SeqNumber;
use crate::time::{Instant, Micros};

/// First bytes of a snapshot.
const MAGIC: [u8; 4] = *b"xlbc";
/// The layout of [`Snapshot`]. Another layout is another number.
const VERSION: u16 = 1;
/// Magic and version; the CRC stands at the end.
const HEADER_LEN: usize = MAGIC.len() + size_of::<u16>();
const CRC_LEN: usize = size_of::<u32>();
/// The largest window that RFC 7323, section 2.3, can say.
const WINDOW_MAX: u32 = 1 << 30;
/// Bytes that a queue may hold: more than any configuration allows, less than a hostile length.
const QUEUE_MAX: usize = 64 << 20;

/// Why bytes did not become a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// They are not a snapshot, or were cut short, or damaged.
    Damaged,
    /// They are one of another version than this one.
    Version(u16),
    /// They say a connection that cannot be; what about it.
    Inconsistent(&'static str),
    /// There is a connection, a handshake or a TIME-WAIT record between these two ends already.
    InUse,
    /// The pool has no buffers for its bytes.
    NoBuffers,
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestoreError::Damaged => {
                f.write_str("not a snapshot of a connection, or a damaged one")
            }
            RestoreError::Version(version) => {
                write!(f, "a snapshot of version {version}; this one reads version {VERSION}")
            }
            RestoreError::Inconsistent(what) => write!(f, "a connection that cannot be: {what}"),
            RestoreError::InUse => f.write_str("these two ends are connected already"),
            RestoreError::NoBuffers => f.write_str("no buffers for its bytes"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Everything that outlives the process. Times are microseconds that were left.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    tuple: FourTuple,
    state: State,
    orphan: bool,
    negotiated: Negotiated,

    iss: SeqNumber,
    snd_una: SeqNumber,
    snd_nxt: SeqNumber,
    snd_wnd: u32,
    snd_wl1: SeqNumber,
    snd_wl2: SeqNumber,
    max_snd_wnd: u32,
    mss: u16,
    path_mss: u16,
    tx: Vec<u8>,
    tx_seq: SeqNumber,
    fin_queued: bool,
    segments: Vec<RestoredSegment>,
    retransmits: u32,
    algorithm: Algorithm,
    cwnd: u32,
    ssthresh: u32,
    rtt_us: [u32; 3],
    keepalive: Option<KeepaliveSeconds>,
    user_timeout_ms: u32,
    timeouts: u8,

    irs: SeqNumber,
    rcv_nxt: SeqNumber,
    rcv_edge: SeqNumber,
    rcv_acked: SeqNumber,
    rcv_buffer: u32,
    rcv_mss: u16,
    rx: Vec<u8>,
    out_of_order: Vec<(SeqNumber, Vec<u8>)>,
    peer_fin: Option<SeqNumber>,
    ack_owed: bool,

    /// TSval at this moment.
    ts_value: u32,
    ts_recent: u32,
    close_left_us: Option<u64>,
}

impl Connection {
    /// The connection as bytes; `None` when it is closed. It stays as it is.
    pub(crate) fn snapshot(&self, pool: &BufferPool, now: Instant) -> Option<Vec<u8>> {
        if self.state == State::Closed {
            return None;
        }
        let flight = self.flight.as_ref();
        let snapshot = Snapshot {
            tuple: self.tuple,
            state: self.state,
            orphan: self.orphan,
            negotiated: self.negotiated,
            iss: self.iss,
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            snd_wnd: self.snd_wnd,
            snd_wl1: self.snd_wl1,
            snd_wl2: self.snd_wl2,
            max_snd_wnd: self.max_snd_wnd,
            mss: self.mss,
            path_mss: self.path_mss,
            tx: self.tx.to_vec(pool),
            tx_seq: self.tx_seq,
            fin_queued: self.fin_queued,
            segments: flight.map_or(Vec::new(), |flight| flight.board.segments().collect()),
            retransmits: self.experience.retransmits,
            algorithm: self.congestion.algorithm(),
            cwnd: self.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            rtt_us: self.rtt.parts(),
            keepalive: self.keepalive,
            user_timeout_ms: self.user_timeout_ms,
            timeouts: self.timeouts,
            irs: self.irs,
            rcv_nxt: self.rcv_nxt,
            rcv_edge: self.rcv_edge,
            rcv_acked: self.rcv_acked,
            rcv_buffer: self.rcv_buffer,
            rcv_mss: self.rcv_mss,
            rx: self.rx.to_vec(pool),
            out_of_order: self.reassembly.as_ref().map_or(Vec::new(), |held| {
                held.ranges().map(|(start, bytes)| (start, bytes.to_vec(pool))).collect()
            }),
            peer_fin: self.peer_fin,
            ack_owed: self.ack_now || self.ack_deadline.is_some(),
            ts_value: self.ts_value(now),
            ts_recent: self.ts_recent,
            close_left_us: self.close_deadline.map(|at| at.span_since(now).0),
        };
        Some(snapshot.encode())
    }

    /// A connection that goes on where the snapshot was taken. Its buffers have been seen to be there.
    pub(crate) fn restore(snapshot: &Snapshot, cx: &mut Context<'_>) -> Connection {
        let Snapshot { tuple, iss, irs, mss, .. } = *snapshot;
        let timestamp_offset = snapshot.ts_value.wrapping_sub(cx.now.millis() as u32);
        let peer = Options::default();
        let handshake = Handshake { tuple, iss, irs, peer, mss, retries: 0, timestamp_offset };
        let mut connection = Connection::new(&handshake, snapshot.state, cx.config, cx.now);
        connection.orphan = snapshot.orphan;
        connection.negotiated = snapshot.negotiated;
        connection.restore_sender(snapshot, cx);
        connection.restore_receiver(snapshot, cx);
        // A time of the one who wrote it, who may have been more patient than we are.
        let most = Micros::from(cx.config.time_wait.max(cx.config.fin_wait_2));
        connection.close_deadline =
            snapshot.close_left_us.map(|left| cx.now + Micros(left).min(most));
        connection.arm_send_timer(cx);
        connection.event_pending = true;
        connection
    }

    fn restore_sender(&mut self, snapshot: &Snapshot, cx: &mut Context<'_>) {
        self.snd_una = snapshot.snd_una;
        self.snd_nxt = snapshot.snd_nxt;
        self.snd_wnd = snapshot.snd_wnd;
        self.snd_wl1 = snapshot.snd_wl1;
        self.snd_wl2 = snapshot.snd_wl2;
        self.max_snd_wnd = snapshot.max_snd_wnd;
        self.path_mss = snapshot.path_mss;
        self.suspect_path(cx.now);
        self.tx_seq = snapshot.tx_seq;
        self.fin_queued = snapshot.fin_queued;
        self.tx.append(&mut cx.pools.buffers, &snapshot.tx);
        self.congestion = Controller::resume(
            snapshot.algorithm,
            self.mss.into(),
            snapshot.cwnd.max(self.mss.into()),
            snapshot.ssthresh.max(2 * u32::from(self.mss)),
        );
        self.rtt = RttEstimator::from_parts(snapshot.rtt_us, cx.now.seconds());
        self.experience.retransmits = snapshot.retransmits;
        self.keepalive = snapshot.keepalive;
        self.user_timeout_ms = snapshot.user_timeout_ms;
        self.timeouts = snapshot.timeouts;
        if !snapshot.segments.is_empty() {
            let mut flight = cx.pools.flights.take();
            let mut seq = snapshot.snd_una;
            for segment in &snapshot.segments {
                flight.board.push_restored(segment, seq, cx.now);
                seq += segment.len;
            }
            self.flight = Some(flight);
        }
    }

    fn restore_receiver(&mut self, snapshot: &Snapshot, cx: &mut Context<'_>) {
        let pool = &mut cx.pools.buffers;
        self.rcv_nxt = snapshot.rcv_nxt;
        self.rcv_edge = snapshot.rcv_edge;
        self.rcv_acked = snapshot.rcv_acked;
        self.rcv_buffer = snapshot.rcv_buffer;
        self.rcv_mss = snapshot.rcv_mss;
        self.rx.append(pool, &snapshot.rx);
        if !snapshot.out_of_order.is_empty() {
            let mut reassembly = Box::<Reassembly>::default();
            for (start, bytes) in &snapshot.out_of_order {
                // What does not fit is sent again by the peer (RFC 2018, section 8).
                reassembly.insert(pool, *start, bytes);
            }
            self.reassembly = (!reassembly.is_empty()).then_some(reassembly);
        }
        self.peer_fin = snapshot.peer_fin;
        self.ack_now = snapshot.ack_owed;
        self.ts_recent = snapshot.ts_recent;
        self.quick_acks = 0;
    }
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes = postcard::to_extend(self, bytes).expect("plain data has a binary form");
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_be_bytes());
        bytes
    }

    /// Reads bytes from anywhere; a snapshot that is returned can be restored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Snapshot, RestoreError> {
        if bytes.len() < HEADER_LEN + CRC_LEN || bytes[..MAGIC.len()] != MAGIC {
            return Err(RestoreError::Damaged);
        }
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let (body, crc) = bytes.split_at(bytes.len() - CRC_LEN);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Err(RestoreError::Damaged);
        }
        let (snapshot, rest): (Snapshot, _) =
            postcard::take_from_bytes(&body[HEADER_LEN..]).map_err(|_| RestoreError::Damaged)?;
        if !rest.is_empty() {
            return Err(RestoreError::Damaged);
        }
        snapshot.check().map_err(RestoreError::Inconsistent)?;
        Ok(snapshot)
    }

    /// Both ends.
    pub(crate) fn tuple(&self) -> FourTuple {
        self.tuple
    }

    /// Whether its user has left already.
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphan
    }

    /// Buffers that its queues take at most.
    pub(crate) fn buffers(&self) -> usize {
        let ranges = self.out_of_order.iter().map(|(_, bytes)| bytes.len());
        let queues = [self.tx.len(), self.rx.len()];
        queues.into_iter().chain(ranges).map(|len| len.div_ceil(BUFFER_SIZE)).sum()
    }

    /// The invariants of [`Connection`] and of its parts: the bytes may come from anybody.
    fn check(&self) -> Result<(), &'static str> {
        let FourTuple { local, remote } = self.tuple;
        ensure(local.ip.is_ipv4() == remote.ip.is_ipv4(), "ends of two families")?;
        ensure(local.port != 0 && remote.port != 0, "a port of zero")?;
        let Negotiated { snd_scale, rcv_scale, .. } = self.negotiated;
        ensure(snd_scale <= 14 && rcv_scale <= 14, "a window scale beyond 14")?;
        self.check_sender()?;
        self.check_segments()?;
        self.check_receiver()?;
        self.check_state()
    }

    fn check_sender(&self) -> Result<(), &'static str> {
        ensure(self.tx.len() <= QUEUE_MAX, "a send queue beyond any limit")?;
        ensure(self.mss >= MSS_MIN && self.path_mss >= self.mss, "segment sizes")?;
        ensure(self.snd_wnd <= WINDOW_MAX && self.max_snd_wnd <= WINDOW_MAX, "send windows")?;
        ensure(self.cwnd <= WINDOW_MAX, "a congestion window beyond any window")?;
        ensure(distance(self.snd_una, self.snd_nxt) <= WINDOW_MAX, "SND.UNA beyond SND.NXT")?;
        // The SYN comes before the first byte, the FIN after the last.
        let syn_acknowledged = self.snd_una != self.iss;
        let begin = if syn_acknowledged { self.snd_una } else { self.iss + 1 };
        let end = self.tx_seq + self.tx.len() as u32;
        let fin_acknowledged = self.fin_queued && self.tx.is_empty() && begin == end + 1;
        ensure(self.tx_seq == begin || fin_acknowledged, "a send queue that begins elsewhere")?;
        let last = if self.fin_queued { end + 1 } else { end };
        ensure(distance(begin, last) <= WINDOW_MAX || fin_acknowledged, "a send queue of its own")?;
        ensure(self.snd_nxt.at_or_before(last), "SND.NXT beyond what was to be sent")
    }

    fn check_segments(&self) -> Result<(), &'static str> {
        ensure(self.segments.len() <= RECORDS_MAX, "more segments in flight than are kept")?;
        let mut total = 0_u64;
        let end = self.tx_seq + self.tx.len() as u32;
        let mut seq = self.snd_una;
        for segment in &self.segments {
            ensure(segment.len > 0 && segment.len <= WINDOW_MAX, "the length of a segment")?;
            ensure(!(segment.lost && segment.sacked), "a segment both lost and received")?;
            total += u64::from(segment.len);
            ensure(total <= u64::from(WINDOW_MAX), "segments beyond any window")?;
            seq += segment.len;
            ensure(segment.fin == (self.fin_queued && seq == end + 1), "where the FIN is")?;
        }
        ensure(seq == self.snd_nxt, "segments that do not add up")
    }

    fn check_receiver(&self) -> Result<(), &'static str> {
        ensure(self.rx.len() <= QUEUE_MAX, "a receive queue beyond any limit")?;
        ensure((1..=WINDOW_MAX).contains(&self.rcv_buffer), "a receive buffer")?;
        ensure(distance(self.rcv_nxt, self.rcv_edge) <= WINDOW_MAX, "RCV.NXT beyond its window")?;
        ensure(distance(self.rcv_acked, self.rcv_nxt) <= WINDOW_MAX, "an acknowledgment too far")?;
        ensure(self.rcv_mss > 0, "segments of nothing")?;
        ensure(self.out_of_order.len() <= RANGES_MAX, "more gaps than are kept")?;
        let mut after = self.rcv_nxt;
        for (start, bytes) in &self.out_of_order {
            ensure(start.after(after) && !bytes.is_empty(), "ranges that touch")?;
            ensure(bytes.len() <= WINDOW_MAX as usize, "a range beyond any window")?;
            after = *start + bytes.len() as u32;
            ensure(after.at_or_before(self.rcv_edge), "a range beyond the window")?;
        }
        match self.peer_fin {
            Some(fin) if fin + 1 == self.rcv_nxt => {
                ensure(self.out_of_order.is_empty(), "bytes beyond the peer's FIN")
            }
            Some(fin) => {
                let within = !fin.before(after) && fin.before(self.rcv_edge + 1);
                ensure(within, "where the peer's FIN is")
            }
            None => Ok(()),
        }
    }

    fn check_state(&self) -> Result<(), &'static str> {
        let peer_closed = self.peer_fin.is_some_and(|fin| fin + 1 == self.rcv_nxt);
        let end = self.tx_seq + self.tx.len() as u32;
        let fin_acknowledged = self.fin_queued && self.snd_una == end + 1;
        let syn_acknowledged = self.snd_una != self.iss;
        let (peer, fin, acknowledged) = (peer_closed, self.fin_queued, fin_acknowledged);
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        ensure(opening || syn_acknowledged, "open before the SYN was answered")?;
        ensure(
            match self.state {
                State::SynSent => !syn_acknowledged && self.rx.is_empty() && !peer,
                State::SynReceived => !syn_acknowledged && !peer,
                State::Established => !peer && !fin,
                State::FinWait1 => !peer && fin && !acknowledged,
                State::FinWait2 => !peer && fin && acknowledged,
                State::CloseWait => peer && !fin,
                State::Closing | State::LastAck => peer && fin && !acknowledged,
                State::TimeWait => peer && fin && acknowledged,
                State::Closed => false,
            },
            "a state that its sequence numbers contradict",
        )?;
        ensure(self.fin_queued || !self.orphan, "left by its user, and not closed")?;
        // Nobody else would end it.
        let (waits, ends) = (self.state == State::FinWait2, self.close_left_us.is_some());
        ensure(!waits || !self.orphan || ends, "FIN-WAIT-2 for ever")?;
        let is_over = self.state == State::TimeWait;
        ensure(!is_over || ends, "TIME-WAIT for ever")?;
        ensure(waits || is_over || !ends, "a deadline of another state")
    }
}

/// How far `to` is ahead of `from`; the whole circle's half when it is behind.
fn distance(from: SeqNumber, to: SeqNumber) -> u32 {
    if to.before(from) { u32::MAX } else { to - from }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connection::{Pools, TcpConfig};
    use crate::flow::Endpoint;
    use crate::segment::{Flags, Segment};

    const NOW: Instant = Instant::from_millis(1_000_000);

    /// Lets `act` change an open connection; what a snapshot of it says then.
    fn taken(act: impl Fn(&mut Connection, &mut Context<'_>)) -> Snapshot {
        let (config, mut pools) = (TcpConfig::default(), Pools::new(100, 0));
        let cx = &mut Context { config: &config, pools: &mut pools, now: NOW };
        let tuple = FourTuple {
            local: Endpoint::new([10, 0, 0, 1], 80),
            remote: Endpoint::new([10, 0, 0, 2], 4000),
        };
        let (iss, irs) = (SeqNumber(1000), SeqNumber(2000));
        let peer = Options { mss: Some(1460), ..Options::default() };
        let (mss, retries, timestamp_offset) = (1460, 0, 0);
        let handshake = Handshake { tuple, iss, irs, peer, mss, retries, timestamp_offset };
        let mut connection = Connection::accept(&handshake, &ack(1001), None, cx.config, cx.now);
        act(&mut connection, cx);
        let bytes = connection.snapshot(&cx.pools.buffers, cx.now).expect("it is open");
        Snapshot::decode(&bytes).expect("it was taken from a live one")
    }

    /// The peer's next segment: it acknowledges up to `ack`.
    fn ack(ack: u32) -> Segment<'static> {
        Segment {
            seq: SeqNumber(2001),
            ack: SeqNumber(ack),
            flags: Flags::ACK,
            window: 60000,
            options: Options::default(),
            payload: &[],
        }
    }

    /// The user left, and the peer knows.
    fn left(connection: &mut Connection, cx: &mut Context<'_>) {
        connection.close(cx);
        assert!(connection.poll_segment(1460, cx).is_some_and(|fin| fin.header.flags.fin));
        connection.handle_segment(&ack(1002), cx);
        assert_eq!(connection.state, State::FinWait2);
    }

    fn restored(snapshot: &Snapshot, config: &TcpConfig) -> Connection {
        let mut pools = Pools::new(100, 0);
        Connection::restore(snapshot, &mut Context { config, pools: &mut pools, now: NOW })
    }

    fn refusal(snapshot: &Snapshot) -> &'static str {
        match Snapshot::decode(&snapshot.encode()) {
            Err(RestoreError::Inconsistent(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_nobody_would_end_is_refused() {
        let orphan = Snapshot { orphan: true, ..taken(|_, _| {}) };
        assert_eq!(refusal(&orphan), "left by its user, and not closed");
        let waiting = Snapshot { close_left_us: None, ..taken(left) };
        assert_eq!(refusal(&waiting), "FIN-WAIT-2 for ever");
        let ending = Snapshot { close_left_us: Some(1), ..taken(|_, _| {}) };
        assert_eq!(refusal(&ending), "a deadline of another state");
    }

    #[test]
    fn waits_no_longer_than_the_configuration_says() {
        let config = TcpConfig { fin_wait_2: Duration::from_secs(30), ..TcpConfig::default() };
        let config = TcpConfig { time_wait: Duration::from_secs(20), ..config };
        for (left_us, seconds) in [(25_000_000, 25), (60_000_000, 30), (u64::MAX, 30)] {
            let snapshot = Snapshot { close_left_us: Some(left_us), ..taken(left) };
            let deadline = restored(&snapshot, &config).deadline();
            assert_eq!(deadline, Some(NOW + Duration::from_secs(seconds)), "{left_us}");
        }
    }

    #[test]
    fn a_path_that_was_suspected_is_asked_again() {
        let suspected = |connection: &mut Connection, _: &mut Context<'_>| connection.mss = 536;
        let mut connection = restored(&taken(suspected), &TcpConfig::default());
        connection.ask_path_again(NOW + Duration::from_secs(599));
        assert_eq!(connection.mss, 536);
        connection.ask_path_again(NOW + Duration::from_secs(600));
        assert_eq!(connection.mss, 1460);
    }
}
