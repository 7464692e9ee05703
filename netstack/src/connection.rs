//! One TCP connection: its state, its sequence spaces, its two queues of bytes.
//!
//! In:    segments, the time, bytes and commands of the user
//! Out:   segments to send, deadlines, what changed for the user
//! Owns:  the transmission control block of RFC 9293, section 3.3.1
//! Never: reads a clock; knows a link, a route or a table
//! Read:  RFC 9293
//!
//! By concern: [`receive`] (segments in), [`transmit`] (segments out), [`scoreboard`] (what is in flight),
//! [`recovery`] (what of it is lost), [`undo`] (and was not), [`congestion`], [`rtt`], [`path`] (segment
//! sizes), [`liveness`] (silent peers), [`reassembly`], [`description`] (what an operator sees), [`snapshot`].

mod config;
mod congestion;
mod description;
mod liveness;
mod path;
mod reassembly;
mod receive;
mod recovery;
mod rtt;
mod scoreboard;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
mod transmit;
mod undo;
mod window;

use std::num::NonZeroU32;
use std::time::Duration;

pub use config::TcpConfig;
pub use congestion::Algorithm;
use congestion::{CongestionControl, Controller};
pub use description::Description;
pub use liveness::Keepalive;
use liveness::KeepaliveSeconds;
pub(crate) use path::MSS_MIN;
use reassembly::Reassembly;
pub(crate) use receive::Verdict;
use recovery::{Experience, Flight, Flights, TailProbe};
use rtt::RttEstimator;
use serde::{Deserialize, Serialize};
pub(crate) use transmit::Outgoing;
use window::Allotment;
pub(crate) use window::Grant;

use crate::buffer::{BufferPool, Cursor, Queue};
use crate::flow::FourTuple;
use crate::neighbor::PathId;
use crate::segment::{Options, Segment};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// States of RFC 9293, section 3.3.2. LISTEN is the listener's; a passive open waits as a half-open
/// record, so SYN-RECEIVED here is only that of a simultaneous open.
///
/// ```text
///  SYN-SENT ──► ESTABLISHED ──► CLOSE-WAIT ──► LAST-ACK ──► CLOSED
///     │            ▲   │
///     ▼            │   ▼
///  SYN-RECEIVED ───┘  FIN-WAIT-1 ──► FIN-WAIT-2 ──► TIME-WAIT ──► CLOSED
///                      └──► CLOSING ──────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// A SYN was sent.
    SynSent,
    /// Both sides sent a SYN at once.
    SynReceived,
    /// Open both ways.
    Established,
    /// We closed first; our FIN is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer may still send.
    FinWait2,
    /// The peer closed first; we may still send.
    CloseWait,
    /// Both closed at once.
    Closing,
    /// The peer closed, then we; our FIN is not acknowledged.
    LastAck,
    /// All is said; old segments may still come.
    TimeWait,
    /// Gone.
    Closed,
}

/// Why a connection ended otherwise than by two FINs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// A RST answered our SYN.
    Refused,
    /// A RST came.
    Reset,
    /// The peer did not answer for too long.
    TimedOut,
    /// ICMP or a missing route says that there is no way to the peer.
    Unreachable,
}

/// Our window scale (RFC 7323): windows in units of 256 bytes, up to 16 MiB.
pub(crate) const WINDOW_SCALE: u8 = 8;

/// Segments that are acknowledged at once when a connection begins, so that the peer's slow start
/// does not wait for a delayed acknowledgment.
const QUICK_ACKS: u8 = 8;

/// The least buffer for sending, bytes: two windows of the peer's start.
const SEND_BUFFER_MIN: u32 = 64 * 1024;

/// What a connection is made with: everything that the handshake settles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub tuple: FourTuple,
    /// Initial send sequence number.
    pub iss: SeqNumber,
    /// Initial receive sequence number.
    pub irs: SeqNumber,
    /// The peer's options, as in its SYN.
    pub peer: Options,
    /// The largest segment that the path takes from us, bytes of payload and options.
    pub mss: u16,
    /// How often our SYN was sent again.
    pub retries: u8,
    /// Added to the clock to make TSval.
    pub timestamp_offset: u32,
}

