//! What a seed stands for: hosts, their manners, the network's faults, the configuration.
//!
//! In:    a seed
//! Out:   [`Scenario`], and what may be expected of it
//! Never: changes once it is made

use std::fmt::Write;
use std::net::IpAddr;

use crate::random::Random;

/// The port that the balancer listens on.
pub const FRONT_PORT: u16 = 80;
/// The port that every server listens on.
pub const SERVER_PORT: u16 = 8000;
/// More ports than anybody needs.
pub const PORTS: u16 = 16_000;

/// What the network does to frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss_ppm: u32,
    pub duplicate_ppm: u32,
    pub corrupt_ppm: u32,
    pub delay_us: u64,
    pub jitter_us: u64,
}

/// How the balancer's NIC chooses a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// A hash that the balancer knows: its connections come home.
    Toeplitz,
    /// A hash that nobody knows.
    Hash,
    /// A hash of the flow that changes after so much time, as with a sender that rehashes.
    Rehash { every_us: u64 },
    /// A hash, but this share of the packets arrives on any queue.
    Astray { ppm: u32 },
}

/// Which TCP a host speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The stack under test, as its own peer.
    Netstack,
    /// smoltcp's complete stack, with socket buffers of so many bytes.
    Smoltcp { buffer: usize },
}

/// A client or a server.
#[derive(Clone, Copy, Debug)]
pub struct HostPlan {
    pub kind: Kind,
    pub mtu: u16,
}

/// What is wrong with a server from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// It resets: nobody listens.
    Refuses,
    /// It is on the link, and answers no SYN.
    Silent,
    /// It is not on the link.
    Absent,
}

#[derive(Clone, Copy, Debug)]
pub struct ServerPlan {
    pub host: HostPlan,
    pub health: Health,
    pub weight: u32,
    /// It says its first byte before it has heard anything.
    pub greets: bool,
}

/// How one end of a connection behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// It reads so many bytes at a time, with a pause; 0: all there is, at once.
    pub read_chunk: usize,
    pub read_pause_us: u64,
    /// After so many bytes it reads nothing for so many microseconds, or never again.
    pub stall: Option<(usize, Option<u64>)>,
    /// It resets the connection once so many bytes went either way.
    pub aborts_at: Option<usize>,
    /// Nothing of its packets arrives any more once so many bytes went either way.
    pub vanishes_at: Option<usize>,
}

impl Manners {
    /// Whether a balancer with patience serves it to the end.
    pub fn is_fair(&self) -> bool {
        self.aborts_at.is_none()
            && self.vanishes_at.is_none()
            && self.stall.is_none_or(|(_, pause_us)| pause_us.is_some())
    }
}

/// One connection of a client.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionPlan {
    pub start_us: u64,
    pub client: usize,
    /// Bytes to the server; 0, or enough for the connection's number.
    pub request: usize,
    /// Bytes to the client, the first of which names the server.
    pub response: usize,
    /// The client closes its direction after the request, not after the response.
    pub shuts_early: bool,
    /// The server closes its direction after the response, not after the client has closed.
    pub server_shuts_first: bool,
    /// The server answers only when the whole request is there.
    pub waits_for_request: bool,
    pub client_manners: Manners,
    pub server_manners: Manners,
}

impl ConnectionPlan {
    pub fn is_fair(&self) -> bool {
        self.client_manners.is_fair() && self.server_manners.is_fair()
    }
}

