//! One queue of one interface: an AF_XDP socket, its four rings and its memory.
//!
//! In:    frames from the driver's receive ring; frames to send
//! Out:   the same the other way round, a batch of descriptors at a time
//! Owns:  the UMEM (one per queue), the fill, receive, transmit and completion rings, the socket
//! Never: blocks; kicks more than once a flush; parses a header; shares anything with another queue
//! Read:  Documentation/networking/af_xdp.rst

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::slice;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvFlags, recv};
use xsk_rs::config::{
    BindFlags, FrameSize, Interface as InterfaceName, LibxdpFlags, QueueSize, SocketConfig,
    UmemConfig,
};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use crate::frame::{Frame, Slot};
use crate::patience::{PATIENCE, retry_while_busy};
use crate::slots::{Place, Slots};
use crate::xsk_error::OpenError;
use crate::{Interface, Mode, Wire, WireStats};

/// Bytes of one slot: a page, which every driver takes.
const FRAME_SIZE: u32 = 4096;

/// XDP_PACKET_HEADROOM: what the kernel leaves free in front of each packet.
const HEADROOM: u32 = 256;

/// Longest Ethernet frame that fits a slot.
pub(crate) const FRAME_LEN_MAX: usize = (FRAME_SIZE - HEADROOM) as usize;

/// Descriptors that are moved between a ring and user space at a time. A ring operation costs a
/// shared cache line; 64 of them make that small and still fit the first-level cache.
const BATCH: usize = 64;

/// Refilling waits for this many frames, for the same reason, unless the kernel is running short.
const REFILL_MIN: usize = 32;

/// The part of all slots that refilling leaves for transmission.
const TRANSMIT_RESERVE: usize = 16;

/// include/uapi/linux/if_xdp.h. Packets that the kernel sends per kick in copy mode: 32 unless told.
/// With 256, 64-byte frames were reflected at 0.9 instead of 0.3 million a second.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: libc::c_int = 256;

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XskConfig {
    /// Interface, in the network namespace of the thread that opens the queue.
    pub interface: String,
    /// Queue of the interface, from 0.
    pub queue: u32,
    /// Slots of memory, 4096 bytes each; a power of two.
    pub frames: u32,
    /// Descriptors of each ring; a power of two, at most half of `frames`.
    pub ring_size: u32,
    /// The best mode to try: [`Program::mode`](crate::Program::mode).
    pub prefer: Mode,
    /// Whether the memory is to be in huge pages, which must be set aside beforehand.
    pub huge_pages: bool,
}

impl XskConfig {
    /// The defaults for one queue of one interface.
    pub fn new(interface: &str, queue: u32) -> Self {
        Self {
            interface: interface.to_owned(),
            queue,
            frames: 4096,
            ring_size: 2048,
            prefer: Mode::ZeroCopy,
            huge_pages: false,
        }
    }
}

// The rings
// =========
//
//                      reserve()
//        +-- free list -----------> caller --- submit() ---> batch --- flush() ---> transmit ring
//        |    ^   ^ \                 ^                                                  |
//        |    |   |  \- release() ----+                                               kernel
//        |    |   |                   |                                                  |
//        |    |   +-- reclaim() ------|----------------------------------------- completion ring
//        |    |                       |
//        |    |                     next()
//        |    |                       |
//        |    |                     batch <---- receive ring <---- kernel
//        |    |                                                      ^
//        +----|------------------------ reclaim() ----------------> fill ring
//
// How it cannot overflow or starve:
// - At most `ring_size` slots are with the kernel for receiving, and at most `ring_size` in
//   transmission. So no ring can overflow. The fill and the transmit ring can look full for a moment,
//   though: the kernel gives a frame back (by the receive or the completion ring) before it publishes
//   that it took the descriptor. Then what was to go in waits for the next turn.
// - Both are at most half of all slots. Refilling stops when few slots are free, so a caller that
//   holds on to received frames loses packets (which the peer repeats) before it loses the ability
//   to send. A sender that never stops cannot take the slots that are out for receiving.
//
// Who keeps the memory sound: a slot's bytes are touched by whoever `Slots` says has it. The kernel
// has those in `Receive` and `Transmit`. A `Frame` is made only for a slot that moves to `Held` and
// is consumed when it moves on, so its `&mut` is the only one. Slot numbers that come from the kernel
// are checked by `Slots` on their way in.