/// What the two SYNs agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Negotiated {
    /// RFC 7323 timestamps.
    timestamps: bool,
    /// RFC 2018 selective acknowledgments.
    sack: bool,
    /// Shift of windows that come.
    snd_scale: u8,
    /// Shift of windows that go.
    rcv_scale: u8,
}

/// The one deadline of sending that is set at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendTimer {
    /// RFC 6298: retransmit.
    Retransmit,
    /// RFC 8985, section 7: probe the tail.
    TailProbe,
    /// RFC 8985, section 6.2: the reordering window ends.
    Reordering,
    /// RFC 9293, section 3.8.6.1: probe a closed window.
    Persist,
    /// RFC 9293, section 3.8.4: probe an idle peer. Only while nothing is in flight and nothing waits.
    Keepalive,
}

/// What connections take from and give back to: buffers, and records of what is in flight.
pub(crate) struct Pools {
    pub buffers: BufferPool,
    pub flights: Flights,
}

impl Pools {
    /// Pools of at most so many buffers, none allocated yet.
    pub fn new(buffers: usize, reserve: usize) -> Self {
        Pools { buffers: BufferPool::new(buffers, reserve), flights: Flights::default() }
    }
}

/// What every step of a connection is given: the limits, the pools and the time.
pub(crate) struct Context<'a> {
    pub config: &'a TcpConfig,
    pub pools: &'a mut Pools,
    pub now: Instant,
}

/// A connection.
///
/// Invariants: `snd_una <= snd_nxt`; `tx` begins at `tx_seq`; `flight` covers exactly `snd_una..snd_nxt`
/// in order; `rcv_nxt <= rcv_edge`; buffers are held only for bytes, a flight only while something is in
/// flight: an idle connection is this record and nothing else.
#[derive(Debug)]
pub struct Connection {
    pub(crate) tuple: FourTuple,
    /// The user's name for it, given back with every event.
    pub(crate) user: u64,
    state: State,
    error: Option<ConnectionError>,
    negotiated: Negotiated,
    /// The user has left: nobody reads any more.
    orphan: bool,
    /// We began it: what comes may take the reserve of buffers, so that what servers say can always be read.
    is_active: bool,

    // Send sequence space.
    iss: SeqNumber,
    snd_una: SeqNumber,
    snd_nxt: SeqNumber,
    snd_wnd: u32,
    snd_wl1: SeqNumber,
    snd_wl2: SeqNumber,
    /// The largest window that the peer ever offered.
    max_snd_wnd: u32,
    /// Largest segment that we send, bytes of payload and options.
    mss: u16,
    /// The same as link, peer and routers allow it; `mss` is less while a black hole is suspected.
    path_mss: u16,
    /// When large segments are tried again, seconds of the clock.
    raise_mss_at_s: Option<NonZeroU32>,
    /// Bytes to send and bytes not acknowledged, from `tx_seq` on.
    tx: Queue,
    tx_seq: SeqNumber,
    tx_cursor: Cursor,
    /// A FIN follows the last byte of `tx`.
    fin_queued: bool,
    /// A RST is to be sent.
    rst_pending: bool,
    /// A probe is to be sent: of a closed window, or of the tail.
    probe: Option<SendTimer>,
    /// The user found no room and wants to know of some.
    write_blocked: bool,
    flight: Option<Box<Flight>>,
    tail_probe: Option<TailProbe>,
    experience: Experience,
    congestion: Controller,
    /// The window was full when something more was to be sent.
    cwnd_limited: bool,
    /// When bytes were sent last, or a SYN or FIN; an acknowledgment does not count.
    last_sent: Instant,
    rtt: RttEstimator,
    send_timer: Option<(Instant, SendTimer)>,
    /// Timeouts in a row without an answer.
    timeouts: u8,
    /// Since when what is in flight, or what waits for a window, has made no progress.
    progress_at: Instant,
    /// RFC 5482, milliseconds; 0 when there is none.
    user_timeout_ms: u32,
    /// This connection's own wish; else the configuration's counts.
    keepalive: Option<KeepaliveSeconds>,
    /// Probes of an idle peer without an answer.
    keepalive_probes: u8,