/// What the configuration says, besides who the servers are.
#[derive(Clone, Debug)]
pub struct Limits {
    pub global: u32,
    pub frontend: u32,
    pub bind: u32,
    pub backlog: u32,
    pub retries: u32,
    pub redispatch: Option<i32>,
    pub connect_ms: u64,
    pub client_ms: u64,
    pub server_ms: u64,
    pub fin_ms: Option<u64>,
    pub tunnel_ms: Option<u64>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nobody new comes in; who is in is served to the end.
    Soft,
    /// Every connection is reset.
    Hard,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub workers: usize,
    /// Clients and servers each speak one family.
    pub front_ipv6: bool,
    pub back_ipv6: bool,
    pub faults: Faults,
    /// ARP and neighbour discovery suffer the same loss: otherwise none.
    pub loses_neighbors: bool,
    pub steering: Steering,
    /// How long a turn of a worker takes.
    pub turn_us: u64,
    /// Memory of each queue, in frames.
    pub wire_frames: u32,
    /// Chance that a queue has no frame, or no room, when asked.
    pub wire_trouble_ppm: u32,
    /// Buffers of each worker's stack.
    pub buffers: usize,
    pub rx_burst: Option<u32>,
    pub limits: Limits,
    pub clients: Vec<HostPlan>,
    /// Ports that a client of the stack under test uses again and again.
    pub client_ports: u16,
    /// Ports that the balancer has towards servers, all workers together.
    pub balancer_ports: u16,
    pub servers: Vec<ServerPlan>,
    pub connections: Vec<ConnectionPlan>,
    /// The process is told to stop then, whatever goes on.
    pub stop: Option<(Stop, u64)>,
    /// Nothing in this scenario keeps a fair connection from being served to the end.
    pub is_gentle: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let random = &mut random;
        let is_gentle = random.percent(60);
        let is_scarce = random.percent(12);
        // Who waits for a place holds buffers meanwhile: where both are short, nothing can be promised.
        let is_crowded = random.percent(25) && !(is_gentle && is_scarce);
        let all_fair = is_scarce || is_crowded || random.percent(30);
        let workers = 1 + (seed % 2) as usize;
        let faults = faults(random, is_gentle);
        let clients: Vec<HostPlan> = (0..random.within(1, 3)).map(|_| host(random)).collect();
        let limits = limits(random, is_gentle, is_crowded, is_scarce);
        let servers = servers(random, is_gentle, &limits);
        let count = random.within(1, if is_crowded { 50 } else { 24 }) as usize;
        let size = size_of_transfers(random);
        let connections: Vec<ConnectionPlan> =
            (0..count).map(|_| connection(random, clients.len(), size, all_fair)).collect();
        let steering = steering(random);
        // Who vanishes or stalls keeps its port.
        let keeps_port = |plan: &ConnectionPlan| !plan.client_manners.is_fair();
        let few_ports = random.percent(50) && !connections.iter().any(keeps_port);
        let stop = random.pick(&[Stop::Soft, Stop::Hard]);
        let stop_us = random.within(0, 4_000_000);
        let stop = (!is_gentle && random.percent(15)).then_some((stop, stop_us));
        Scenario {
            seed,
            workers,
            front_ipv6: random.percent(40),
            back_ipv6: random.percent(40),
            faults,
            loses_neighbors: !is_gentle && random.percent(50),
            steering,
            turn_us: random.pick(&[1, 5, 20, 100]),
            wire_frames: random.pick(&[16, 64, 512, 512]),
            wire_trouble_ppm: random.pick(&[0, 0, 1000, 50_000]),
            buffers: if is_scarce { random.within(32, 80) as usize } else { 8192 },
            rx_burst: random.pick(&[None, None, Some(1), Some(7)]),
            limits,
            clients,
            client_ports: if few_ports { 12 } else { PORTS },
            balancer_ports: if is_gentle { PORTS } else { random.pick(&[6, PORTS]) },
            servers,
            connections,
            stop,
            is_gentle,
        }
    }

    /// Every connection behaves, and every server serves.
    pub fn all_fair(&self) -> bool {
        self.connections.iter().all(ConnectionPlan::is_fair)
            && self.servers.iter().all(|server| server.health == Health::Up)
    }

    /// Nothing can get lost between two hosts. What trouble the queues have, TCP sees as loss.
    pub fn loses_nothing(&self) -> bool {
        self.faults.loss_ppm == 0
            && self.faults.corrupt_ppm == 0
            && self.wire_trouble_ppm == 0
            && self.wire_frames >= 512
            && self.stop.is_none()
            && !self.connections.iter().any(|plan| {
                plan.client_manners.vanishes_at.is_some()
                    || plan.server_manners.vanishes_at.is_some()
            })
    }

    /// The configuration as an operator would write it.
    pub fn config(&self) -> String {
        let Limits { global, frontend, bind, backlog, retries, .. } = self.limits;
        let Limits { connect_ms, client_ms, server_ms, .. } = self.limits;
        let mut text = format!(
            "global\n    maxconn {global}\n\
             defaults\n    mode tcp\n    retries {retries}\n\
             \x20   timeout connect {connect_ms}ms\n\
             \x20   timeout client {client_ms}ms\n\
             \x20   timeout server {server_ms}ms\n"
        );
        // Writing to a string cannot fail.
        let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "    {args}").unwrap();
        if let Some(fin_ms) = self.limits.fin_ms {
            line(format_args!("timeout client-fin {fin_ms}ms"));
            line(format_args!("timeout server-fin {fin_ms}ms"));
        }
        if let Some(tunnel_ms) = self.limits.tunnel_ms {
            line(format_args!("timeout tunnel {tunnel_ms}ms"));
        }
        match self.limits.redispatch {
            None => {}
            Some(1) => line(format_args!("option redispatch")),
            Some(interval) => line(format_args!("option redispatch {interval}")),
        }
        let front = with_port(balancer_ip(self.front_ipv6), FRONT_PORT);
        line(format_args!("\nfrontend front"));
        line(format_args!("bind {front} maxconn {bind} backlog {backlog}"));
        line(format_args!("maxconn {frontend}"));
        line(format_args!("default_backend back"));
        line(format_args!("\nbackend back"));
        line(format_args!("balance roundrobin"));
        for (index, server) in self.servers.iter().enumerate() {
            let address = with_port(self.server_ip(index), SERVER_PORT);
            line(format_args!("server s{index} {address} weight {}", server.weight));
        }
        text
    }

    pub fn client_ip(&self, client: usize) -> IpAddr {
        ip(self.front_ipv6, 10 + client as u16)
    }

    pub fn server_ip(&self, server: usize) -> IpAddr {
        ip(self.back_ipv6, 100 + server as u16)
    }
}

