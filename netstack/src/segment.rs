//! One TCP segment, parsed or to be sent.
//!
//! In:    bytes of a TCP header and its payload; options via `smoltcp::wire`
//! Out:   `Segment`; or bytes, from a `Header`
//! Never: knows a connection
//! Read:  RFC 9293, section 3.1; RFC 7323; RFC 2018

use smoltcp::wire::TcpOption;

use crate::seq::SeqNumber;

/// Length of a TCP header without options, bytes.
pub(crate) const TCP_HEADER_LEN: usize = 20;

/// Places of the control bits (RFC 9293, section 3.1).
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const PSH: u8 = 1 << 3;
const ACK: u8 = 1 << 4;

/// Control bits that the stack acts upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// No more data from the sender.
    pub fin: bool,
    /// Synchronise sequence numbers.
    pub syn: bool,
    /// Reset the connection.
    pub rst: bool,
    /// Push.
    pub psh: bool,
    /// The acknowledgment field counts.
    pub ack: bool,
}

impl Flags {
    /// ACK alone.
    pub const ACK: Flags = Flags { fin: false, syn: false, rst: false, psh: false, ack: true };
    /// SYN alone.
    pub const SYN: Flags = Flags { fin: false, syn: true, rst: false, psh: false, ack: false };
    /// SYN and ACK.
    pub const SYN_ACK: Flags = Flags { fin: false, syn: true, rst: false, psh: false, ack: true };
    /// RST alone.
    pub const RST: Flags = Flags { fin: false, syn: false, rst: true, psh: false, ack: false };
    /// RST and ACK.
    pub const RST_ACK: Flags = Flags { fin: false, syn: false, rst: true, psh: false, ack: true };
}

impl Flags {
    /// Whether they begin a connection. With a FIN they are nobody's: no stack sends that, scanners do.
    pub(crate) fn begin(self) -> bool {
        self.syn && !self.ack && !self.rst && !self.fin
    }
}

/// SACK blocks that a header has room for without timestamps (RFC 2018, section 3); with them one less.
pub(crate) const SACK_BLOCKS_MAX: usize = 4;

/// Kind and length of an option, before its value.
const OPTION_HEADER_LEN: usize = 2;
/// Kind of the SACK option (RFC 2018, section 3).
const KIND_SACK: u8 = 5;
/// Bytes of a block: two sequence numbers.
const SACK_BLOCK_LEN: usize = 8;

/// Left and right edges of blocks that were received beyond the cumulative acknowledgment, and before them
/// at times of what was received twice (RFC 2883).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(SeqNumber, SeqNumber); SACK_BLOCKS_MAX],
    count: u8,
}

impl SackBlocks {
    /// Adds a block, unless all places are taken.
    pub fn push(&mut self, left: SeqNumber, right: SeqNumber) {
        if usize::from(self.count) < SACK_BLOCKS_MAX {
            self.blocks[usize::from(self.count)] = (left, right);
            self.count += 1;
        }
    }