    // Receive sequence space.
    irs: SeqNumber,
    rcv_nxt: SeqNumber,
    /// Right edge of the window that was advertised; never moves left.
    rcv_edge: SeqNumber,
    /// The last acknowledgment number that was sent.
    rcv_acked: SeqNumber,
    /// Bytes that may be held for the user.
    rcv_buffer: u32,
    /// Once buffers were few.
    allotment: Option<Box<Allotment>>,
    rx: Queue,
    reassembly: Option<Box<Reassembly>>,
    /// What arrived twice and is to be told of (RFC 2883): where it begins and how long it is.
    duplicate: Option<(SeqNumber, NonZeroU32)>,
    /// Sequence number of the peer's FIN, once it was seen.
    peer_fin: Option<SeqNumber>,
    ack_now: bool,
    ack_deadline: Option<Instant>,
    quick_acks: u8,
    /// The largest payload that came: what counts as a full segment.
    rcv_mss: u16,
    /// When the peer was last heard.
    last_heard: Instant,
    /// When an acknowledgment was sent that nobody asked for, milliseconds of the clock.
    challenged_ms: u32,
    /// Bytes that the user took since `drained_since`: what the window grows by.
    drained: u32,
    drained_since: Instant,

    // RFC 7323.
    ts_offset: u32,
    ts_recent: u32,

    /// FIN-WAIT-2 or TIME-WAIT ends.
    close_deadline: Option<Instant>,
    /// Something happened that the user has not been told of.
    pub(crate) event_pending: bool,
    /// In the stack's list of connections with events.
    pub(crate) event_queued: bool,
    /// In the stack's list of connections that may have something to send.
    pub(crate) ready: bool,
    /// In the list of those whose neighbour is being resolved.
    pub(crate) waits_for_neighbor: bool,
    /// Where its packets go, and by which edition of the forwarding table.
    pub(crate) path: Option<(u32, PathId)>,
}

/// What the user sees of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Bytes to read.
    pub readable: usize,
    /// The peer has closed and all its bytes were read.
    pub eof: bool,
    /// The peer has closed; bytes of it may still be there to read.
    pub fin: bool,
    /// Bytes that can be written now.
    pub writable: usize,
    /// Bytes written and not acknowledged yet.
    pub unacknowledged: usize,
    /// Why it ended.
    pub error: Option<ConnectionError>,
}

impl Connection {
    /// An active open: the SYN is the first segment to be sent.
    pub(crate) fn connect(
        tuple: FourTuple,
        iss: SeqNumber,
        mss: u16,
        timestamp_offset: u32,
        config: &TcpConfig,
        now: Instant,
    ) -> Connection {
        let handshake = Handshake {
            tuple,
            iss,
            irs: SeqNumber(0),
            peer: Options::default(),
            mss,
            retries: 0,
            timestamp_offset,
        };
        let mut connection = Connection::new(&handshake, State::SynSent, config, now);
        connection.snd_una = iss;
        connection.snd_nxt = iss;
        connection.is_active = true;
        connection
    }

    /// A passive open whose handshake `ack` completes. The segment is to be handled next.
    /// `rtt`: how long our SYN took, if it was sent once.
    pub(crate) fn accept(
        handshake: &Handshake,
        ack: &Segment<'_>,
        rtt: Option<Duration>,
        config: &TcpConfig,
        now: Instant,
    ) -> Connection {
        let mut connection = Connection::new(handshake, State::Established, config, now);
        if let Some(rtt) = rtt {
            connection.rtt.sample(rtt.into(), now.seconds());
        }
        connection.experience.retransmits = handshake.retries.into();
        connection.negotiate(&handshake.peer, config);
        connection.rcv_edge = connection.rcv_nxt + config.receive_buffer_initial.min(65535);
        connection.snd_wnd = u32::from(ack.window) << connection.negotiated.snd_scale;
        connection.max_snd_wnd = connection.snd_wnd;
        connection.snd_wl1 = ack.seq;
        connection.snd_wl2 = ack.ack;
        if let Some((tsval, _)) = handshake.peer.timestamp {
            connection.ts_recent = tsval;
        }
        connection
    }