/// One queue of one interface. It belongs to one thread at a time; it may be opened on another one.
#[derive(Debug)]
pub struct XskQueue {
    umem: Umem,
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: TxQueue,

    slots: Slots,
    /// By slot: the descriptor to refill or reserve with.
    empty: Box<[FrameDesc]>,
    /// By slot: where its packet begins and ends, while it is held.
    held: Box<[FrameDesc]>,

    received: Batch,
    /// Slots that `submit` took and `flush` has not published.
    submitted: Vec<FrameDesc>,
    scratch: [FrameDesc; BATCH],

    ring_size: usize,
    mode: Mode,
    interface: String,
    queue: u32,
    stats: WireStats,
}

/// Descriptors from the receive ring that `next` has not handed out.
#[derive(Debug)]
struct Batch {
    descs: [FrameDesc; BATCH],
    next: usize,
    end: usize,
}

impl XskQueue {
    /// Opens a queue in the best mode that it can have, not better than `config.prefer`.
    /// Its packets come once it is registered with the interface's program.
    pub fn open(config: &XskConfig) -> Result<Self, OpenError> {
        config.check()?;
        let facts = Interface::read(&config.interface).map_err(OpenError::Interface)?;
        if !facts.up {
            return Err(OpenError::Down { interface: facts.name });
        }
        if config.queue >= facts.rx_queues {
            return Err(OpenError::NoQueue {
                interface: facts.name,
                queue: config.queue,
                queues: facts.rx_queues,
            });
        }
        let (bound, mode) = bind_best(config)?;
        // A kernel that does not know this limit has a lower one: slower, and nothing else.
        let _ = set_tx_budget(&bound.tx);
        let mut queue = Self::new(config, bound, mode);
        // The library leaves it open across exec: a child would keep the queue busy after our end.
        fcntl_setfd(queue.fd(), FdFlags::CLOEXEC).map_err(|error| OpenError::Bind {
            interface: config.interface.clone(),
            queue: config.queue,
            error: error.into(),
        })?;
        queue.refill();
        Ok(queue)
    }

    fn new(config: &XskConfig, bound: Bound, mode: Mode) -> Self {
        let empty: Box<[FrameDesc]> = bound.descs.into();
        Self {
            umem: bound.umem,
            fill: bound.fill,
            completion: bound.completion,
            rx: bound.rx,
            tx: bound.tx,
            slots: Slots::new(config.frames),
            held: empty.clone(),
            empty,
            received: Batch { descs: [FrameDesc::default(); BATCH], next: 0, end: 0 },
            submitted: Vec::with_capacity(BATCH),
            scratch: [FrameDesc::default(); BATCH],
            ring_size: config.ring_size as usize,
            mode,
            interface: config.interface.clone(),
            queue: config.queue,
            stats: WireStats::default(),
        }
    }

    /// The mode that it got.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The queue of the interface, from 0.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// To poll for reading: readable when a frame was received.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as one of its queues exists, and `self.rx` does for
        // the lifetime of the borrow.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// Lends free slots to the kernel to receive into.
    fn refill(&mut self) {
        let lent = self.slots.count(Place::Receive);
        let reserve = self.slots.len() / TRANSMIT_RESERVE;
        let free = self.slots.count(Place::Free).saturating_sub(reserve);
        let mut wanted = (self.ring_size - lent).min(free);
        if wanted < REFILL_MIN && lent > self.ring_size / 2 {
            return;
        }
        while wanted > 0 {
            let count = wanted.min(BATCH);
            for desc in &mut self.scratch[..count] {
                let slot = self.slots.take(Place::Receive).expect("as many are free as are wanted");
                *desc = self.empty[slot.index()];
            }
            // SAFETY: the descriptors are of this UMEM, and their slots are the kernel's from here on.
            let produced = unsafe { self.fill.produce(&self.scratch[..count]) };
            if produced == 0 {
                // The kernel has shown us received frames before it moved its end of the fill ring.
                for desc in &self.scratch[..count] {
                    self.slots.put(slot_of(desc), Place::Receive);
                }
                return;
            }
            wanted -= count;
        }
    }

