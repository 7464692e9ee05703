//! One run: clients and servers, the network, the balancer, and the time.
//!
//! In:    a scenario
//! Out:   a [`Tally`]; or a panic that says what went wrong
//! Owns:  the virtual time, and the order in which all take their turns
//! Never: sleeps; differs between two runs of one seed

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use netstack::Instant;
use xlb::worker::{Request, WorkerReport};

use crate::balancer::{self, Balancer};
use crate::host::{self, Host, Place};
use crate::network::{Door, Network, mix};
use crate::program::{End, Fate, Plans, Role, Wish};
use crate::random::Random;
use crate::scenario::{FRONT_PORT, Health, PORTS, SERVER_PORT, Scenario, Stop, balancer_ip};
use crate::tally::Tally;

/// The time at which a run begins: clocks that begin at zero hide what subtracts.
const BEGIN: Instant = Instant::from_millis(1000);
/// A run that is not over by then makes no progress: every timeout of every side is far below.
const DEADLINE: Duration = Duration::from_secs(6 * 3600);
/// Steps of one run: beyond, something turns in circles.
const STEPS_MAX: u64 = 3_000_000;
/// Streams and places are counted at every so manieth step: a report is not free.
const REPORT_EVERY: u64 = 8;
/// A client without a free port tries again after this.
const PORT_PAUSE: Duration = Duration::from_millis(500);

/// A run.
pub struct Simulation {
    scenario: Scenario,
    now: Instant,
    steps: u64,
    random: Random,
    network: Network,
    balancer: Balancer,
    sites: Vec<Site>,
    /// Connections that are still to be begun: when, and which.
    to_open: Vec<(Instant, usize)>,
    /// The process was told to end, and how.
    stopped: Option<Stop>,
    /// Workers that have told that their last connection has ended.
    drained: usize,
    tally: Tally,
}

/// A host, and the programs on it.
struct Site {
    host: Box<dyn Host>,
    /// The server's number; `None` for a client.
    server: Option<usize>,
    ends: Vec<End>,
    /// Ends before this one have met their fate.
    done: usize,
    is_touched: bool,
    wakes_at: Option<Instant>,
}

impl Simulation {
    pub fn new(scenario: Scenario) -> Self {
        let now = BEGIN + Duration::from_micros(scenario.seed % 7919);
        let mut network = Network::new(&scenario, balancer::MAC);
        let mut sites = Vec::new();
        for client in 0..scenario.clients.len() {
            let place = Place { mac: mac(sites.len()), ip: scenario.client_ip(client) };
            let host =
                host::new(&scenario.clients[client], place, scenario.client_ports, scenario.seed);
            network.attach(place.mac);
            sites.push(Site::new(host, None));
        }
        for (server, plan) in scenario.servers.iter().enumerate() {
            let place = Place { mac: mac(sites.len()), ip: scenario.server_ip(server) };
            let mut host = host::new(&plan.host, place, PORTS, scenario.seed + 1);
            match plan.health {
                Health::Up => host.listen(SERVER_PORT),
                Health::Refuses => {}
                Health::Silent => network.silence(place.ip),
                Health::Absent => continue,
            }
            network.attach(place.mac);
            sites.push(Site::new(host, Some(server)));
        }
        let to_open = scenario.connections.iter().enumerate();
        let to_open =
            to_open.map(|(number, plan)| (now + Duration::from_micros(plan.start_us), number));
        Simulation {
            now,
            steps: 0,
            random: Random::new(scenario.seed, 5),
            network,
            balancer: Balancer::new(&scenario, now),
            sites,
            to_open: to_open.collect(),
            stopped: None,
            drained: 0,
            tally: Tally::default(),
            scenario,
        }
    }

    /// From the first connection to the last, and on until the balancer holds nothing any more.
    pub fn run(mut self) -> Tally {
        while !self.is_over() {
            self.step();
            self.assert_progress();
        }
        if self.stopped.is_none() {
            self.assert_expectations();
        }
        self.end();
        self.sum_up()
    }

    fn is_over(&self) -> bool {
        let clients_done = self.to_open.is_empty() && self.sites.iter().all(Site::is_done);
        clients_done
            && match self.stopped {
                None => self.is_quiet(),
                Some(Stop::Soft) => self.is_quiet() && self.drained == self.scenario.workers,
                Some(Stop::Hard) => self.balancer.has_ended(),
            }
    }