    /// The blocks.
    pub fn as_slice(&self) -> &[(SeqNumber, SeqNumber)] {
        &self.blocks[..usize::from(self.count)]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As many of the blocks as fit into `len` bytes of options, which are padded to whole words.
    pub(crate) fn fitting(&self, len: usize) -> SackBlocks {
        let most = (len / 4 * 4).saturating_sub(OPTION_HEADER_LEN) / SACK_BLOCK_LEN;
        let mut fitting = SackBlocks::default();
        for &(left, right) in self.as_slice().iter().take(most) {
            fitting.push(left, right);
        }
        fitting
    }

    /// What of `left..right` none of the blocks reaches: at most the ends of it. A block in the middle
    /// does not count, since its parts beside it would have to.
    #[inline]
    pub(crate) fn unseen(
        &self,
        mut left: SeqNumber,
        mut right: SeqNumber,
    ) -> Option<(SeqNumber, SeqNumber)> {
        for &(from, to) in self.as_slice() {
            if from.at_or_before(left) && to.after(left) {
                left = to.min(right);
            }
            if from.before(right) && !to.before(right) {
                right = from.max(left);
            }
        }
        left.before(right).then_some((left, right))
    }

    fn parse(&mut self, mut bytes: &[u8]) {
        let number = |at: &[u8]| SeqNumber(u32::from_be_bytes([at[0], at[1], at[2], at[3]]));
        while let Some((block, rest)) = bytes.split_at_checked(SACK_BLOCK_LEN) {
            self.push(number(&block[..4]), number(&block[4..]));
            bytes = rest;
        }
    }

    /// Bytes of the option.
    fn option_len(&self) -> usize {
        match self.count {
            0 => 0,
            count => OPTION_HEADER_LEN + SACK_BLOCK_LEN * usize::from(count),
        }
    }

    /// Writes the option; returns what of `bytes` is left.
    fn emit<'b>(&self, bytes: &'b mut [u8]) -> &'b mut [u8] {
        let (option, rest) = bytes.split_at_mut(self.option_len());
        let Some((header, blocks)) = option.split_at_mut_checked(OPTION_HEADER_LEN) else {
            return rest;
        };
        header.copy_from_slice(&[KIND_SACK, self.option_len() as u8]);
        for (bytes, (left, right)) in blocks.chunks_exact_mut(SACK_BLOCK_LEN).zip(self.as_slice()) {
            bytes[..4].copy_from_slice(&left.0.to_be_bytes());
            bytes[4..].copy_from_slice(&right.0.to_be_bytes());
        }
        rest
    }
}

/// What stands in front of a timestamp that is the only option: two NOPs, kind 8, length 10.
const STAMP_ALONE: [u8; 4] = [1, 1, 8, 10];
/// Bytes of it, with its two values.
const STAMP_ALONE_LEN: usize = 12;

/// The options that the stack reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size, only with SYN.
    pub mss: Option<u16>,
    /// Window scale, only with SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted, only with SYN.
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamp: Option<(u32, u32)>,
    /// SACK blocks.
    pub sack: SackBlocks,
}

impl Options {
    /// Whether there is a timestamp at most, as in nearly every segment.
    #[inline]
    fn are_usual(&self) -> bool {
        let on_syn = self.mss.is_some() || self.window_scale.is_some() || self.sack_permitted;
        !on_syn && self.sack.is_empty()
    }

    /// Bytes that they take, padded to a multiple of four.
    pub(crate) fn len(&self) -> usize {
        if self.are_usual() {
            return if self.timestamp.is_some() { STAMP_ALONE_LEN } else { 0 };
        }
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 3;
        }
        if self.sack_permitted {
            len += 2;
        }
        if self.timestamp.is_some() {
            len += 10;
        }
        len += self.sack.option_len();
        len.div_ceil(4) * 4
    }

    #[inline]
    fn parse(bytes: &[u8]) -> Options {
        // Nearly every segment has a timestamp and nothing else, as RFC 7323, appendix A, lays it out.
        if let Some((&STAMP_ALONE, stamp)) = bytes.split_first_chunk()
            && let Ok(stamp) = <[u8; 8]>::try_from(stamp)
        {
            let stamp = u64::from_be_bytes(stamp);
            let timestamp = Some(((stamp >> 32) as u32, stamp as u32));
            return Options { timestamp, ..Options::default() };
        }
        if bytes.is_empty() { Options::default() } else { Options::parse_list(bytes) }
    }

    #[cold]
    fn parse_list(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        while !bytes.is_empty() {
            // A malformed option ends the list: what was understood before it counts (RFC 9293, 3.1).
            let Ok((rest, option)) = TcpOption::parse(bytes) else { break };
            match option {
                TcpOption::EndOfList => break,
                TcpOption::MaxSegmentSize(mss) => options.mss = Some(mss),
                // RFC 7323, section 2.3: larger shifts count as 14.
                TcpOption::WindowScale(shift) => options.window_scale = Some(shift.min(14)),
                TcpOption::SackPermitted => options.sack_permitted = true,
                // Read here: smoltcp's has room for three blocks.
                TcpOption::SackRange(_) => {
                    let value = OPTION_HEADER_LEN..usize::from(bytes[1]);
                    options.sack.parse(bytes.get(value).unwrap_or_default());
                }
                TcpOption::TimeStamp { tsval, tsecr } => options.timestamp = Some((tsval, tsecr)),
                TcpOption::NoOperation | TcpOption::Unknown { .. } => {}
            }
            bytes = rest;
        }
        options
    }

    fn emit(&self, mut bytes: &mut [u8]) {
        if let Some((tsval, tsecr)) = self.timestamp
            && self.are_usual()
        {
            // Alone, it stands where peers look for it first.
            bytes[..4].copy_from_slice(&STAMP_ALONE);
            bytes[4..8].copy_from_slice(&tsval.to_be_bytes());
            bytes[8..].copy_from_slice(&tsecr.to_be_bytes());
            return;
        }
        if let Some(mss) = self.mss {
            bytes = TcpOption::MaxSegmentSize(mss).emit(bytes);
        }
        if let Some(shift) = self.window_scale {
            bytes = TcpOption::WindowScale(shift).emit(bytes);
        }
        if self.sack_permitted {
            bytes = TcpOption::SackPermitted.emit(bytes);
        }
        if let Some((tsval, tsecr)) = self.timestamp {
            bytes = TcpOption::TimeStamp { tsval, tsecr }.emit(bytes);
        }
        bytes = self.sack.emit(bytes);
        while !bytes.is_empty() {
            bytes = TcpOption::NoOperation.emit(bytes);
        }
    }
}

