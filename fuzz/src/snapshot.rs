//! Snapshots that are no snapshots, and connections that go on from one that somebody changed.
//!
//! In:    bytes: a snapshot; or a program of segments, a place in it, and changes of the snapshot taken there
//! Out:   a panic if a snapshot breaks the stack, now or later, or if something is held at the end
//! Owns:  the checksum: it is made right after a change, else nothing but the checksum would be tested
//! Never: expects the right bytes of a connection that was tampered with; the other one's are still checked
//! Read:  [`crate::segments`], whose programs these are
//!
//! The first byte chooses: the rest as it is, the rest with its head and checksum made right, or a program.

use arbitrary::{Arbitrary, Unstructured};
use netstack::ConnId;

use crate::assert_nothing_stays;
use crate::common::lab::Lab;
use crate::segments::Run;
use crate::segments::program::{Distance, Program, Side};

/// Magic and version of a snapshot.
const HEAD: [u8; 6] = *b"xlbc\0\x01";
/// The checksum at its end.
const CRC_LEN: usize = 4;

/// What happens to a connection in the middle of a program.
#[derive(Arbitrary, Debug)]
struct Tampering {
    side: Side,
    /// Before this action of the program, modulo their number.
    before: u8,
    /// The checksum is wrong afterwards.
    leaves_checksum: bool,
    /// So many of the changes are made, modulo four.
    count: u8,
    changes: [Change; 3],
}

/// A change of a snapshot. Places are modulo its length; the small ones are in front of the queues.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Change {
    Byte {
        at: u8,
        to: u8,
    },
    Number {
        at: u8,
        by: Distance,
    },
    AnyByte {
        at: u16,
        to: u8,
    },
    AnyNumber {
        at: u16,
        by: Distance,
    },
    Bit {
        at: u16,
        bit: u8,
    },
    Remove {
        at: u16,
        len: u8,
    },
    Double {
        at: u16,
        len: u8,
    },
    Truncate {
        at: u16,
    },
    /// Two to the power of so many instead of a number: those of 64 bits are times.
    Power {
        at: u16,
        bits: u8,
    },
}

/// Runs what `data` says.
pub fn run(data: &[u8]) {
    match data {
        [mode, bytes @ ..] if mode % 4 == 0 => decode(bytes),
        [mode, bytes @ ..] if mode % 4 == 1 => {
            let mut whole = [&HEAD, bytes, &[0; CRC_LEN]].concat();
            make_checksum_right(&mut whole);
            decode(&whole);
        }
        [_, bytes @ ..] => {
            if let Some((tampering, program)) = parse(bytes) {
                go_on(&tampering, &program);
            }
        }
        [] => {}
    }
}

/// What `data` says, to be read.
pub fn describe(data: &[u8]) -> String {
    match data {
        [mode, bytes @ ..] if mode % 4 > 1 => format!("{:#?}", parse(bytes)),
        _ => format!("{} bytes: {data:02x?}", data.len()),
    }
}

fn parse(bytes: &[u8]) -> Option<(Tampering, Program)> {
    let mut bytes = Unstructured::new(bytes);
    let tampering = bytes.arbitrary().ok()?;
    Some((tampering, Program::parse(bytes.take_rest())?))
}

/// Bytes from anywhere: taken or refused, and nothing stays either way.
fn decode(bytes: &[u8]) {
    let mut lab = Lab::new();
    lab.listen(4);
    if let Ok(id) = lab.stack.restore(bytes, 9, lab.now) {
        lab.stack.assert_invariants();
        take_again(&mut lab, id);
        lab.stack.send(id, &[1; 3000], lab.now);
        lab.stack.recv(id, &mut [0; 3000], lab.now);
        lab.speak();
        lab.stack.close(id, lab.now);
    }
    assert_nothing_stays(&mut lab);
}

/// What can be read can be written, and read again.
fn take_again(lab: &mut Lab, id: ConnId) {
    // One that nobody has and that only waits is a record, and no connection, at once.
    let Some(again) = lab.stack.snapshot(id, lab.now) else { return };
    lab.stack.restore(&again, 9, lab.now).expect_err("the same two ends twice");
    let mut other = Lab::new();
    let taken = other.stack.restore(&again, 9, lab.now);
    let twice = other.stack.snapshot(taken.expect("it was written just now"), lab.now);
    assert_eq!(twice.as_ref(), Some(&again), "it says something else");
}

/// A program, in the middle of which a connection goes on from a snapshot that was changed.
fn go_on(tampering: &Tampering, program: &Program) {
    let mut run = Run::new(&program.setting);
    let middle = usize::from(tampering.before) % (program.actions.len() + 1);
    let (head, tail) = program.actions.split_at(middle);
    for action in head {
        run.act(action);
    }
    let mut is_whole = true;
    let moved = run.move_connection(tampering.side, |bytes| {
        let taken = bytes.clone();
        for change in &tampering.changes[..usize::from(tampering.count % 4)] {
            change.apply(bytes);
        }
        if !tampering.leaves_checksum {
            make_checksum_right(bytes);
        }
        is_whole = *bytes == taken;
    });
    match moved {
        Some(Err(error)) => assert!(!is_whole, "what was taken is refused: {error:?}"),
        Some(Ok(())) => assert!(is_whole || !tampering.leaves_checksum, "damaged, and taken"),
        None => {}
    }
    for action in tail {
        run.act(action);
    }
    run.end();
}

fn make_checksum_right(bytes: &mut [u8]) {
    if let Some((body, checksum)) = bytes.split_last_chunk_mut::<CRC_LEN>() {
        *checksum = crc32fast::hash(body).to_be_bytes();
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = |at: u16| usize::from(at) % bytes.len();
        let piece = |at: u16, len: u8| place(at)..(place(at) + usize::from(len)).min(bytes.len());
        match self {
            Change::Byte { at, to } => {
                let at = place(at.into());
                bytes[at] = to;
            }
            Change::AnyByte { at, to } => {
                let at = place(at);
                bytes[at] = to;
            }
            Change::Number { at, by } => {
                change_number(bytes, place(at.into()), |number| by.from(number as u32).into());
            }
            Change::AnyNumber { at, by } => {
                change_number(bytes, place(at), |number| by.from(number as u32).into());
            }
            Change::Power { at, bits } => change_number(bytes, place(at), |_| 1 << (bits % 64)),
            Change::Bit { at, bit } => {
                let at = place(at);
                bytes[at] ^= 1 << (bit % 8);
            }
            Change::Remove { at, len } => drop(bytes.drain(piece(at, len))),
            Change::Double { at, len } => {
                let piece = piece(at, len);
                let copy = bytes[piece.clone()].to_vec();
                bytes.splice(piece.start..piece.start, copy);
            }
            Change::Truncate { at } => bytes.truncate(place(at)),
        }
    }
}

/// Changes the number that begins at a place: seven bits in a byte, the lowest first (postcard's varint).
fn change_number(bytes: &mut Vec<u8>, at: usize, change: impl Fn(u64) -> u64) {
    let len = 1 + bytes[at..].iter().take(8).take_while(|&&byte| byte >= 0x80).count();
    let end = (at + len).min(bytes.len());
    let digits = bytes[at..end].iter().rev();
    let mut number = change(digits.fold(0, |number, &digit| number << 7 | u64::from(digit & 0x7f)));
    let mut digits = Vec::new();
    while number >= 0x80 {
        digits.push(number as u8 | 0x80);
        number >>= 7;
    }
    digits.push(number as u8);
    bytes.splice(at..end, digits);
}