    fn new(handshake: &Handshake, state: State, config: &TcpConfig, now: Instant) -> Connection {
        let Handshake { tuple, iss, irs, mss, timestamp_offset, .. } = *handshake;
        let first = iss + 1;
        Connection {
            tuple,
            user: 0,
            state,
            error: None,
            negotiated: Negotiated::default(),
            orphan: false,
            is_active: false,
            iss,
            snd_una: first,
            snd_nxt: first,
            snd_wnd: 0,
            snd_wl1: irs,
            snd_wl2: iss,
            max_snd_wnd: 0,
            mss,
            path_mss: mss,
            raise_mss_at_s: None,
            tx: Queue::default(),
            tx_seq: first,
            tx_cursor: Queue::default().start(),
            fin_queued: false,
            rst_pending: false,
            probe: None,
            write_blocked: false,
            flight: None,
            tail_probe: None,
            experience: Experience::default(),
            congestion: Controller::new(config.congestion, u32::from(mss)),
            cwnd_limited: false,
            last_sent: now,
            rtt: RttEstimator::default(),
            send_timer: None,
            timeouts: 0,
            progress_at: now,
            user_timeout_ms: liveness::user_timeout_ms(config.user_timeout),
            keepalive: None,
            keepalive_probes: 0,
            irs,
            rcv_nxt: irs + 1,
            rcv_edge: irs + 1,
            rcv_acked: irs + 1,
            rcv_buffer: config.receive_buffer_initial,
            allotment: None,
            rx: Queue::default(),
            reassembly: None,
            duplicate: None,
            peer_fin: None,
            ack_now: false,
            ack_deadline: None,
            quick_acks: QUICK_ACKS,
            rcv_mss: 536,
            last_heard: now,
            challenged_ms: (now.millis() as u32).wrapping_sub(receive::CHALLENGE_INTERVAL_MS),
            drained: 0,
            drained_since: now,
            ts_offset: timestamp_offset,
            ts_recent: 0,
            close_deadline: None,
            event_pending: false,
            event_queued: false,
            ready: false,
            waits_for_neighbor: false,
            path: None,
        }
    }

    /// Settles what both SYNs said; `peer` is the peer's.
    fn negotiate(&mut self, peer: &Options, config: &TcpConfig) {
        self.negotiated = Negotiated {
            timestamps: peer.timestamp.is_some(),
            sack: peer.sack_permitted,
            snd_scale: peer.window_scale.unwrap_or(0),
            rcv_scale: if peer.window_scale.is_some() { WINDOW_SCALE } else { 0 },
        };
        // RFC 9293, section 3.7.1: 536 or 1220 when nothing is said.
        let default = if self.tuple.remote.ip.is_ipv4() { 536 } else { 1220 };
        self.mss = self.mss.min(peer.mss.unwrap_or(default)).max(MSS_MIN);
        self.path_mss = self.mss;
        self.congestion = Controller::new(config.congestion, u32::from(self.mss));
        // RFC 6928, section 2: a path that lost our SYN more than once gets one segment to start with.
        if self.experience.retransmits > 1 {
            self.congestion.start_with(1);
        }
    }

    /// Whether an acknowledgment is to be sent now.
    pub(crate) fn owes_ack(&self) -> bool {
        self.ack_now
    }

    /// Whether the user has left.
    pub(crate) fn orphan(&self) -> bool {
        self.orphan
    }

    /// Whether an octet was sent and is not acknowledged.
    pub(crate) fn is_in_flight(&self, seq: SeqNumber) -> bool {
        self.snd_una.at_or_before(seq) && seq.before(self.snd_nxt)
    }

    /// Retransmissions so far.
    pub(crate) fn retransmits(&self) -> u32 {
        self.experience.retransmits
    }

