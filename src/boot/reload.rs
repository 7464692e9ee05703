//! Another configuration for what runs: the difference between the two is what is done.
//!
//! In:    the configuration's files as they are now
//! Out:   what has changed, in lines; or why nothing has
//! Owns:  what is left of configurations that are over, for as long as a stream or a packet may come to it
//! Never: does anything before all that can fail has been tried; cuts a stream
//! Read:  docs/management.md, "Reload"

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam::channel::unbounded;

use super::plan::{self, Listening, Sources};
use super::{BootError, Running, Stated, poll_of, raise_file_limit};
use crate::clock::Instant;
use crate::config::diff::{self, Difference};
use crate::config::model::{Config, ProxyIndex, ServerId};
use crate::config::succession::{Vacancies, succeed};
use crate::edition::Lease;
use crate::limit::Limit;
use crate::log;
use crate::netlink::Snapshot;
use crate::proxies::ListenerPlan;
use crate::runtime::socket::RuntimeSockets;
use crate::shared::{Shared, Wake};
use crate::transport::Place;
use crate::watch;
use crate::worker::{Adoption, Command};

/// How long packets of a listener that was left are still taken after its last stream has ended: as long as TIME-WAIT.
const LINGER: Duration = Duration::from_secs(60);
/// How often it is looked whether anything of it is left.
const LOOK: Duration = Duration::from_secs(1);
/// A worker that has not taken a configuration for so long is told of.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is left of configurations that are over.
pub struct Succession {
    /// Those that some worker may hold, and the one of now.
    leases: Vec<Weak<Lease>>,
    /// The first configuration that had it no more, by what it is.
    proxies: HashMap<ProxyIndex, u32>,
    servers: HashMap<ServerId, u32>,
    listeners: HashMap<(ProxyIndex, usize), (u32, Arc<Limit>)>,
    /// Listeners of the wires that were left: what comes to them is taken until their streams have ended.
    retired: Vec<Retired>,
    /// When streams of proxies that are gone are ended (`hard-stop-after`).
    deadlines: Vec<(Instant, Vec<ProxyIndex>)>,
    /// Something of before may still be there.
    is_something_left: bool,
}

struct Retired {
    plan: ListenerPlan,
    /// Since when no stream of it is there.
    quiet_since: Option<Instant>,
}

impl Succession {
    /// Before the first reload.
    pub fn new(shared: &Shared) -> Self {
        Succession {
            leases: vec![Arc::downgrade(&shared.edition)],
            proxies: HashMap::new(),
            servers: HashMap::new(),
            listeners: HashMap::new(),
            retired: Vec::new(),
            deadlines: Vec::new(),
            is_something_left: false,
        }
    }

    /// The number of the oldest configuration that a stream works under.
    fn oldest(&self) -> u32 {
        let alive = self.leases.iter().filter_map(Weak::upgrade);
        alive.map(|lease| lease.number).min().unwrap_or_default()
    }

    /// Another configuration holds from now on; before it `listening` did.
    fn note(&mut self, new: &Config, listening: &Listening, lease: &Arc<Lease>) {
        self.leases.retain(|lease| lease.strong_count() > 0);
        self.leases.push(Arc::downgrade(lease));
        let number = lease.number;
        for index in 0..new.proxies.extent() {
            let (place, proxy) = (ProxyIndex(index), &new.proxies[index]);
            let is_there = new.proxies.has(index);
            mark(&mut self.proxies, place, is_there, || number);
            for at in 0..proxy.servers.extent() {
                let id = ServerId { proxy: place, index: at };
                mark(&mut self.servers, id, is_there && proxy.servers.has(at), || number);
            }
            for at in 0..proxy.binds.extent() {
                let is_there = is_there && proxy.binds.has(at);
                let is_it = |plan: &&ListenerPlan| plan.frontend == place && plan.place == at;
                let limit = || listening.plans.iter().find(is_it).map(|plan| plan.limit.clone());
                let gone = || (number, limit().unwrap_or_else(|| Arc::new(Limit::new(0))));
                mark(&mut self.listeners, (place, at), is_there, gone);
            }
        }
    }

    fn retire(&mut self, before: &Listening, after: &Listening) {
        let listens = |place: &Place| after.plans.iter().any(|plan| plan.at.place == *place);
        let gone = before.plans.iter().filter(|plan| !listens(&plan.at.place)).cloned();
        self.is_something_left = true;
        self.retired.extend(gone.map(|plan| Retired { plan, quiet_since: None }));
        self.retired.retain(|retired| !listens(&retired.plan.at.place));
    }

    /// Lets go of listeners whose streams have ended long ago; whether there were any.
    fn let_go(&mut self, now: Instant) -> bool {
        let before = self.retired.len();
        self.retired.retain_mut(|retired| {
            if retired.plan.limit.used() > 0 {
                retired.quiet_since = None;
                return true;
            }
            now.since(*retired.quiet_since.get_or_insert(now)) < LINGER
        });
        before != self.retired.len()
    }
}

