//! SYN cookies: what a handshake beyond every bound is remembered by, in the peer's memory instead of ours.
//!
//! In:    SYNs that get no record; acknowledgments that nothing here knows
//! Out:   an initial sequence number that holds all that the SYN said; or, from its return, what that was
//! Owns:  until when acknowledgments may bring one back
//! Never: keeps anything of a peer; believes a cookie that is older than two steps
//! Read:  RFC 4987, section 3.6; RFC 6528
//!
//! ```text
//!  31                             9   8   7   6     3 2   0
//! +--------------------------------+----+----+-------+-----+
//! | keyed hash, 23 bits            |step|SACK| scale | MSS |
//! +--------------------------------+----+----+-------+-----+
//! ```
//!
//! The hash covers both ends, the peer's initial sequence number, the worker, the step and the nine bits below it. A
//! worker believes only its own: what was begun with one is completed there, wherever its segments arrive, as if
//! there were a record. If any worker took it, two of them might, each from its copy. The lowest bit of the step tells which of
//! the two steps that count it is from, so one hash decides. A guess is right once in 2^23 times, and makes a
//! connection from an address that the guesser cannot hear at.
//!
//! Everything that a SYN can ask for is preserved, whether there are timestamps or not: the window scale and SACK
//! exactly, the MSS as the next smaller of eight. That timestamps are in use the acknowledgment itself tells: a
//! peer that agreed on them sends them with every segment (RFC 7323, section 3.2). What is lost is the round-trip
//! time of the handshake, the TSval of the SYN (the one of the acknowledgment takes its place) and the SYN-ACK's
//! retransmission: a peer that does not get it asks again.
//!
//! An acknowledgment that comes twice makes a second connection if the first one has gone in between, for as long
//! as the cookie counts. It is the peer's own, from its own address.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::flow::{FourTuple, Secret};
use crate::handshake::SynOptions;
use crate::seq::SeqNumber;
use crate::stack::usage;
use crate::time::Instant;

/// How long cookies are made alike. They count in the step that they are from and in the next one: long enough
/// for a SYN-ACK and its answer on any path.
const STEP: Duration = Duration::from_secs(64);

/// Largest segments that a cookie can tell of, bytes. The least is what the least announcement counts as; then the
/// defaults of IPv4 and IPv6, tunnels, mobile networks, Ethernet with PPPoE and IPv6, Ethernet, jumbo frames.
const MSS: [u16; 8] = [88, 536, 1220, 1360, 1400, 1440, 1460, 8940];
/// In the place of a window scale: none. RFC 7323, section 2.3, ends at 14.
const NO_SCALE: u8 = 15;
/// Bits below the hash.
const DATA_BITS: u32 = 9;

/// The cookies of one worker.
pub(crate) struct SynCookies {
    secret: Secret,
    worker: usize,
    /// The last one that was sent counts until then at most.
    count_until: Instant,
}

impl SynCookies {
    pub fn new(secret: Secret, worker: usize) -> Self {
        SynCookies { secret, worker, count_until: Instant::ZERO }
    }

    /// Whether an acknowledgment may bring one back: without a flood none is looked for.
    pub fn are_out(&self, now: Instant) -> bool {
        now < self.count_until
    }

    /// The initial sequence number that answers a SYN.
    pub fn make(
        &mut self,
        tuple: &FourTuple,
        irs: SeqNumber,
        syn: &SynOptions,
        now: Instant,
    ) -> SeqNumber {
        self.count_until = now + 2 * STEP;
        let step = step_at(now);
        let data = encode(syn, tuple.remote.ip) | ((step & 1) as u32) << 8;
        SeqNumber(self.hash(tuple, irs, step, data) << DATA_BITS | data)
    }

    /// What the SYN said that `iss` answered; `None` when it is no cookie, or too old a one.
    pub fn open(
        &self,
        tuple: &FourTuple,
        irs: SeqNumber,
        iss: SeqNumber,
        now: Instant,
    ) -> Option<SynOptions> {
        let data = iss.0 & ((1 << DATA_BITS) - 1);
        let latest = step_at(now);
        let is_previous = (latest ^ u64::from(data >> 8)) & 1;
        let step = latest.checked_sub(is_previous)?;
        let is_ours = iss.0 >> DATA_BITS == self.hash(tuple, irs, step, data);
        is_ours.then(|| decode(data))
    }

    /// The 23 bits.
    fn hash(&self, tuple: &FourTuple, irs: SeqNumber, step: u64, data: u32) -> u32 {
        let mut hasher = self.secret.build_hasher();
        hasher.write_u8(usage::SYN_COOKIE);
        tuple.hash(&mut hasher);
        hasher.write_usize(self.worker);
        hasher.write_u64(step);
        hasher.write_u64(u64::from(irs.0) << 32 | u64::from(data));
        (hasher.finish() >> (32 + DATA_BITS)) as u32
    }
}

fn step_at(now: Instant) -> u64 {
    now.since(Instant::ZERO).as_secs() / STEP.as_secs()
}