/// Where the payload of a segment begins; `None` when the segment is shorter than that.
pub(crate) fn header_len(bytes: &[u8]) -> Option<usize> {
    let len = usize::from(bytes.get(12)? >> 4) * 4;
    (TCP_HEADER_LEN..=bytes.len()).contains(&len).then_some(len)
}

/// Ports of source and destination of a segment that has a header.
pub(crate) fn ports(bytes: &[u8]) -> [u16; 2] {
    [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
}

/// A segment as it came.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// SEG.SEQ
    pub seq: SeqNumber,
    /// SEG.ACK; counts when the flag says so.
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as on the wire, not scaled.
    pub window: u16,
    /// The options.
    pub options: Options,
    /// SEG.DATA
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a segment of which [`header_len`] told where its payload begins.
    #[inline]
    pub(crate) fn read(bytes: &'a [u8], header_len: usize) -> Segment<'a> {
        let (header, payload) = bytes.split_at(header_len);
        let (fixed, options) = header.split_at(TCP_HEADER_LEN);
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let bit = |place: u8| fixed[13] & place != 0;
        Segment {
            seq: SeqNumber(word(4)),
            ack: SeqNumber(word(8)),
            flags: Flags {
                fin: bit(FIN),
                syn: bit(SYN),
                rst: bit(RST),
                psh: bit(PSH),
                ack: bit(ACK),
            },
            window: half(14),
            options: Options::parse(options),
            payload,
        }
    }

    /// SEG.LEN: payload, and one each for SYN and FIN.
    pub fn len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.flags.syn) + u32::from(self.flags.fin)
    }

    /// Whether it takes no sequence space.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number after its last.
    pub fn end(&self) -> SeqNumber {
        self.seq + self.len()
    }
}

/// A segment to be sent, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// SEG.SEQ
    pub seq: SeqNumber,
    /// SEG.ACK
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as on the wire.
    pub window: u16,
    /// The options.
    pub options: Options,
}

impl Header {
    /// A segment with control bits and numbers, nothing else.
    pub(crate) fn bare(seq: SeqNumber, ack: SeqNumber, flags: Flags) -> Header {
        Header { seq, ack, flags, window: 0, options: Options::default() }
    }

    /// Bytes of the TCP header with its options.
    pub(crate) fn len(&self) -> usize {
        TCP_HEADER_LEN + self.options.len()
    }