/// Remembers since when something is gone.
fn mark<K: Eq + std::hash::Hash, V>(
    gone: &mut HashMap<K, V>,
    key: K,
    is_there: bool,
    since: impl FnOnce() -> V,
) {
    if is_there {
        gone.remove(&key);
    } else {
        gone.entry(key).or_insert_with(since);
    }
}

/// Places of what is gone that nobody holds any more.
pub(super) struct Free<'a> {
    succession: &'a Succession,
    shared: &'a Shared,
    oldest: u32,
}

impl Vacancies for Free<'_> {
    fn is_proxy_free(&self, index: ProxyIndex) -> bool {
        self.succession.proxies.get(&index).is_some_and(|since| *since <= self.oldest)
            && self.shared.backend(index).is_deserted()
            && self.shared.frontend(index).connections.used() == 0
    }

    fn is_server_free(&self, id: ServerId) -> bool {
        self.succession.servers.get(&id).is_some_and(|since| *since <= self.oldest)
            && self.shared.backend(id.proxy).is_idle(id.index)
    }

    fn is_listener_free(&self, frontend: ProxyIndex, place: usize) -> bool {
        let gone = self.succession.listeners.get(&(frontend, place));
        gone.is_some_and(|(since, limit)| *since <= self.oldest && limit.used() == 0)
    }
}

/// A configuration that can be put into effect.
pub(super) struct Prepared {
    config: Config,
    difference: Difference,
    stated: Stated,
    snapshot: Snapshot,
    listening: Listening,
    sources: Sources,
    runtime_sockets: RuntimeSockets,
}

impl Running {
    /// Reads the configuration again and puts it into effect: what has changed, in lines, or why nothing has.
    pub fn reload(&mut self) -> Result<String, String> {
        let prepared = self.prepare()?;
        let text = prepared.difference.to_string();
        self.put_into_effect(prepared);
        Ok(text)
    }

    /// What a reload would do now.
    pub fn preview(&self) -> Result<String, String> {
        let (config, kept) = self.next_config()?;
        Ok(Difference::new(&self.config, &config, kept).to_string())
    }

    /// The listeners whose packets are taken.
    pub(super) fn steered(&self) -> impl Iterator<Item = &ListenerPlan> {
        let retired = self.succession.retired.iter().map(|retired| &retired.plan);
        self.listening.plans.iter().chain(retired)
    }

    /// Lets go of what nobody needs any more; how soon to look again.
    pub fn tidy_up(&mut self) -> Option<Duration> {
        if !self.succession.is_something_left {
            return None;
        }
        self.end_overdue();
        if self.succession.let_go(self.clock.now())
            && let Err(error) = self.steer()
        {
            log::alert(format_args!("{error}"));
        }
        if !self.succession.retired.is_empty()
            || !self.succession.deadlines.is_empty()
            || self.succession.oldest() != self.shared.edition.number
        {
            return Some(LOOK);
        }
        // Addresses of before are nobody's now.
        if let Ok(stated) = plan::state(&self.config, &self.interfaces(), &self.kernel)
            && let Ok(snapshot) = stated.snapshot(&self.kernel)
        {
            (self.stated, self.snapshot) = (stated, snapshot);
            self.tell_fib();
            if let Err(error) = self.steer() {
                log::alert(format_args!("{error}"));
            }
        }
        self.succession.is_something_left = false;
        None
    }

    fn end_overdue(&mut self) {
        let now = self.clock.now();
        let (over, left) = std::mem::take(&mut self.succession.deadlines)
            .into_iter()
            .partition(|(deadline, _)| *deadline <= now);
        self.succession.deadlines = left;
        for (_, mut gone) in over {
            // One that came back is another one.
            gone.retain(|index| self.succession.proxies.contains_key(index));
            for worker in 0..self.commands.len() {
                self.tell(worker, Command::EndStreamsIn(gone.clone()));
            }
        }
    }

    /// What the files say now, by the places of what runs; and what of it has to wait for the next start.
    fn next_config(&self) -> Result<(Config, Vec<&'static str>), String> {
        if self.shared.is_stopping() {
            return Err("xlb is about to end: it takes no other configuration any more.\n".into());
        }
        let loaded = self.source.read().map_err(|report| report.to_string())?;
        let mut config = succeed(&self.config, loaded.config, &self.vacancies());
        let kept = diff::keep_fixed(&self.config.global, &mut config.global);
        Ok((config, kept))
    }

