//! Ties the queues of a NIC to the stack.
//!
//! In:    frames of the wires, segments of the stack
//! Out:   frames to the stack, to other workers, to the wires
//! Owns:  one wire per interface, of one worker
//! Never: keeps a frame from one turn to the next, but the one it writes next

use netstack::fib::PortId;
use netstack::{Arrival, Disposition, Instant, Stack, Transmit};
use nic::{Frame, Wire, WireStats};

use crate::handover::{HandOver, Handed};

/// A wire of a worker.
pub struct Port<W> {
    /// Name of the interface and number of the queue, as `eth0/1`.
    pub name: String,
    /// How the driver hands frames over.
    pub mode: String,
    wire: W,
    /// A free frame, to be written next.
    held: Option<Frame>,
}

impl<W: Wire> Port<W> {
    /// A wire and what it is called.
    pub fn new(name: String, mode: String, wire: W) -> Self {
        Port { name, mode, wire, held: None }
    }
}

/// The wires of a worker; a [`PortId`] is an index into them.
pub struct Ports<W> {
    ports: Vec<Port<W>>,
}

impl<W: Wire> Ports<W> {
    /// These wires.
    pub fn new(ports: Vec<Port<W>>) -> Self {
        Ports { ports }
    }

    /// The wires themselves, to be polled for readiness.
    pub fn wires(&self) -> impl Iterator<Item = &W> {
        self.ports.iter().map(|port| &port.wire)
    }

    /// The wires themselves, for a simulation that moves their time.
    pub fn wires_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.ports.iter_mut().map(|port| &mut port.wire)
    }

    /// Name, mode and counters of each wire.
    pub fn stats(&self) -> impl Iterator<Item = (&str, &str, WireStats)> {
        self.ports.iter().map(|port| (port.name.as_str(), port.mode.as_str(), port.wire.stats()))
    }

    /// Takes back what was sent, and gives the driver frames to receive into.
    pub fn reclaim(&mut self) {
        for port in &mut self.ports {
            port.wire.reclaim();
        }
    }

    /// Feeds at most `budget` frames of each wire to the stack; returns how many.
    pub fn ingress(
        &mut self,
        budget: usize,
        stack: &mut Stack,
        handover: &mut HandOver,
        now: Instant,
    ) -> usize {
        let mut count = 0;
        for (index, port) in self.ports.iter_mut().enumerate() {
            let wire = PortId(index as u8);
            for _ in 0..budget {
                let Some(frame) = port.wire.next() else { break };
                let bytes = port.wire.bytes(&frame);
                let disposition = stack.handle_frame(wire, bytes, Arrival::Wire, now);
                route(disposition, wire, 0, bytes, handover, stack);
                port.wire.release(frame);
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
        for port in &mut self.ports {
            port.wire.flush();
        }
    }

    /// Frames that the kernel still has to send.
    pub fn in_flight(&self) -> usize {
        self.ports.iter().map(|port| port.wire.in_flight()).sum()
    }

    /// Asserts that no frame got lost, and gives back what is held.
    pub fn close(&mut self) {
        for port in &mut self.ports {
            if let Some(frame) = port.held.take() {
                port.wire.release(frame);
            }
            port.wire.assert_conserved(0);
        }
    }
}

/// Sends a frame where the stack says that it belongs.
fn route(
    disposition: Disposition,
    wire: PortId,
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

impl<W: Wire> Transmit for Ports<W> {
    fn has_room(&mut self, wire: PortId) -> bool {
        let port = &mut self.ports[usize::from(wire.0)];
        if port.held.is_none() {
            port.held = port.wire.reserve();
        }
        port.held.is_some()
    }

    fn send(&mut self, wire: PortId, len: usize, fill: impl FnOnce(&mut [u8])) {
        let port = &mut self.ports[usize::from(wire.0)];
        let mut frame = port.held.take().expect("room was asked for");
        fill(&mut port.wire.bytes_mut(&mut frame)[..len]);
        // A full transmit ring counts and drops, as a wire does; TCP sends again.
        if let Err(frame) = port.wire.submit(frame, len) {
            port.wire.release(frame);
        }
    }
}