    /// Recoveries so far that were taken back.
    pub(crate) fn undone(&self) -> u32 {
        self.experience.undone
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the user sees.
    pub(crate) fn status(&self, config: &TcpConfig) -> Status {
        Status {
            state: self.state,
            readable: self.rx.len(),
            eof: self.is_eof(),
            fin: self.has_fin(),
            writable: self.room(config),
            unacknowledged: self.tx.len(),
            error: self.error,
        }
    }

    /// The peer has closed and all its bytes were read.
    fn is_eof(&self) -> bool {
        self.rx.is_empty() && self.has_fin()
    }

    /// The peer has closed and all its bytes have arrived.
    fn has_fin(&self) -> bool {
        self.peer_fin.is_some_and(|fin| fin.before(self.rcv_nxt))
    }

    /// Whether bytes of the user can be sent, now or once the handshake is done.
    fn can_write(&self) -> bool {
        !self.fin_queued
            && matches!(
                self.state,
                State::SynSent | State::SynReceived | State::Established | State::CloseWait
            )
    }

    /// Bytes that the send queue takes now: twice the congestion window, so that the next window waits
    /// when this one is acknowledged, and no more.
    fn room(&self, config: &TcpConfig) -> usize {
        if !self.can_write() {
            return 0;
        }
        let twice = self.congestion.cwnd().saturating_mul(2);
        let limit = twice.clamp(SEND_BUFFER_MIN, config.send_buffer_max) as usize;
        limit.saturating_sub(self.tx.len())
    }

    /// Appends bytes of the user; returns how many were taken. When fewer than given, an event tells of room.
    pub(crate) fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let count = bytes.len().min(self.room(cx.config));
        let taken = self.tx.append_sparing(&mut cx.pools.buffers, &bytes[..count]);
        self.write_blocked = taken < bytes.len() && self.can_write();
        taken
    }

    /// Copies received bytes without taking them; returns how many.
    pub(crate) fn peek(&self, offset: usize, out: &mut [u8], pools: &Pools) -> usize {
        let most = out.len().min(self.rx.len().saturating_sub(offset));
        self.rx.copy_out(&pools.buffers, offset, &mut out[..most])
    }

    /// Takes received bytes; returns how many.
    pub(crate) fn read(&mut self, out: &mut [u8], cx: &mut Context<'_>) -> usize {
        let count = self.rx.read(&mut cx.pools.buffers, out);
        self.took(count, cx);
        count
    }

    /// Moves bytes received here to the send queue of `to`, without a copy where whole buffers move.
    /// When the other's room or want of buffers ended it, an event of `to` tells of room.
    pub(crate) fn forward_to(
        &mut self,
        to: &mut Connection,
        max: usize,
        cx: &mut Context<'_>,
    ) -> usize {
        let room = to.room(cx.config);
        let moved = self.rx.move_to(&mut cx.pools.buffers, &mut to.tx, max.min(room));
        to.write_blocked = moved < max && !self.rx.is_empty() && to.can_write();
        self.took(moved, cx);
        moved
    }

