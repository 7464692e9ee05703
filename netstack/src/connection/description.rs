//! What an operator sees of a connection, as `ss -ti` shows it for the kernel's.
//!
//! In:    a connection
//! Out:   its figures, and a line of them
//! Read:  RFC 9293, section 3.3.1, for the names of the sequence space

use std::fmt;
use std::time::Duration;

use super::congestion::CongestionControl;
use super::{Algorithm, Connection, Context, SendTimer, State};
use crate::flow::FourTuple;

/// The figures of one connection at one moment. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Both ends.
    pub tuple: FourTuple,
    /// The state.
    pub state: State,
    /// SRTT; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// RTTVAR.
    pub rttvar: Duration,
    /// The least round trip of late.
    pub min_rtt: Option<Duration>,
    /// The retransmission timeout, backed off.
    pub rto: Duration,
    /// The congestion window that counts now.
    pub cwnd: u32,
    /// The slow start threshold; `None` before the first loss.
    pub ssthresh: Option<u32>,
    /// The algorithm.
    pub congestion: Algorithm,
    /// Believed to be on its way.
    pub in_flight: u32,
    /// Segments believed lost and not sent again yet.
    pub lost: u32,
    /// Segments that the peer has, out of order.
    pub sacked: u32,
    /// Segments sent again since the beginning.
    pub retransmits: u32,
    /// Recoveries that were taken back because nothing had been lost.
    pub undone: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// Our window, as offered.
    pub rcv_wnd: u32,
    /// What our window may grow to by now.
    pub rcv_buffer: u32,
    /// Largest segment that we send, payload and options.
    pub mss: u16,
    /// The same in packets: the path's MTU as far as it is known.
    pub pmtu: u16,
    /// Written by the user and not acknowledged.
    pub send_queue: usize,
    /// Received and not read by the user.
    pub receive_queue: usize,
    /// Received before its turn.
    pub out_of_order: usize,
    /// The timer of sending that runs, and how long it has to go.
    pub timer: Option<(&'static str, Duration)>,
    /// Since the peer was last heard.
    pub silent_for: Duration,
    /// RFC 7323 timestamps, RFC 2018 SACK, and the two shifts of windows (theirs, ours).
    pub options: (bool, bool, u8, u8),
}

impl Connection {
    /// The figures at this moment.
    pub(crate) fn describe(&self, headers_len: u16, cx: &Context<'_>) -> Description {
        let ssthresh = self.congestion.ssthresh();
        let timer = self.send_timer.map(|(at, timer)| (timer.name(), at.since(cx.now)));
        Description {
            tuple: self.tuple,
            state: self.state,
            srtt: self.rtt.srtt().map(Into::into),
            rttvar: self.rtt.rttvar().into(),
            min_rtt: self.rtt.min_rtt().map(Into::into),
            rto: self.rtt.rto().into(),
            cwnd: self.cwnd(),
            ssthresh: (ssthresh != u32::MAX).then_some(ssthresh),
            congestion: self.congestion.algorithm(),
            in_flight: self.in_flight(),
            lost: self.lost(),
            sacked: self.flight.as_ref().map_or(0, |flight| flight.board.sacked()),
            retransmits: self.experience.retransmits,
            undone: self.experience.undone,
            snd_wnd: self.snd_wnd,
            rcv_wnd: self.rcv_edge - self.rcv_nxt,
            rcv_buffer: self.rcv_buffer,
            mss: self.mss,
            pmtu: self.mss.saturating_add(headers_len),
            send_queue: self.tx.len(),
            receive_queue: self.rx.len(),
            out_of_order: self.reassembly.as_ref().map_or(0, |held| held.len()),
            timer,
            silent_for: cx.now.since(self.last_heard),
            options: (
                self.negotiated.timestamps,
                self.negotiated.sack,
                self.negotiated.snd_scale,
                self.negotiated.rcv_scale,
            ),
        }
    }
}

impl SendTimer {
    /// What it waits for.
    fn name(self) -> &'static str {
        match self {
            SendTimer::Retransmit => "retransmit",
            SendTimer::TailProbe => "tail-probe",
            SendTimer::Reordering => "reordering",
            SendTimer::Persist => "persist",
            SendTimer::Keepalive => "keepalive",
        }
    }
}

/// Milliseconds with three places.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

impl fmt::Display for Description {
    /// One line of `key:value`, in the words of `ss -ti` where it has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (timestamps, sack, snd_scale, rcv_scale) = self.options;
        let algorithm = match self.congestion {
            Algorithm::Cubic => "cubic",
            Algorithm::Reno => "reno",
        };
        write!(f, "{} {} {}", self.tuple.local, self.tuple.remote, self.state)?;
        write!(f, " recv-q:{} send-q:{} {algorithm}", self.receive_queue, self.send_queue)?;
        for (set, name) in [(timestamps, " ts"), (sack, " sack")] {
            f.write_str(if set { name } else { "" })?;
        }
        write!(f, " wscale:{snd_scale},{rcv_scale} rto:{}", Millis(self.rto))?;
        if let Some(srtt) = self.srtt {
            write!(f, " rtt:{}/{}", Millis(srtt), Millis(self.rttvar))?;
        }
        if let Some(least) = self.min_rtt {
            write!(f, " minrtt:{}", Millis(least))?;
        }
        write!(f, " mss:{} pmtu:{} cwnd:{}", self.mss, self.pmtu, self.cwnd)?;
        if let Some(ssthresh) = self.ssthresh {
            write!(f, " ssthresh:{ssthresh}")?;
        }
        write!(f, " inflight:{} lost:{} sacked:{}", self.in_flight, self.lost, self.sacked)?;
        write!(f, " retrans:{} undone:{}", self.retransmits, self.undone)?;
        write!(f, " snd_wnd:{} rcv_wnd:{}", self.snd_wnd, self.rcv_wnd)?;
        write!(f, " rcv_space:{} ooo:{}", self.rcv_buffer, self.out_of_order)?;
        if let Some((name, left)) = self.timer {
            write!(f, " timer:{name},{}", Millis(left))?;
        }
        write!(f, " lastrcv:{}", self.silent_for.as_millis())
    }
}

impl fmt::Display for State {
    /// The name of RFC 9293, section 3.3.2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "CLOSED",
        })
    }
}