    /// Takes the next batch from the receive ring; false if there is none.
    fn receive(&mut self) -> bool {
        // SAFETY: this ring's descriptors are of this UMEM; its slots become the caller's below.
        let count = unsafe { self.rx.consume(&mut self.received.descs) };
        self.received.next = 0;
        self.received.end = count;
        for desc in &self.received.descs[..count] {
            let slot = slot_of(desc);
            self.slots.shift(slot, Place::Receive, Place::Held);
            self.held[slot.index()] = *desc;
        }
        count > 0
    }

    /// Moves what was submitted to the transmit ring: all of it, or nothing until the next time when the
    /// kernel has not moved its end of the ring yet.
    fn publish(&mut self) {
        // SAFETY: the descriptors are of this UMEM, have a length within their slot, and their slots
        // were put into `Transmit` by `submit`: nobody touches them until they complete.
        let produced = unsafe { self.tx.produce(&self.submitted) };
        if produced == self.submitted.len() {
            self.submitted.clear();
        }
    }

    /// One system call for the side that asks for it. Transmission goes first: in zero-copy mode the
    /// driver then looks at both rings, in copy mode the fill ring never asks.
    fn kick(&mut self) {
        // The kernel leaves descriptors in the ring when it ran into its budget or a full device
        // queue: as long as some are there, kick again each time.
        let is_unsent = (self.tx.nb_free_exact() as usize) < self.ring_size;
        if is_unsent && self.tx.needs_wakeup() {
            self.stats.kicks += 1;
            if self.tx.wakeup().is_err() {
                self.stats.kick_errors += 1;
            }
        } else if self.fill.needs_wakeup() && self.slots.count(Place::Receive) > 0 {
            self.stats.kicks += 1;
            // Never brings data: that comes by the ring. EAGAIN and the like ask for another kick,
            // which the flag in the ring does too.
            let _ = recv(self.fd(), &mut [0_u8; 0], RecvFlags::DONTWAIT);
        }
    }

    /// The room of a slot from where its packet begins.
    fn room(desc: &FrameDesc) -> usize {
        FRAME_SIZE as usize - desc.addr() % FRAME_SIZE as usize
    }

    /// Gives the descriptor of a held slot a length.
    fn set_len(&mut self, slot: Slot, len: usize) {
        let desc = &mut self.held[slot.index()];
        assert!(len > 0 && len <= Self::room(desc), "{len} bytes do not fit the frame of {slot:?}");
        // SAFETY: the slot is held, by the caller's `Frame`, and nothing borrows its bytes: every such
        // borrow is of this wire, which is borrowed mutably here.
        unsafe { self.umem.data_mut(desc) }.cursor().set_pos(len);
    }
}

