//! The runtime interface: what an operator asks of a process that works, and changes in it.
//!
//! In:    clients of `stats socket`
//! Out:   HAProxy's answers in HAProxy's forms; orders to workers, backends and the control thread
//! Owns:  a thread for each socket and each session
//! Never: makes a packet wait: what takes long is asked of workers in pages
//! Read:  docs/management.md, "Runtime interface"
//!
//! By file: [`socket`] (sockets, sessions at once), [`session`] (one client's lines), [`commands`] (which words do what),
//! [`view`] (what is gathered), [`stat`], [`info`] and [`typed`] (figures and their forms), [`http`], [`page`] and [`metrics`] (for browsers and
//! Prometheus), [`servers`], [`frontends`],
//! [`streams`], [`inside`] (what commands do).

mod acls;
pub mod client;
mod commands;
mod frontends;
pub mod http;
mod info;
mod inside;
mod metrics;
mod page;
mod reload;
mod servers;
mod session;
pub mod socket;
pub mod stat;
mod streams;
pub mod typed;
pub mod view;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Sender, unbounded};
use jiff::tz::TimeZone;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::config::model::{Config, ProxyIndex, ServerId};
use crate::control::{Question, ask_reports};
use crate::log;
use crate::proxies::ListenerPlan;
use crate::shared::{Saying, Shared, Wake};
use crate::syslog::Logger;
use crate::vitals::Vitals;
use crate::worker::{Command, Page, WorkerReport};
use view::View;

/// A worker answers within a turn; one that does not is not waited for longer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The control thread reads files, and asks every worker.
const RELOAD_MAX: Duration = Duration::from_secs(30);

/// What commands can reach now: another configuration makes it another one.
pub struct Operators(Mutex<Arc<Runtime>>);

impl Operators {
    /// From now on this one.
    pub fn new(runtime: Runtime) -> Self {
        Operators(Mutex::new(Arc::new(runtime)))
    }

    /// The one of now.
    pub fn current(&self) -> Arc<Runtime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on another configuration.
    pub fn replace(&self, config: &Arc<Config>, shared: &Arc<Shared>, plans: &[ListenerPlan]) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Runtime {
            config: config.clone(),
            shared: shared.clone(),
            plans: plans.to_vec(),
            ..Runtime::clone(&current)
        };
        *current = Arc::new(next);
    }
}

/// What commands can reach.
#[derive(Clone)]
pub struct Runtime {
    /// The configuration.
    pub config: Arc<Config>,
    /// What workers share.
    pub shared: Arc<Shared>,
    /// Every listener.
    pub plans: Vec<ListenerPlan>,
    /// Where each worker takes commands.
    pub workers: Vec<(Sender<Command>, Arc<Bell>)>,
    /// What can be seen of the workers.
    pub vitals: Vec<Arc<Vitals>>,
    /// Where the control thread takes questions.
    pub control: (Sender<Question>, Arc<Bell>),
    /// The log.
    pub logger: Logger,
    /// The time.
    pub clock: Clock,
    /// The name of this machine.
    pub node: String,
    /// The local time zone.
    pub zone: TimeZone,
    /// Source ports towards servers.
    pub source_ports: RangeInclusive<u16>,
    /// Workers without work spin for ever.
    pub is_polling_busily: bool,
    /// What only forms of our own pages know.
    pub form_token: String,
}

impl Runtime {
    /// How all workers are.
    fn reports(&self) -> Vec<WorkerReport> {
        ask_reports(&self.workers)
    }

    /// How all proxies are.
    fn view(&self) -> View {
        self.view_of(&self.reports())
    }

    /// The same, by reports that are there already.
    fn view_of(&self, reports: &[WorkerReport]) -> View {
        View::gather(&self.shared, &self.plans, reports, self.clock.now())
    }

    /// Tells one worker something.
    fn tell(&self, worker: usize, command: Command) {
        let (commands, bell) = &self.workers[worker];
        let _ = commands.send(command);
        bell.wake();
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        (0..self.workers.len()).for_each(|worker| self.tell(worker, command()));
    }

    /// Asks one worker; `None` when there is no answer.
    fn ask<A>(&self, worker: usize, command: impl FnOnce(Sender<A>) -> Command) -> Option<A> {
        let (sender, receiver) = unbounded();
        self.tell(worker, command(sender));
        receiver.recv_timeout(ANSWER_MAX).ok()
    }

    /// All of a long list, page by page and worker by worker; each page is one turn's work.
    fn pages<A>(
        &self,
        command: impl Fn(usize, Sender<Page<A>>) -> Command,
        mut take: impl FnMut(usize, A),
    ) {
        for worker in 0..self.workers.len() {
            let mut from = Some(0);
            while let Some(place) = from {
                let answer = self.ask(worker, |to| command(place, to));
                let Some((items, next)) = answer else { break };
                items.into_iter().for_each(|item| take(worker, item));
                from = next;
            }
        }
    }

    /// Asks the control thread.
    fn ask_control<A>(&self, question: impl FnOnce(Sender<A>) -> Question) -> Option<A> {
        self.ask_control_for(ANSWER_MAX, question)
    }

    /// The same, about something that may take longer.
    fn ask_control_for<A>(
        &self,
        most: Duration,
        question: impl FnOnce(Sender<A>) -> Question,
    ) -> Option<A> {
        let (sender, receiver) = unbounded();
        let (control, bell) = &self.control;
        let _ = control.send(question(sender));
        bell.wake();
        receiver.recv_timeout(most).ok()
    }

    /// Tells of servers what an order has led to: the log, the operator, the workers.
    fn say(&self, sayings: Vec<Saying>) {
        for Saying { proxy, said } in sayings {
            self.logger.say(proxy, said.loudness.level(), &said.text);
            log::warning(format_args!("{}", said.text));
            said.then.iter().for_each(|news| self.shared.mail.tell_all(*news));
        }
    }

    /// A limit has changed: who waited for a place looks again.
    fn announce_room(&self) {
        self.shared.announce_room();
    }

    /// The frontend of this name.
    fn frontend(&self, name: &str) -> Option<ProxyIndex> {
        let is_it = |(_, proxy): &(ProxyIndex, &Arc<crate::config::model::Proxy>)| {
            proxy.kind.is_frontend() && *proxy.name == *name
        };
        self.shared.proxies().find(is_it).map(|(index, _)| index)
    }

    /// The server that `backend/server` names; else what is wrong with that.
    fn server(&self, name: Option<&str>) -> Result<ServerId, String> {
        let (backend, server) =
            name.and_then(|name| name.split_once('/')).ok_or("Require 'backend/server'.\n")?;
        let proxy = self.backend(backend).ok_or("No such backend.\n")?;
        let servers = &self.shared.backend(proxy).config.servers;
        // HAProxy takes `#<number>` too.
        let number = server.strip_prefix('#').and_then(|id| id.parse().ok());
        let index =
            servers.placed().find(|(_, one)| *one.name == *server || Some(one.id) == number);
        let (index, _) = index.ok_or("No such server.\n")?;
        Ok(ServerId { proxy, index })
    }

    /// The backend of this name or `#<number>`.
    fn backend(&self, name: &str) -> Option<ProxyIndex> {
        let number = name.strip_prefix('#').and_then(|id| id.parse().ok());
        self.shared.backend_named(name).or_else(|| {
            let mut proxies = self.shared.proxies();
            proxies
                .find(|(_, proxy)| proxy.kind.is_backend() && Some(proxy.id) == number)
                .map(|(index, _)| index)
        })
    }
}