    /// Writes the header into `bytes`, which are as many as it takes, with these ports of source and
    /// destination; the place of the checksum is left zero.
    #[inline]
    pub(crate) fn emit(&self, bytes: &mut [u8], [source, destination]: [u16; 2]) {
        let Flags { fin, syn, rst, psh, ack } = self.flags;
        let bit = |set: bool, place: u8| if set { place } else { 0 };
        let mut fixed = [0; TCP_HEADER_LEN];
        fixed[..2].copy_from_slice(&source.to_be_bytes());
        fixed[2..4].copy_from_slice(&destination.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = ((bytes.len() / 4) << 4) as u8;
        fixed[13] = bit(fin, FIN) | bit(syn, SYN) | bit(rst, RST) | bit(psh, PSH) | bit(ack, ACK);
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        let (header, options) = bytes.split_at_mut(TCP_HEADER_LEN);
        header.copy_from_slice(&fixed);
        if !options.is_empty() {
            self.options.emit(options);
        }
    }
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::TcpPacket;

    use super::*;

    /// What we read is what smoltcp reads, whatever the bytes are.
    #[test]
    fn smoltcp_agrees() {
        let mut state = 1_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let mut read = 0;
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = (0..20 + round % 60).map(|_| random()).collect();
            bytes[12] = (bytes[12] % 6 + 4) << 4;
            let theirs = TcpPacket::new_checked(&bytes[..]);
            let len = header_len(&bytes);
            assert_eq!(len.is_some(), theirs.is_ok());
            let (Some(len), Ok(theirs)) = (len, theirs) else { continue };
            let ours = Segment::read(&bytes, len);
            read += 1;
            assert_eq!(ports(&bytes), [theirs.src_port(), theirs.dst_port()]);
            assert_eq!(ours.seq.0 as i32, theirs.seq_number().0);
            assert_eq!(ours.ack.0 as i32, theirs.ack_number().0);
            assert_eq!((ours.window, ours.payload), (theirs.window_len(), theirs.payload()));
            let Flags { fin, syn, rst, psh, ack } = ours.flags;
            let flags = (theirs.fin(), theirs.syn(), theirs.rst(), theirs.psh(), theirs.ack());
            assert_eq!((fin, syn, rst, psh, ack), flags);
        }
        assert!(read > 5000, "{read}");
    }

    #[test]
    fn is_read_as_it_was_written() {
        let stamp = Options { timestamp: Some((7, 9)), ..Options::default() };
        let mut sack = SackBlocks::default();
        sack.push(SeqNumber(1), SeqNumber(5));
        sack.push(SeqNumber(10), SeqNumber(u32::MAX));
        let syn = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..stamp };
        for options in [Options::default(), stamp, syn, Options { sack, ..stamp }] {
            let flags = Flags { fin: true, psh: true, ..Flags::ACK };
            let (seq, ack) = (SeqNumber(0x0102_0304), SeqNumber(0xfffe_fdfc));
            let header = Header { seq, ack, flags, window: 0x1234, options };
            let mut bytes = vec![0xee; header.len()];
            header.emit(&mut bytes, [80, 40_000]);
            bytes.extend(b"data");
            assert_eq!(header_len(&bytes), Some(header.len()));
            let read = Segment::read(&bytes, header.len());
            assert_eq!((ports(&bytes), read.payload), ([80, 40_000], &b"data"[..]));
            assert_eq!((read.seq, read.ack, read.flags), (seq, ack, flags));
            assert_eq!((read.window, read.options), (0x1234, options));
            assert_eq!(bytes[16..20], [0; 4], "checksum and urgent pointer");
        }
    }

    /// Two bytes of padding were forgotten: a segment was longer than the path takes.
    #[test]
    fn blocks_that_fit_do_so_with_their_padding() {
        let mut blocks = SackBlocks::default();
        for seq in [100, 300, 500, 700] {
            blocks.push(SeqNumber(seq), SeqNumber(seq + 100));
        }
        for room in 0..=40 {
            let sack = blocks.fitting(room);
            let len = Options { sack, ..Options::default() }.len();
            assert!(len <= room, "{len} of {room}");
        }
        assert_eq!(
            [11, 12, 27, 28].map(|room| blocks.fitting(room).as_slice().len()),
            [0, 1, 2, 3]
        );
    }
}