    /// The balancer holds nothing for anybody.
    fn is_quiet(&self) -> bool {
        let is_idle = |report: &WorkerReport| {
            let stack = &report.stack;
            report.streams[0] == 0
                && stack.connections.used == 0
                && stack.buffers.used == 0
                && stack.half_open == 0
                && stack.time_wait == 0
        };
        self.balancer.shared.global.used() == 0
            && self.balancer.listener.used() == 0
            && self.balancer.reports().iter().all(is_idle)
    }

    fn assert_progress(&self) {
        let elapsed = self.now.since(BEGIN);
        if elapsed >= DEADLINE || self.steps >= STEPS_MAX {
            panic!("no end after {elapsed:?} and {} steps: {}", self.steps, self.what_is_left());
        }
    }

    fn what_is_left(&self) -> String {
        let ends: Vec<&End> = self.ends().filter(|end| end.fate.is_none()).collect();
        let to_open = &self.to_open;
        let of = |report: WorkerReport| (report.streams[0], report.stack);
        let workers: Vec<_> = self.balancer.reports().into_iter().map(of).collect();
        format!("open ends {ends:#?}; to be opened {to_open:?}; streams and stacks {workers:#?}")
    }

    // A step.

    fn step(&mut self) {
        self.steps += 1;
        self.deliver();
        self.open_connections();
        self.stop_if_due();
        for site in 0..self.sites.len() {
            self.run_site(site);
        }
        self.run_balancer();
        self.assert_invariants();
        self.advance();
    }

    fn deliver(&mut self) {
        while let Some((door, frame)) = self.network.poll(self.now) {
            match door {
                Door::Queue(queue) => self.balancer.receive(queue, &frame),
                Door::Host(site) => {
                    self.sites[site].host.receive(&frame, self.now);
                    self.sites[site].is_touched = true;
                }
            }
        }
    }

    fn open_connections(&mut self) {
        let front = SocketAddr::new(balancer_ip(self.scenario.front_ipv6), FRONT_PORT);
        for (at, number) in std::mem::take(&mut self.to_open) {
            if at > self.now {
                self.to_open.push((at, number));
                continue;
            }
            let site = &mut self.sites[self.scenario.connections[number].client];
            match site.host.connect(front, self.now) {
                Some(socket) => {
                    site.ends.push(End::client(number, socket, self.now));
                    site.is_touched = true;
                }
                None => self.to_open.push((self.now + PORT_PAUSE, number)),
            }
        }
    }

    fn stop_if_due(&mut self) {
        if let (None, Some((stop, at_us))) = (self.stopped, self.scenario.stop)
            && self.now >= BEGIN + Duration::from_micros(at_us)
        {
            self.balancer.stop(stop);
            self.stopped = Some(stop);
        }
    }

    fn run_site(&mut self, index: usize) {
        let Simulation { sites, scenario, network, now, .. } = self;
        let site = &mut sites[index];
        let now = *now;
        if !std::mem::take(&mut site.is_touched) && site.wakes_at.is_none_or(|at| at > now) {
            return;
        }
        let mut out = Vec::new();
        site.host.poll(now, &mut out);
        site.accept(scenario, now);
        let plans = Plans { connections: &scenario.connections, servers: &scenario.servers };
        for end in &mut site.ends[site.done..] {
            if end.fate.is_none()
                && let Some(Wish::Cut(local, remote)) = end.turn(&mut *site.host, plans, now)
            {
                network.cut(local, remote);
            }
        }
        site.host.poll(now, &mut out);
        site.host.assert_invariants();
        site.set_alarm(now);
        for frame in &out {
            network.send(frame, Some(index), now);
        }
    }

    fn run_balancer(&mut self) {
        let first = self.random.below(self.scenario.workers as u64) as usize;
        let mut out = Vec::new();
        self.balancer.turn(first, self.now, &mut out);
        for frame in &out {
            self.network.send(frame, None, self.now);
        }
    }

    fn assert_invariants(&mut self) {
        self.balancer.assert_invariants();
        for request in self.balancer.requests() {
            match request {
                Request::Say(saying) => panic!("nothing is checked here: {saying:?}"),
                Request::Drained => self.drained += 1,
                Request::Resolve(..) => {
                    panic!("{request:?}: all routes are stated, no kernel is asked")
                }
            }
        }
        if self.steps.is_multiple_of(REPORT_EVERY) && self.stopped != Some(Stop::Hard) {
            self.assert_places();
        }
    }

