//! An end over our own stack.
//!
//! In:    events of the stack
//! Out:   bytes of the pattern, or their comparison
//! Owns:  the flows of one host
//! Never: leaves before the other side has closed and our own end was acknowledged

use std::net::SocketAddr;
use std::time::Duration;

use netstack::{ConnId, Event, Instant, Listen, StackConfig, State};

use super::{Limit, Meter, PATIENCE, Role, Seat};
use crate::figures::Figures;
use crate::host::{XdpHost, random_secret};
use crate::pattern::Pattern;

/// Bytes read at a time.
const READ: usize = 64 << 10;
/// The port that a listener's events carry no number of: flows are numbered from 0.
const LISTENER: u64 = u64::MAX;

pub(super) fn run(role: &Role, seat: &Seat) -> Result<Figures, String> {
    let address = seat.address.ok_or("without --kernel an --address is needed")?;
    let secret = random_secret().map_err(|error| format!("cannot read a secret: {error}"))?;
    let mut xdp = XdpHost::open(&seat.interface, address, StackConfig::new(secret))?;
    let now = xdp.now();
    for neighbor in &seat.neighbor {
        xdp.host.set_neighbor(neighbor.ip, neighbor.mac, now);
    }
    let mut figures = match *role {
        Role::Source { to, flows, seconds, bytes } => {
            Source::new(flows, Limit::new(seconds, bytes)).run(&mut xdp, to)?
        }
        Role::Sink { on, flows, seconds } => Sink::new(flows, seconds).run(&mut xdp, on)?,
    };
    let counters = xdp.host.stack.counters();
    for (name, value) in counters.iter().filter(|(_, value)| *value > 0) {
        figures.push(name, value as f64);
    }
    let wire = xdp.host.wire_stats();
    for (name, value) in [
        ("no_frame", wire.no_frame),
        ("tx_full", wire.tx_full),
        ("rx_dropped", wire.rx_dropped),
        ("rx_ring_full", wire.rx_ring_full),
        ("rx_fill_ring_empty", wire.rx_fill_ring_empty),
    ] {
        figures.push(name, value as f64);
    }
    Ok(figures)
}

/// One connection.
struct Flow {
    id: ConnId,
    /// Bytes sent, or received and compared.
    bytes: u64,
    is_open: bool,
    is_shut: bool,
    is_closed: bool,
}

impl Flow {
    fn new(id: ConnId) -> Self {
        Flow { id, bytes: 0, is_open: false, is_shut: false, is_closed: false }
    }
}

fn check_time(now: Instant, deadline: Instant, what: &str) -> Result<(), String> {
    if now > deadline { Err(format!("{what} took too long")) } else { Ok(()) }
}

struct Source {
    flows: Vec<Flow>,
    count: usize,
    limit: Limit,
    pattern: Pattern,
    /// When all flows were open.
    started: Option<Instant>,
}

impl Source {
    fn new(count: usize, limit: Limit) -> Self {
        let flows = Vec::with_capacity(count);
        Source { flows, count, limit, pattern: Pattern::default(), started: None }
    }

    fn run(mut self, xdp: &mut XdpHost, to: SocketAddr) -> Result<Figures, String> {
        let begin = xdp.now();
        for user in 0..self.count {
            let connected = xdp.host.stack.connect(to, None, user as u64, begin);
            let id = connected.map_err(|error| format!("cannot connect to {to}: {error:?}"))?;
            self.flows.push(Flow::new(id));
        }
        while self.flows.iter().any(|flow| !flow.is_closed) {
            let now = xdp.now();
            check_time(now, begin + self.limit.patience(), "sending")?;
            let received = xdp.host.receive(now);
            while let Some(event) = xdp.host.stack.poll_event() {
                if let Event::Connection(_, user) = event {
                    self.look(xdp, user as usize, now)?;
                }
            }
            self.start(xdp, now);
            self.stop(xdp, now);
            let sent = xdp.host.transmit(now);
            let rested = xdp.rest(received + sent > 0, self.ends_at());
            rested.map_err(|error| format!("cannot wait for frames: {error}"))?;
        }
        Ok(self.figures(xdp.now()))
    }

    /// An event tells of a flow: it is open, has room, or the other side has closed.
    fn look(&mut self, xdp: &mut XdpHost, user: usize, now: Instant) -> Result<(), String> {
        let flow = &mut self.flows[user];
        let Some(status) = xdp.host.stack.status(flow.id) else { return Ok(()) };
        if let Some(error) = status.error {
            return Err(format!("flow {user} ended after {} bytes: {error:?}", flow.bytes));
        }
        flow.is_open |= !matches!(status.state, State::SynSent | State::SynReceived);
        if status.eof && !flow.is_closed {
            if !flow.is_shut {
                return Err(format!("the sink closed flow {user} after {} bytes", flow.bytes));
            }
            flow.is_closed = true;
            xdp.host.stack.close(flow.id, now);
        } else if self.started.is_some() {
            self.fill(xdp, user, now);
        }
        Ok(())
    }