fn with_port(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The balancer's own address of a family.
pub fn balancer_ip(ipv6: bool) -> IpAddr {
    ip(ipv6, 1)
}

fn ip(ipv6: bool, host: u16) -> IpAddr {
    if ipv6 {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host])
    } else {
        IpAddr::from([10, 0, 0, host as u8])
    }
}

fn faults(random: &mut Random, is_gentle: bool) -> Faults {
    let losses: &[u32] =
        if is_gentle { &[0, 0, 2000, 20_000] } else { &[0, 10_000, 50_000, 150_000] };
    Faults {
        loss_ppm: random.pick(losses),
        duplicate_ppm: random.pick(&[0, 0, 20_000]),
        corrupt_ppm: random.pick(&[0, 0, if is_gentle { 5000 } else { 30_000 }]),
        delay_us: random.pick(&[5, 50, 2000, 15_000]),
        jitter_us: random.pick(&[0, 0, 100, 8000]),
    }
}

fn host(random: &mut Random) -> HostPlan {
    let kind = if random.percent(65) {
        Kind::Netstack
    } else {
        Kind::Smoltcp { buffer: random.pick(&[2048, 16_384, 65_535]) }
    };
    HostPlan { kind, mtu: random.pick(&[1280, 1500, 1500]) }
}