impl Wire for XskQueue {
    fn reclaim(&mut self) -> usize {
        let mut completed = 0;
        while self.slots.count(Place::Transmit) > 0 {
            // SAFETY: this ring's descriptors are of this UMEM; `put` checks their slots.
            let count = unsafe { self.completion.consume(&mut self.scratch) };
            for desc in &self.scratch[..count] {
                self.slots.put(slot_of(desc), Place::Transmit);
            }
            completed += count;
            if count < BATCH {
                break;
            }
        }
        self.refill();
        completed
    }

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        if self.received.next == self.received.end && !self.receive() {
            return None;
        }
        let desc = &self.received.descs[self.received.next];
        self.received.next += 1;
        let len = desc.lengths().data();
        self.stats.rx_frames += 1;
        self.stats.rx_bytes += len as u64;
        Some(self.slots.frame(slot_of(desc), len as u32))
    }

    #[inline]
    fn reserve(&mut self) -> Option<Frame> {
        let Some(slot) = self.slots.take(Place::Held) else {
            self.stats.no_frame += 1;
            return None;
        };
        self.held[slot.index()] = self.empty[slot.index()];
        self.set_len(slot, FRAME_LEN_MAX);
        Some(self.slots.frame(slot, FRAME_LEN_MAX as u32))
    }

    #[inline]
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.slots.check(frame);
        // SAFETY: the slot is held, by this `Frame`; a mutable borrow of its bytes would borrow the
        // wire mutably too. The descriptor's length is within the slot: the kernel's or `set_len`'s.
        unsafe { self.umem.data(&self.held[frame.slot.index()]) }.contents()
    }

    #[inline]
    fn bytes_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.slots.check(frame);
        // SAFETY: as for `bytes`, and both the wire and the frame are borrowed mutably for 'a, so
        // this is the only reference to these bytes. The pointer and length come from the slice that
        // `data_mut` makes; its type ties that slice to a temporary, though it is the UMEM's, which
        // lives as long as the wire.
        unsafe {
            let mut data = self.umem.data_mut(&mut self.held[frame.slot.index()]);
            let bytes = data.contents_mut();
            slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len())
        }
    }

    #[inline]
    fn submit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        self.slots.check(&frame);
        if self.slots.count(Place::Transmit) == self.ring_size {
            self.stats.tx_full += 1;
            return Err(frame);
        }
        let slot = frame.into_slot();
        self.set_len(slot, len);
        self.slots.shift(slot, Place::Held, Place::Transmit);
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += len as u64;
        self.submitted.push(self.held[slot.index()]);
        if self.submitted.len() >= BATCH {
            self.publish();
        }
        Ok(())
    }

    #[inline]
    fn release(&mut self, frame: Frame) {
        self.slots.check(&frame);
        self.slots.put(frame.into_slot(), Place::Held);
    }

    fn flush(&mut self) {
        self.publish();
        self.kick();
    }

    fn in_flight(&self) -> usize {
        self.slots.count(Place::Transmit)
    }

    fn frame_len_max(&self) -> usize {
        FRAME_LEN_MAX
    }

    fn assert_conserved(&mut self, held: usize) {
        self.slots.assert_conserved(held + self.received.end - self.received.next);
    }

    fn stats(&self) -> WireStats {
        let mut stats = self.stats;
        // The kernel refuses only what is not an AF_XDP socket.
        if let Ok(kernel) = self.rx.fd().xdp_statistics() {
            stats.rx_dropped = kernel.rx_dropped();
            stats.rx_fill_ring_empty = kernel.rx_fill_ring_empty_descs();
            stats.rx_ring_full = kernel.rx_ring_full();
            stats.rx_invalid_descriptors = kernel.rx_invalid_descs();
            stats.tx_invalid_descriptors = kernel.tx_invalid_descs();
        }
        stats.frames = self.slots.len() as u64;
        stats.frames_free = self.slots.count(Place::Free) as u64;
        stats
    }
}

/// The slot that a descriptor's packet lies in, wherever in it the packet begins.
#[inline]
fn slot_of(desc: &FrameDesc) -> Slot {
    Slot((desc.addr() / FRAME_SIZE as usize) as u32)
}

impl XskConfig {
    fn check(&self) -> Result<(), OpenError> {
        let wrong = |reason: String| OpenError::Config {
            interface: self.interface.clone(),
            queue: self.queue,
            reason,
        };
        if !self.frames.is_power_of_two() || !self.ring_size.is_power_of_two() {
            return Err(wrong(format!(
                "frames ({}) and ring size ({}) must be powers of two",
                self.frames, self.ring_size
            )));
        }
        // Half for receiving, half for sending: see the essay on the rings.
        if self.ring_size > self.frames / 2 || (self.frames as usize) < 2 * TRANSMIT_RESERVE {
            return Err(wrong(format!(
                "{} frames are too few for rings of {}: at least twice as many, and {}",
                self.frames,
                self.ring_size,
                2 * TRANSMIT_RESERVE
            )));
        }
        Ok(())
    }
}

/// A socket that is bound to its queue.
struct Bound {
    umem: Umem,
    descs: Vec<FrameDesc>,
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: TxQueue,
}