    fn start(&mut self, xdp: &mut XdpHost, now: Instant) {
        if self.started.is_none() && self.flows.iter().all(|flow| flow.is_open) {
            self.started = Some(now);
            for user in 0..self.flows.len() {
                self.fill(xdp, user, now);
            }
        }
    }

    /// Sends as much as there is room for, and shuts the flow at its limit.
    fn fill(&mut self, xdp: &mut XdpHost, user: usize, now: Instant) {
        let flow = &mut self.flows[user];
        while !flow.is_shut {
            let piece = self.pattern.piece(flow.bytes, self.limit.left(flow.bytes));
            let taken = xdp.host.stack.send(flow.id, piece, now);
            flow.bytes += taken as u64;
            if taken < piece.len() {
                return;
            }
            if self.limit.is_reached(flow.bytes, Duration::ZERO) {
                flow.is_shut = true;
                xdp.host.stack.shut(flow.id, now);
            }
        }
    }

    fn ends_at(&self) -> Option<Instant> {
        match (self.limit, self.started) {
            (Limit::Time(time), Some(started)) if self.flows.iter().any(|flow| !flow.is_shut) => {
                Some(started + time)
            }
            _ => None,
        }
    }

    fn stop(&mut self, xdp: &mut XdpHost, now: Instant) {
        if self.ends_at().is_none_or(|at| now < at) {
            return;
        }
        for flow in self.flows.iter_mut().filter(|flow| !flow.is_shut) {
            flow.is_shut = true;
            xdp.host.stack.shut(flow.id, now);
        }
    }

    fn figures(&self, now: Instant) -> Figures {
        let mut figures = Figures::default();
        figures.push("bytes", self.flows.iter().map(|flow| flow.bytes).sum::<u64>() as f64);
        let started = self.started.unwrap_or(now);
        figures.push("seconds", now.since(started).as_secs_f64());
        figures
    }
}

struct Sink {
    flows: Vec<Flow>,
    count: usize,
    meter: Meter,
    pattern: Pattern,
    buffer: Vec<u8>,
}

impl Sink {
    fn new(count: usize, seconds: f64) -> Self {
        let flows = Vec::with_capacity(count);
        let meter = Meter::new(seconds);
        Sink { flows, count, meter, pattern: Pattern::default(), buffer: vec![0; READ] }
    }

    fn run(mut self, xdp: &mut XdpHost, on: SocketAddr) -> Result<Figures, String> {
        let listen = Listen {
            address: Some(on.ip()),
            ipv6: on.is_ipv6(),
            port: on.port(),
            wire: None,
            backlog: self.count.max(16),
            user: LISTENER,
        };
        let listener = xdp.host.stack.listen(listen);
        let listener = listener.map_err(|error| format!("cannot listen on {on}: {error:?}"))?;
        println!("ready");
        let deadline = xdp.now() + self.meter.window + PATIENCE;
        // Gone is a connection whose FIN was acknowledged, not one that we have closed.
        while self.flows.len() < self.count
            || self.flows.iter().any(|flow| !flow.is_closed)
            || xdp.host.stack.stats().connections.used > 0
        {
            let now = xdp.now();
            check_time(now, deadline, "receiving")?;
            let received = xdp.host.receive(now);
            while let Some(event) = xdp.host.stack.poll_event() {
                if let Event::Connection(_, user) = event {
                    self.read(xdp, user as usize, now)?;
                }
                while let Some(id) = xdp.host.stack.accept(listener, self.flows.len() as u64) {
                    self.flows.push(Flow::new(id));
                    self.read(xdp, self.flows.len() - 1, now)?;
                }
            }
            let sent = xdp.host.transmit(now);
            let rested = xdp.rest(received + sent > 0, None);
            rested.map_err(|error| format!("cannot wait for frames: {error}"))?;
        }
        Ok(self.meter.figures())
    }

    /// Reads and compares all that is there, and closes after the source has.
    fn read(&mut self, xdp: &mut XdpHost, user: usize, now: Instant) -> Result<(), String> {
        let flow = &mut self.flows[user];
        loop {
            let count = xdp.host.stack.recv(flow.id, &mut self.buffer, now);
            if count == 0 {
                break;
            }
            if !self.pattern.matches(flow.bytes, &self.buffer[..count]) {
                return Err(format!("flow {user}: wrong bytes after {} of them", flow.bytes));
            }
            flow.bytes += count as u64;
            self.meter.count(count, Duration::from_micros(now.micros()));
        }
        let Some(status) = xdp.host.stack.status(flow.id) else { return Ok(()) };
        if let Some(error) = status.error {
            return Err(format!("flow {user} ended after {} bytes: {error:?}", flow.bytes));
        }
        if status.eof && !flow.is_closed {
            flow.is_closed = true;
            xdp.host.stack.close(flow.id, now);
        }
        Ok(())
    }
}
