//! Every state against every kind of segment, in every place, with every acknowledgment: RFC 9293,
//! section 3.10.7.4, told once more as a table and compared.

use super::{BASES, Host, OWN_MSS, config};
use crate::connection::State;
use crate::connection::receive::Verdict;
use crate::segment::{Flags, Options, Segment};

/// How each synchronised state is reached, from our SYN on.
const STATES: [(State, &str); 9] = [
    (State::SynReceived, "< S 0:0(0)\n > S. 0:0(0) ack 1"),
    (State::Established, "{open}"),
    (State::FinWait1, "{open}\n shut\n > F. 1:1(0) ack 1"),
    (State::FinWait2, "{open}\n shut\n > F. 1:1(0) ack 1\n < . 1:1(0) ack 2"),
    (State::CloseWait, "{open}\n < F. 1:1(0) ack 1\n > . 1:1(0) ack 2"),
    (State::Closing, "{open}\n shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 1\n > . 2:2(0) ack 2"),
    (State::LastAck, "{open}\n < F. 1:1(0) ack 1\n > . 1:1(0) ack 2\n shut\n > F. 1:1(0) ack 2"),
    (State::TimeWait, "{open}\n shut\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 2\n > . 2:2(0) ack 2"),
    (State::Closed, "{open}\n abort\n > R. 1:1(0) ack 1"),
];

const OPEN: &str = "< S. 0:0(0) ack 1\n > . 1:1(0) ack 1";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    NoAck,
    Fin,
    Rst,
    Data,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Left,
    Next,
    Within,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Acknowledges {
    /// SND.UNA, again: in SYN-RECEIVED that is not enough.
    Nothing,
    /// SND.NXT: all there is.
    All,
    /// Beyond SND.NXT.
    Future,
}

/// What the standard says: verdict, state, and whether there is an answer.
fn expected(
    state: State,
    kind: Kind,
    place: Place,
    ack: Acknowledges,
) -> (&'static str, State, bool) {
    let bare = matches!(kind, Kind::Ack | Kind::NoAck | Kind::Rst);
    let fin_is_acked = ack == Acknowledges::All;
    let acked = match state {
        State::FinWait1 if fin_is_acked => State::FinWait2,
        State::Closing if fin_is_acked => State::TimeWait,
        State::LastAck if fin_is_acked => State::Closed,
        other => other,
    };
    if state == State::Closed {
        return ("Unexpected", state, false);
    }
    // First: the sequence number. What repeats something still acknowledges.
    if matches!(place, Place::Left | Place::Right) {
        let repeats = place == Place::Left
            && !matches!(kind, Kind::Rst | Kind::Syn | Kind::SynAck | Kind::NoAck)
            && state != State::SynReceived
            && ack != Acknowledges::Future;
        let after = if repeats { acked } else { state };
        return ("OutOfWindow", after, kind != Kind::Rst && after != State::Closed);
    }
    match kind {
        // Second: RST, exact or challenged.
        Kind::Rst if place == Place::Next => return ("Accepted", State::Closed, false),
        Kind::Rst => return ("Challenged", state, true),
        // Fourth: SYN, always challenged.
        Kind::Syn | Kind::SynAck => return ("Challenged", state, true),
        // Fifth: ACK, or nothing.
        Kind::NoAck => return ("Unexpected", state, false),
        _ => {}
    }
    let acked = match (state, ack) {
        (State::SynReceived, Acknowledges::All) => State::Established,
        (State::SynReceived, _) => return ("Stale", state, false),
        (_, Acknowledges::Future) => return ("BadAck", state, true),
        _ => acked,
    };
    if acked == State::Closed {
        return ("Accepted", acked, false);
    }
    // Seventh and eighth: text and FIN, where they are expected.
    let receives = matches!(acked, State::Established | State::FinWait1 | State::FinWait2);
    let after = match acked {
        _ if kind != Kind::Fin || place != Place::Next => acked,
        State::Established => State::CloseWait,
        State::FinWait1 => State::Closing,
        State::FinWait2 => State::TimeWait,
        other => other,
    };
    ("Accepted", after, receives && !bare && kind != Kind::SynAck)
}

#[test]
fn every_state_meets_every_segment() {
    let mut cases = 0;
    for base in BASES {
        for (state, script) in STATES {
            for kind in
                [Kind::Syn, Kind::SynAck, Kind::Ack, Kind::NoAck, Kind::Fin, Kind::Rst, Kind::Data]
            {
                for place in [Place::Left, Place::Next, Place::Within, Place::Right] {
                    for ack in [Acknowledges::Nothing, Acknowledges::All, Acknowledges::Future] {
                        let mut host = Host::new(base, &config(), None);
                        host.place = format!("{state:?} {kind:?} {place:?} {ack:?} {base:?}");
                        for line in
                            format!("> S 0:0(0)\n{}", script.replace("{open}", OPEN)).lines()
                        {
                            host.step(line.trim());
                        }
                        assert_eq!(host.connection.state(), state, "{}", host.place);
                        compare(&mut host, kind, place, ack);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 4 * 9 * 7 * 4 * 3);
}

fn compare(host: &mut Host, kind: Kind, place: Place, ack: Acknowledges) {
    let connection = &host.connection;
    let state = connection.state();
    let flag = |of: &[Kind]| of.contains(&kind);
    let flags = Flags {
        syn: flag(&[Kind::Syn, Kind::SynAck]),
        fin: flag(&[Kind::Fin]),
        rst: flag(&[Kind::Rst]),
        psh: false,
        ack: flag(&[Kind::SynAck, Kind::Ack, Kind::Fin, Kind::Data]),
    };
    let segment = Segment {
        seq: match place {
            Place::Left => connection.rcv_nxt - 200,
            Place::Next => connection.rcv_nxt,
            Place::Within => connection.rcv_nxt + 200,
            Place::Right => connection.rcv_edge + 1,
        },
        ack: match ack {
            Acknowledges::Nothing => connection.snd_una,
            Acknowledges::All => connection.snd_nxt,
            Acknowledges::Future => connection.snd_nxt + 1,
        },
        flags,
        window: 60000,
        options: Options::default(),
        payload: if kind == Kind::Data { &[7; 100] } else { &[] },
    };
    // Some states have nothing in flight: then all there is is nothing new.
    let nothing_in_flight = connection.snd_una == connection.snd_nxt;
    let ack =
        if nothing_in_flight && ack == Acknowledges::Nothing { Acknowledges::All } else { ack };
    let (verdict, after, answers) = expected(state, kind, place, ack);
    let got: Verdict = host.with(|connection, cx| connection.handle_segment(&segment, cx));
    assert!(format!("{got:?}").starts_with(verdict), "{got:?}, not {verdict}: {}", host.place);
    assert_eq!(host.connection.state(), after, "{}", host.place);
    let answer = host.with(|connection, cx| connection.poll_segment(OWN_MSS, cx));
    assert_eq!(answer.is_some(), answers, "{answer:?}: {}", host.place);
    assert_eq!(
        host.with(|connection, cx| connection.poll_segment(OWN_MSS, cx)),
        None,
        "once: {}",
        host.place
    );
    let held = host.connection.assert_invariants(&host.pools.buffers);
    assert_eq!(held, host.pools.buffers.stats().used);
}