    /// Every stream has its place, and nobody waits for a place that is free.
    fn assert_places(&mut self) {
        let reports = self.balancer.reports();
        let streams: usize = reports.iter().map(|report| report.streams[0]).sum();
        let used = self.balancer.shared.global.used();
        assert_eq!(streams, used as usize, "streams, and places taken");
        self.tally.streams_max = self.tally.streams_max.max(u64::from(used));
        let opened: u64 = reports.iter().map(|report| report.counters.accepted).sum();
        let taken: u64 =
            reports.iter().map(|report| report.proxies[0].counters.frontend.admitted).sum();
        let may_wait =
            self.stopped.is_some() || self.balancer.is_busy() || !self.balancer.has_places();
        assert!(opened == taken || may_wait, "{} wait while all workers sleep", opened - taken);
    }

    /// To the next moment at which anything can happen.
    fn advance(&mut self) {
        let turn = self
            .balancer
            .is_busy()
            .then(|| self.now + Duration::from_micros(self.scenario.turn_us));
        let stop = self.scenario.stop.filter(|_| self.stopped.is_none());
        let stop = stop.map(|(_, at_us)| BEGIN + Duration::from_micros(at_us));
        let next = [turn, stop, self.network.next_at(), self.balancer.poll_at()]
            .into_iter()
            .chain(self.sites.iter().map(|site| site.wakes_at))
            .chain(self.to_open.iter().map(|(at, _)| Some(*at)))
            .flatten()
            .min();
        let Some(next) = next else {
            let left = || self.what_is_left();
            assert!(
                self.is_over(),
                "nothing will ever happen again, and this is not the end: {}",
                left()
            );
            return;
        };
        self.now = next.max(self.now + Duration::from_micros(1));
    }

    /// The process ends: every worker gives back what it holds, frames too.
    fn end(&mut self) {
        if self.stopped != Some(Stop::Hard) {
            self.balancer.stop(Stop::Hard);
            self.stopped = Some(Stop::Hard);
        }
        while !self.balancer.has_ended() {
            self.step();
            self.assert_progress();
        }
    }

    // What came of it.

    fn ends(&self) -> impl Iterator<Item = &End> {
        self.sites.iter().flat_map(|site| &site.ends)
    }

    fn assert_expectations(&self) {
        let mut clients: BTreeMap<usize, &End> = BTreeMap::new();
        let mut servers: BTreeMap<usize, &End> = BTreeMap::new();
        for end in self.ends() {
            let map = if end.role == Role::Client { &mut clients } else { &mut servers };
            if let Some(number) = end.number {
                assert!(map.insert(number, end).is_none(), "connection {number} was served twice");
            }
        }
        for (number, plan) in self.scenario.connections.iter().enumerate() {
            let (client, server) = (clients[&number], servers.get(&number).copied());
            self.assert_told(client);
            if let Some(server) = server {
                self.assert_told(server);
                let by = client.served_by.map(Role::Server);
                assert!(
                    by.is_none_or(|by| by == server.role),
                    "{client:?} hears another than {server:?}"
                );
            }
            if self.scenario.is_gentle && plan.is_fair() {
                assert_eq!(client.fate, Some(Fate::Complete), "{client:?} of {plan:?}, {server:?}");
                let served = server.map(|server| server.fate);
                let wanted = (plan.request > 0).then_some(Some(Fate::Complete));
                assert_eq!(served, wanted, "{server:?} of {plan:?}");
            }
        }
        self.assert_no_silent_loss();
        if self.scenario.is_gentle && self.scenario.all_fair() {
            self.assert_figures();
        }
    }

    /// A client that is told of an end in order has all there is, unless the balancer counts a failure.
    fn assert_no_silent_loss(&self) {
        let reports = self.balancer.reports();
        let failed: u64 =
            reports.iter().map(|report| report.proxies[0].counters.frontend.failed).sum();
        let is_cut_short = |end: &&End| {
            end.role == Role::Client
                && end.fate == Some(Fate::Short)
                && end.number.is_some_and(|number| self.scenario.connections[number].is_fair())
        };
        let short = self.ends().filter(is_cut_short).count() as u64;
        assert!(short <= failed, "{short} clients were cut short, and {failed} streams failed");
    }