fn limits(random: &mut Random, is_gentle: bool, is_crowded: bool, is_scarce: bool) -> Limits {
    // Where connections share places or buffers, each waits for the others too.
    let patience = if is_scarce { 10 } else { 1 };
    let idle_ms =
        if is_gentle { 120_000 * patience } else { random.pick(&[300, 1000, 5000, 30_000]) };
    let small = |random: &mut Random| {
        if is_crowded && random.percent(50) { random.within(1, 4) as u32 } else { 2000 }
    };
    let fin_ms = if is_gentle { idle_ms } else { random.pick(&[200, 2000]) };
    Limits {
        global: small(random),
        frontend: small(random),
        bind: small(random),
        backlog: if is_gentle { 1000 } else { random.pick(&[1, 3, 1000]) },
        retries: random.within(u64::from(is_gentle), 3) as u32,
        redispatch: random.pick(&[None, Some(1), Some(1), Some(2), Some(-1)]),
        connect_ms: if is_gentle { 5000 } else { random.pick(&[100, 1000, 5000]) },
        client_ms: idle_ms,
        server_ms: idle_ms,
        fin_ms: random.percent(50).then_some(fin_ms),
        tunnel_ms: (!is_gentle && random.percent(20)).then_some(10_000),
    }
}

fn servers(random: &mut Random, is_gentle: bool, limits: &Limits) -> Vec<ServerPlan> {
    let count = random.within(1, 4) as usize;
    let mut servers: Vec<ServerPlan> = (0..count)
        .map(|_| ServerPlan {
            host: host(random),
            health: Health::Up,
            weight: random.pick(&[1, 1, 2, 7]),
            greets: random.percent(30),
        })
        .collect();
    let sick = [Health::Refuses, Health::Silent, Health::Absent];
    if !is_gentle {
        for server in &mut servers {
            if random.percent(25) {
                server.health = random.pick(&sick);
            }
        }
    } else if count > 1 && limits.redispatch.is_some() && limits.retries > 0 && random.percent(40) {
        // One server that fails costs a retry, which moves on.
        let at = random.below(count as u64) as usize;
        servers[at].health = random.pick(&sick);
    }
    servers
}

fn steering(random: &mut Random) -> Steering {
    match random.below(5) {
        0 => Steering::Toeplitz,
        1 | 2 => Steering::Hash,
        3 => Steering::Rehash { every_us: random.pick(&[3000, 300_000]) },
        _ => Steering::Astray { ppm: random.pick(&[1000, 50_000, 500_000]) },
    }
}

fn size_of_transfers(random: &mut Random) -> u64 {
    random.pick(&[100, 3000, 20_000, 20_000, 80_000, 200_000])
}

fn connection(random: &mut Random, clients: usize, size: u64, all_fair: bool) -> ConnectionPlan {
    let is_silent = random.percent(5);
    let request = if is_silent { 0 } else { 4 + random.below(size) as usize };
    let response = if is_silent { 0 } else { 1 + random.below(size * 2) as usize };
    let total = request + response;
    ConnectionPlan {
        start_us: random.below(1_500_000),
        client: random.below(clients as u64) as usize,
        request,
        response,
        shuts_early: is_silent || random.percent(40),
        server_shuts_first: random.percent(40),
        waits_for_request: random.percent(50),
        client_manners: manners(random, total, all_fair),
        server_manners: manners(random, total, all_fair),
    }
}

fn manners(random: &mut Random, total: usize, all_fair: bool) -> Manners {
    let mut manners = Manners::default();
    let at = random.below(total as u64 + 1) as usize;
    match random.below(if all_fair { 75 } else { 100 }) {
        0..50 => {}
        50..65 => {
            manners.read_chunk = random.within(200, 6000) as usize;
            manners.read_pause_us = random.within(100, 20_000);
        }
        65..75 => manners.stall = Some((at, Some(random.within(1000, 3_000_000)))),
        75..80 => manners.stall = Some((at, None)),
        80..90 => manners.aborts_at = Some(at),
        _ => manners.vanishes_at = Some(at),
    }
    manners
}