/// Zero-copy if it may be, else copy.
fn bind_best(config: &XskConfig) -> Result<(Bound, Mode), OpenError> {
    if config.prefer == Mode::ZeroCopy {
        match bind_patiently(config, BindFlags::XDP_ZEROCOPY) {
            Ok(bound) => return Ok((bound, Mode::ZeroCopy)),
            Err(error) if is_final(&error) => return Err(error),
            // What the driver cannot do, the kernel can.
            Err(_) => (),
        }
    }
    let bound = bind_patiently(config, BindFlags::XDP_COPY)?;
    Ok((bound, config.prefer.min(Mode::DriverCopy)))
}

/// Whether another bind mode would fail in the same way.
fn is_final(error: &OpenError) -> bool {
    match error {
        OpenError::Bind { error, .. } => {
            matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EPERM | libc::ENODEV))
        }
        _ => true,
    }
}

/// Binds in one mode, waiting for a queue that another process has just left.
fn bind_patiently(config: &XskConfig, flags: BindFlags) -> Result<Bound, OpenError> {
    let is_busy = |error: &OpenError| matches!(error, OpenError::Bind { error, .. } if error.raw_os_error() == Some(libc::EBUSY));
    retry_while_busy(PATIENCE, is_busy, || bind_once(config, flags))
}

/// One attempt, with memory of its own: a UMEM does not survive a bind that failed.
fn bind_once(config: &XskConfig, flags: BindFlags) -> Result<Bound, OpenError> {
    let (umem, descs) = create_umem(config)?;
    let bind_error =
        |error| OpenError::Bind { interface: config.interface.clone(), queue: config.queue, error };
    let ring_size = ring_size(config.ring_size);
    let socket_config = SocketConfig::builder()
        .rx_queue_size(ring_size)
        .tx_queue_size(ring_size)
        // Its own program would take every packet.
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(flags | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let name: InterfaceName = config.interface.parse().map_err(|error: std::ffi::NulError| {
        bind_error(io::Error::new(io::ErrorKind::InvalidInput, error))
    })?;
    // SAFETY: no other socket shares this UMEM, so no other fill or completion ring exists for it.
    let (tx, rx, rings) = unsafe { Socket::new(socket_config, &umem, &name, config.queue) }
        .map_err(|error| bind_error(errno_of(&error)))?;
    let (fill, completion) = rings.expect("the first socket of a UMEM brings its rings");
    Ok(Bound { umem, descs, fill, completion, rx, tx })
}

fn create_umem(config: &XskConfig) -> Result<(Umem, Vec<FrameDesc>), OpenError> {
    let memory_error = |error| OpenError::Memory {
        interface: config.interface.clone(),
        queue: config.queue,
        bytes: u64::from(config.frames) * u64::from(FRAME_SIZE),
        huge_pages: config.huge_pages,
        error,
    };
    let umem_config = UmemConfig::builder()
        .frame_size(FrameSize::new(FRAME_SIZE).expect("a page is a valid frame size"))
        .fill_queue_size(ring_size(config.ring_size))
        .comp_queue_size(ring_size(config.ring_size))
        .frame_headroom(0)
        .build()
        .expect("headroom is less than a frame");
    let frames = NonZeroU32::new(config.frames).expect("a power of two");
    Umem::new(umem_config, frames, config.huge_pages)
        .map_err(|error| memory_error(errno_of(&error)))
}

fn ring_size(size: u32) -> QueueSize {
    QueueSize::new(size).expect("checked to be a power of two")
}

/// The system's error behind one of the socket library's.
fn errno_of(error: &dyn std::error::Error) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => match source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(source.to_string()),
        },
        None => io::Error::other(error.to_string()),
    }
}

fn set_tx_budget(tx: &TxQueue) -> io::Result<()> {
    let budget = TX_BUDGET;
    // SAFETY: the socket is open while `tx` is borrowed; the option's value is an int, read only
    // during the call.
    let result = unsafe {
        libc::setsockopt(
            tx.fd().as_raw_fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            (&raw const budget).cast(),
            size_of_val(&budget) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