    /// Closes our direction: a FIN after what is queued.
    pub(crate) fn shut(&mut self) {
        if self.fin_queued {
            return;
        }
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            // The FIN follows when the handshake is done.
            opening @ (State::SynSent | State::SynReceived) => opening,
            _ => return,
        };
        self.fin_queued = true;
    }

    /// The user leaves: closes, and gives up what was not read. Unread bytes mean a RST, so that the
    /// peer does not believe that they were (RFC 2525, section 2.17).
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        self.orphan = true;
        if self.state == State::SynSent {
            self.state = State::Closed;
        } else if !self.rx.is_empty() && !matches!(self.state, State::TimeWait | State::Closed) {
            self.abort(cx);
        } else {
            self.shut();
            if self.state == State::FinWait2 {
                self.close_deadline = Some(cx.now + cx.config.fin_wait_2);
            }
        }
    }

    /// Ends the connection with a RST.
    pub(crate) fn abort(&mut self, cx: &mut Context<'_>) {
        let synchronized = !matches!(self.state, State::SynSent | State::Closed | State::TimeWait);
        self.rst_pending = synchronized;
        self.end(None, cx);
    }

    /// To CLOSED, all buffers given back but what the user may still read.
    fn end(&mut self, error: Option<ConnectionError>, cx: &mut Context<'_>) {
        if self.state != State::Closed {
            self.error = error;
        }
        self.state = State::Closed;
        self.tx.clear(&mut cx.pools.buffers);
        self.drop_flight(cx);
        if let Some(mut reassembly) = self.reassembly.take() {
            reassembly.clear(&mut cx.pools.buffers);
        }
        self.send_timer = None;
        self.ack_deadline = None;
        self.close_deadline = None;
        self.ack_now = false;
        self.probe = None;
        self.event_pending = true;
    }

    /// Gives every buffer back, before the connection is dropped.
    pub(crate) fn release(&mut self, cx: &mut Context<'_>) {
        self.end(self.error, cx);
        self.drop_allotment(&mut cx.pools.buffers);
        self.rx.clear(&mut cx.pools.buffers);
    }

    /// There is no way to the peer, not for a RST either.
    pub(crate) fn unreachable(&mut self, cx: &mut Context<'_>) {
        self.rst_pending = false;
        self.end(Some(ConnectionError::Unreachable), cx);
    }

    /// The user has left and nothing is left to say: the stack can forget it.
    pub(crate) fn is_finished(&self) -> bool {
        self.orphan && self.state == State::Closed && !self.rst_pending
    }

    /// The user has left and only TIME-WAIT is left, which a small record can do.
    pub(crate) fn is_time_wait_only(&self) -> bool {
        self.orphan && self.state == State::TimeWait && !self.ack_now
    }

    /// What a TIME-WAIT record needs.
    pub(crate) fn residue(&self) -> Residue {
        Residue {
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            timestamp: self.negotiated.timestamps.then_some((self.ts_recent, self.ts_offset)),
        }
    }

    /// When [`Connection::handle_deadline`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let mut earliest = self.send_timer.map(|(at, _)| at);
        let paced = self.flight.as_ref().and_then(|flight| flight.pace_at);
        for other in [self.ack_deadline, self.close_deadline, paced] {
            if let Some(at) = other
                && earliest.is_none_or(|earliest| at < earliest)
            {
                earliest = Some(at);
            }
        }
        earliest
    }

    /// Handles every deadline that has come.
    pub(crate) fn handle_deadline(&mut self, cx: &mut Context<'_>) {
        if self.ack_deadline.is_some_and(|at| at <= cx.now) {
            self.ack_deadline = None;
            self.ack_now = true;
        }
        if self.close_deadline.is_some_and(|at| at <= cx.now) {
            self.end(None, cx);
            return;
        }
        if let Some(flight) = self.flight.as_mut() {
            flight.pace_at = flight.pace_at.filter(|&at| at > cx.now);
        }
        if let Some((at, timer)) = self.send_timer
            && at <= cx.now
        {
            self.send_timer = None;
            self.handle_send_timer(timer, cx);
        }
    }

    /// Copies bytes of the send queue for a segment.
    #[inline]
    pub(crate) fn copy_payload(&mut self, pool: &BufferPool, offset: usize, out: &mut [u8]) {
        if out.is_empty() || self.tx.copy_from_first(pool, offset, out) {
            return;
        }
        self.tx_cursor = self.tx.seek(pool, self.tx_cursor, offset);
        let copied = self.tx.copy_from(pool, self.tx_cursor, offset, out);
        assert_eq!(copied, out.len(), "segment at {offset} reaches beyond {:?}", self.tx);
    }

    /// Asserts what must hold between calls; returns how many buffers are held.
    pub(crate) fn assert_invariants(&self, pool: &BufferPool) -> usize {
        assert!(self.snd_una.at_or_before(self.snd_nxt), "{self:?}");
        assert!(self.rcv_nxt.at_or_before(self.rcv_edge), "{self:?}");
        match &self.flight {
            Some(flight) => {
                assert!(!flight.board.is_empty(), "a flight of nothing: {self:?}");
                flight.board.assert_invariants(self.snd_una, self.snd_nxt);
            }
            None => assert!(
                self.snd_una == self.snd_nxt || self.state == State::Closed,
                "nothing is known of what is in flight: {self:?}"
            ),
        }
        let reassembly = self.reassembly.as_ref().map_or(0, |held| held.buffers(pool));
        self.tx.buffers(pool) + self.rx.buffers(pool) + reassembly
    }

    /// RFC 7323 TSval: milliseconds, from an offset that depends on the four-tuple.
    fn ts_value(&self, now: Instant) -> u32 {
        (now.millis() as u32).wrapping_add(self.ts_offset)
    }
}

/// Room for the rest of what an idle connection costs, under 512 bytes in all: its places in the tables of
/// flows, identifiers and timers.
const _: () = assert!(size_of::<Connection>() <= 408);

/// What is left of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residue {
    pub snd_nxt: SeqNumber,
    pub rcv_nxt: SeqNumber,
    /// TS.Recent and our offset.
    pub timestamp: Option<(u32, u32)>,
}
