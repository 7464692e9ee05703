//! Ties the queues of a NIC to the stack.
//!
//! In:    frames of the wires, segments of the stack
//! Out:   frames to the stack, to other workers, to the wires
//! Owns:  one wire per interface, of one worker
//! Never: keeps a frame from one turn to the next, but the one it writes next

use netstack::fib::WireId;
use netstack::{Arrival, Disposition, Instant, Stack, Transmit};
use nic::{Frame, Wire, WireStats};

use crate::handover::{HandOver, Handed};
use crate::vitals::Vitals;

/// A wire of a worker.
pub struct NamedWire<W> {
    /// Name of the interface and number of the queue, as `eth0/1`.
    pub name: String,
    /// How the driver hands frames over.
    pub mode: String,
    wire: W,
    /// A free frame, to be written next.
    held: Option<Frame>,
}

impl<W: Wire> NamedWire<W> {
    /// A wire and what it is called.
    pub fn new(name: String, mode: String, wire: W) -> Self {
        NamedWire { name, mode, wire, held: None }
    }
}

/// The wires of a worker; a [`WireId`] is an index into them.
pub struct Wires<W> {
    wires: Vec<NamedWire<W>>,
}

impl<W: Wire> Wires<W> {
    /// These wires.
    pub fn new(wires: Vec<NamedWire<W>>) -> Self {
        Wires { wires }
    }

    /// The wires themselves, to be polled for readiness.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        self.wires.iter().map(|named| &named.wire)
    }

    /// The wires themselves, for a simulation that moves their time.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.wires.iter_mut().map(|named| &mut named.wire)
    }

    /// Name, mode and counters of each wire.
    pub fn stats(&self) -> impl Iterator<Item = (&str, &str, WireStats)> {
        self.wires
            .iter()
            .map(|named| (named.name.as_str(), named.mode.as_str(), named.wire.stats()))
    }

    /// Takes back what was sent, and gives the driver frames to receive into.
    pub fn reclaim(&mut self) {
        for named in &mut self.wires {
            named.wire.reclaim();
        }
    }

    /// Feeds at most `budget` frames of each wire to the stack; returns how many.
    pub fn ingress(
        &mut self,
        budget: usize,
        stack: &mut Stack,
        handover: &mut HandOver,
        vitals: &Vitals,
        now: Instant,
    ) -> usize {
        let mut count = 0;
        for (index, named) in self.wires.iter_mut().enumerate() {
            let wire = WireId(index as u8);
            for _ in 0..budget {
                let Some(frame) = named.wire.next() else { break };
                let bytes = named.wire.bytes(&frame);
                if count == 0 {
                    vitals.received(bytes);
                }
                let disposition = stack.handle_frame(wire, bytes, Arrival::Wire, now);
                route(disposition, wire, 0, bytes, handover, stack);
                named.wire.release(frame);
                count += 1;
            }
        }
        count
    }

    /// Feeds frames that other workers handed over; returns how many.
    pub fn ingress_handed(
        &mut self,
        budget: usize,
        stack: &mut Stack,
        handover: &mut HandOver,
        now: Instant,
    ) -> usize {
        let mut onward = Vec::new();
        let count = handover.take(budget, |how, bytes| {
            let arrival =
                if how.is_copy { Arrival::Copy } else { Arrival::Handed { asked: how.asked } };
            let disposition = stack.handle_frame(how.wire, bytes, arrival, now);
            if disposition == Disposition::HandOn {
                onward.push((how, bytes.to_vec()));
            }
        });
        for (how, bytes) in onward {
            route(Disposition::HandOn, how.wire, how.asked, &bytes, handover, stack);
        }
        count
    }

    /// Publishes what was submitted: one kick per wire at most.
    pub fn flush(&mut self) {
        for named in &mut self.wires {
            named.wire.flush();
        }
    }

    /// Frames that the kernel still has to send.
    pub fn in_flight(&self) -> usize {
        self.wires.iter().map(|named| named.wire.in_flight()).sum()
    }

    /// Asserts that no frame got lost, and gives back what is held.
    pub fn close(&mut self) {
        for named in &mut self.wires {
            if let Some(frame) = named.held.take() {
                named.wire.release(frame);
            }
            named.wire.assert_conserved(0);
        }
    }
}

/// Sends a frame where the stack says that it belongs.
fn route(
    disposition: Disposition,
    wire: WireId,
    asked: u8,
    bytes: &[u8],
    handover: &mut HandOver,
    stack: &Stack,
) {
    match disposition {
        Disposition::Done => {}
        Disposition::HandTo(worker) => {
            handover.give(worker, Handed { wire, asked: asked + 1, is_copy: false }, bytes);
        }
        Disposition::HandOn => {
            let next = (stack.worker() + 1) % handover.workers();
            handover.give(next, Handed { wire, asked: asked + 1, is_copy: false }, bytes);
        }
        Disposition::CopyToAll => {
            handover.give_to_all(Handed { wire, asked, is_copy: true }, bytes);
        }
    }
}

impl<W: Wire> Transmit for Wires<W> {
    fn has_room(&mut self, wire: WireId) -> bool {
        let named = &mut self.wires[usize::from(wire.0)];
        if named.held.is_none() {
            named.held = named.wire.reserve();
        }
        named.held.is_some()
    }

    fn send(&mut self, wire: WireId, len: usize, fill: impl FnOnce(&mut [u8])) {
        let named = &mut self.wires[usize::from(wire.0)];
        let mut frame = named.held.take().expect("room was asked for");
        fill(&mut named.wire.bytes_mut(&mut frame)[..len]);
        // A full transmit ring counts and drops, as a wire does; TCP sends again.
        if let Err(frame) = named.wire.submit(frame, len) {
            named.wire.release(frame);
        }
    }
}