/// The options in eight bits.
fn encode(syn: &SynOptions, peer: IpAddr) -> u32 {
    let mss = syn.mss.unwrap_or(if peer.is_ipv4() { 536 } else { 1220 });
    let place = MSS.iter().rposition(|&known| known <= mss).unwrap_or(0);
    let scale = syn.window_scale.unwrap_or(NO_SCALE);
    u32::from(syn.sack_permitted) << 7 | u32::from(scale) << 3 | place as u32
}

fn decode(data: u32) -> SynOptions {
    let scale = (data >> 3 & 0xf) as u8;
    SynOptions {
        mss: Some(MSS[(data & 0x7) as usize]),
        window_scale: (scale != NO_SCALE).then_some(scale),
        sack_permitted: data >> 7 & 1 != 0,
        tsval: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    const IRS: SeqNumber = SeqNumber(0xffff_fff0);

    fn tuple(port: u16) -> FourTuple {
        let end = |last, port| Endpoint::new(IpAddr::from([10, 0, 0, last]), port);
        FourTuple { local: end(1, 80), remote: end(2, port) }
    }

    fn syn() -> SynOptions {
        SynOptions { mss: Some(1460), window_scale: Some(7), sack_permitted: true, tsval: None }
    }

    fn seconds(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn gives_back_what_the_syn_said() {
        let mut cookies = SynCookies::new(Secret([3; 16]), 0);
        for scale in (0..=14).map(Some).chain([None]) {
            for sack_permitted in [false, true] {
                for mss in MSS {
                    let said = SynOptions {
                        mss: Some(mss),
                        window_scale: scale,
                        sack_permitted,
                        tsval: None,
                    };
                    let iss = cookies.make(&tuple(4000), IRS, &said, seconds(1000));
                    let heard = cookies.open(&tuple(4000), IRS, iss, seconds(1000));
                    assert_eq!(heard, Some(said));
                }
            }
        }
    }

    #[test]
    fn says_no_larger_mss_than_the_peer_did() {
        let said = |mss, peer: IpAddr| decode(encode(&SynOptions { mss, ..syn() }, peer)).mss;
        let (v4, v6) = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([0; 16]));
        for mss in 88..=u16::MAX {
            assert!(said(Some(mss), v4).is_some_and(|told| told <= mss), "{mss}");
        }
        assert_eq!([said(None, v4), said(None, v6)], [Some(536), Some(1220)]);
        assert_eq!([said(Some(0), v4), said(Some(1452), v4)], [Some(88), Some(1440)]);
    }

    #[test]
    fn counts_in_its_step_and_the_next() {
        let mut cookies = SynCookies::new(Secret([3; 16]), 0);
        for made in [0, 63, 64, 1000] {
            let iss = cookies.make(&tuple(4000), IRS, &syn(), seconds(made));
            let end = (made / 64 + 2) * 64;
            for at in made..made + 1000 {
                let opened = cookies.open(&tuple(4000), IRS, iss, seconds(at));
                assert_eq!(opened.is_some(), at < end, "made at {made}, opened at {at}");
            }
            assert!(cookies.are_out(seconds(end - 1)) && !cookies.are_out(seconds(made + 128)));
        }
        // A clock that is behind the worker's that made it: the step before the first does not count.
        let iss = cookies.make(&tuple(4000), IRS, &syn(), seconds(64));
        assert_eq!(cookies.open(&tuple(4000), IRS, iss, seconds(63)), None);
    }

    #[test]
    fn belongs_to_one_handshake_of_one_worker() {
        let mut cookies = SynCookies::new(Secret([3; 16]), 0);
        let iss = cookies.make(&tuple(4000), IRS, &syn(), seconds(1000));
        let open = |port, irs, iss| cookies.open(&tuple(port), irs, iss, seconds(1000));
        assert_eq!(open(4000, IRS, iss), Some(syn()));
        assert_eq!(open(4001, IRS, iss), None);
        assert_eq!(open(4000, IRS + 1, iss), None);
        for bit in 0..32 {
            assert_eq!(open(4000, IRS, SeqNumber(iss.0 ^ 1 << bit)), None, "bit {bit}");
        }
        let same = SynCookies::new(Secret([3; 16]), 0);
        assert_eq!(same.open(&tuple(4000), IRS, iss, seconds(1000)), Some(syn()));
        for (secret, worker) in [(4, 0), (3, 1)] {
            let other = SynCookies::new(Secret([secret; 16]), worker);
            assert_eq!(other.open(&tuple(4000), IRS, iss, seconds(1000)), None);
        }
    }

    #[test]
    fn is_rarely_guessed() {
        let cookies = SynCookies::new(Secret([3; 16]), 0);
        // Two in 2^24 tries are expected; ten or more come once in 20,000 keys, and this key stays.
        let guesses = (0..1 << 24).map(|at: u32| SeqNumber(at.wrapping_mul(0x9e37_79b1)));
        let hits =
            guesses.filter(|&iss| cookies.open(&tuple(4000), IRS, iss, seconds(1000)).is_some());
        assert!(hits.count() < 10);
    }
}