    /// Places of what is gone that nobody holds any more.
    pub(super) fn vacancies(&self) -> Free<'_> {
        let oldest = self.succession.oldest();
        Free { succession: &self.succession, shared: &self.shared, oldest }
    }

    fn prepare(&self) -> Result<Prepared, String> {
        let (config, kept) = self.next_config()?;
        self.prepare_for(config, kept).map_err(|BootError(text)| format!("{text}\n"))
    }

    pub(super) fn prepare_for(
        &self,
        config: Config,
        kept: Vec<&'static str>,
    ) -> Result<Prepared, BootError> {
        let interfaces = self.interfaces();
        if interfaces.is_empty() && config.needs_wires() {
            return Err(BootError::new(
                "the configuration needs an interface, and xlb was started without one: restart it",
            ));
        }
        let stated = plan::state(&config, &interfaces, &self.kernel)?;
        let stated = stated.with_addresses_of(&self.stated);
        let snapshot = stated.snapshot(&self.kernel)?;
        let sources = plan::sources(&config, &interfaces, &self.source_ports)?;
        self.check_sources(&sources)?;
        let listening = plan::listeners(&config, &interfaces, &self.listening)?;
        let listens = |plan: &&ListenerPlan| {
            self.listening.plans.iter().any(|before| before.at.place == plan.at.place)
        };
        let new: Vec<ListenerPlan> =
            listening.plans.iter().filter(|plan| !listens(plan)).cloned().collect();
        plan::check_ports(&new, &self.source_ports, &snapshot.fib)?;
        let runtime_sockets = self.runtime_sockets.successor(&config).map_err(BootError)?;
        let difference = Difference::new(&self.config, &config, kept);
        Ok(Prepared { config, difference, stated, snapshot, listening, sources, runtime_sockets })
    }

    /// What stacks are told of source ports when they begin cannot be changed.
    fn check_sources(&self, sources: &Sources) -> Result<(), BootError> {
        if let Some(range) =
            sources.port_ranges.iter().find(|range| !self.sources.port_ranges.contains(range))
        {
            return Err(BootError(format!(
                "'source' ports {}-{} are none that xlb was started with: restart it",
                range.start(),
                range.end()
            )));
        }
        if self.sources.servers.is_empty() && !sources.servers.is_empty() {
            return Err(BootError::new(
                "'usesrc' is new, and xlb was started without any: restart it",
            ));
        }
        Ok(())
    }

    pub(super) fn put_into_effect(&mut self, prepared: Prepared) {
        let Prepared { config, stated, snapshot, listening, sources, runtime_sockets, .. } =
            prepared;
        let config = Arc::new(config);
        let old = std::mem::replace(&mut self.config, config.clone());
        if !listening.sockets.is_empty() {
            raise_file_limit(&config);
        }
        (self.stated, self.snapshot, self.sources) = (stated, snapshot, sources);
        self.tell_fib();
        let shared = Arc::new(self.shared.successor(&old, &config));
        self.have_adopted(&shared, &listening);
        // Every worker listens before the first packet is steered to one.
        self.succession.note(&config, &self.listening, &shared.edition);
        self.succession.retire(&self.listening, &listening);
        if let Some(limit) = config.global.process.hard_stop_after {
            let gone = self.succession.proxies.keys().copied().collect();
            self.succession.deadlines.push((self.clock.now() + limit, gone));
        }
        self.listening = listening.without_left_sockets();
        if let Err(error) = self.steer() {
            log::alert(format_args!("{error}"));
        }
        self.shared = shared;
        self.operators.replace(&self.config, &self.shared, &self.listening.plans);
        self.runtime_sockets.replace(runtime_sockets, &self.operators);
        if let Err(error) = self.logger.adopt(&old, &config) {
            log::alert(format_args!("the log goes on with the rings of before: {error}"));
        }
        // Before that no worker may be given a server that is new.
        for saying in self.shared.take_effect(&old, &config, self.clock.now()) {
            self.logger.say(saying.proxy, saying.said.loudness.level(), &saying.said.text);
            log::warning(format_args!("{}", saying.said.text));
            saying.said.then.iter().for_each(|news| self.shared.mail.tell_all(*news));
        }
        let changes = watch::changes(&old, &config, self.commands.len());
        for (worker, server) in changes.end {
            self.tell(worker, Command::Unwatch(server));
        }
        for (worker, assignment) in changes.begin {
            self.tell(worker, Command::Watch(assignment));
        }
    }

    fn tell(&self, worker: usize, command: Command) {
        let (commands, bell) = &self.commands[worker];
        let _ = commands.send(command);
        bell.wake();
    }

    /// Gives all workers the configuration, and waits until each of them has it.
    fn have_adopted(&self, shared: &Arc<Shared>, listening: &Listening) {
        let adoption = Arc::new(Adoption {
            shared: shared.clone(),
            global: self.config.global.clone(),
            plans: listening.plans.clone(),
            sockets: listening.sockets.clone(),
            spin: poll_of(&self.config, self.source.order()).spin(),
        });
        let (sender, receiver) = unbounded();
        for worker in 0..self.commands.len() {
            self.tell(worker, Command::Adopt(adoption.clone(), sender.clone()));
        }
        for _ in 0..self.commands.len() {
            while receiver.recv_timeout(PATIENCE).is_err() {
                log::warning(format_args!("a worker has not taken the configuration yet"));
            }
        }
    }
}