    /// Where nothing gets lost, whoever waits for the balancer hears of the end.
    fn assert_told(&self, end: &End) {
        let told = end.fate != Some(Fate::GaveUp) || !self.scenario.loses_nothing();
        assert!(told, "nobody told {end:?}");
    }

    /// Nothing went wrong: the balancer's figures are those of the plan.
    fn assert_figures(&self) {
        let reports = self.balancer.reports();
        let plans = &self.scenario.connections;
        let sum = |figure: fn(&WorkerReport) -> u64| reports.iter().map(figure).sum::<u64>();
        let failed = sum(|report| report.proxies[0].counters.frontend.failed);
        let bytes_in = sum(|report| report.proxies[0].counters.frontend.bytes_in);
        let bytes_out = sum(|report| report.proxies[0].counters.frontend.bytes_out);
        // An old SYN that comes twice can be a connection that its client resets at once.
        let at_least = plans.len() as u64;
        assert!(sum(|report| report.proxies[0].counters.frontend.admitted) >= at_least);
        if self.scenario.faults.duplicate_ppm == 0 {
            // Who has said nothing and closes before there is a server has given up.
            let quiet = plans.iter().filter(|plan| plan.request == 0).count() as u64;
            assert!(failed <= quiet, "{failed} streams failed, {quiet} might");
        }
        let requests: usize = plans.iter().map(|plan| plan.request).sum();
        assert_eq!(bytes_in, requests as u64, "bytes from clients");
        let silent = plans.iter().filter(|plan| plan.response == 0).count() as u64;
        let responses: usize = plans.iter().map(|plan| plan.response).sum();
        let responses = responses as u64;
        assert!(
            (responses..=responses + silent).contains(&bytes_out),
            "bytes to clients: {bytes_out}"
        );
        self.assert_weights(&reports);
    }

    /// With one worker, the turns that servers had are those of their weights.
    fn assert_weights(&self, reports: &[WorkerReport]) {
        let servers = &self.scenario.servers;
        let counts: Vec<u64> = (0..servers.len())
            .map(|server| {
                reports.iter().map(|report| report.proxies[1].counters.servers[server].opened).sum()
            })
            .collect();
        let total: u64 = counts.iter().sum();
        let weights: u32 = servers.iter().map(|server| server.weight).sum();
        for (server, count) in counts.iter().enumerate() {
            let share = total as f64 * f64::from(servers[server].weight) / f64::from(weights);
            let most = (self.scenario.workers * servers.len()) as f64;
            let off = (*count as f64 - share).abs();
            assert!(
                off <= most,
                "server {server} had {count} of {counts:?}, {share} are its share"
            );
        }
    }

    fn sum_up(mut self) -> Tally {
        let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
        let mut trace = self.network.trace;
        for end in self.sites.iter().flat_map(|site| &site.ends) {
            trace = mix(trace, (end.sent as u64) << 32 | end.received as u64);
            if let (Role::Client, Some(fate)) = (end.role, end.fate) {
                *fates.entry(fate).or_default() += 1;
            }
        }
        self.tally.trace = mix(trace, self.now.micros());
        self.tally.steps = self.steps;
        self.tally.virtual_time = self.now.since(BEGIN);
        self.tally.add_clients(&fates);
        self.tally.add_balancer(&self.scenario, &self.balancer.reports());
        self.tally
    }
}

impl Site {
    fn new(host: Box<dyn Host>, server: Option<usize>) -> Self {
        Site { host, server, ends: Vec::new(), done: 0, is_touched: true, wakes_at: None }
    }

    fn is_done(&self) -> bool {
        self.ends.iter().all(|end| end.fate.is_some())
    }

    fn accept(&mut self, scenario: &Scenario, now: Instant) {
        let Some(server) = self.server else { return };
        while let Some(socket) = self.host.accept() {
            let greets = scenario.servers[server].greets;
            self.ends.push(End::server(server, socket, greets, now));
        }
    }

    fn set_alarm(&mut self, now: Instant) {
        while self.ends.get(self.done).is_some_and(|end| end.fate.is_some()) {
            self.done += 1;
        }
        let ends = self.ends[self.done..].iter().filter_map(|end| end.poll_at(now));
        self.wakes_at = ends.chain(self.host.poll_at(now)).min();
    }
}

fn mac(site: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, site as u8]
}
