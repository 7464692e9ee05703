//! What a backend promises to streams: places, queues, and whose turn it is.

use std::sync::atomic::{AtomicU32, Ordering as Atomic};

use super::*;
use crate::config::model::{CheckStatus, CheckTimes};
use crate::config::{Environment, Text, load_from};
use crate::health::{Admin, Checker, Loudness, Operation, Outcome};
use crate::shared::{News, Parting};
use crate::transport::Token;

struct Nobody;

impl crate::shared::Wake for Nobody {
    fn wake(&self) {}
}

/// A backend with `servers` servers, changed by `change`, and the boxes of two workers.
fn backend(servers: usize, change: impl FnOnce(&mut Config)) -> (Backend, Arc<Mail>) {
    let mut text = String::from(
        "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n option redispatch\n\
         frontend f\n bind :80\n default_backend b\n maxconn 1000\nbackend b\n",
    );
    for server in 0..servers {
        text.push_str(&format!(" server s{server} 192.0.2.{}:80\n", server + 1));
    }
    let loaded = load_from(&["x".into()], &Environment::default(), &Text(text)).unwrap();
    let mut config = loaded.config;
    change(&mut config);
    let mail = Arc::new(Mail::new(vec![Box::new(Nobody), Box::new(Nobody)]));
    (Backend::new(&config, ProxyIndex(1), mail.clone()), mail)
}

fn maxconn(places: u32) -> impl Fn(&mut Config) {
    move |config| {
        for server in config.proxies[1].servers.values_mut() {
            server.maxconn = places;
        }
    }
}

const MAINTENANCE: Admin = Admin { maintenance: true, drain: false };

fn outcome(status: CheckStatus) -> Outcome {
    Outcome { status, code: 0, info: String::new(), duration: Some(Duration::ZERO) }
}

fn failed() -> Outcome {
    outcome(CheckStatus::L4Con)
}

fn passed() -> Outcome {
    outcome(CheckStatus::L4Ok)
}

fn demand(token: u64) -> Demand<'static> {
    Demand {
        key: None,
        avoid: None,
        server: None,
        priority: Priority::default(),
        waiter: Waiter { worker: 0, token: Token(token) },
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn assign(backend: &Backend, demand: &Demand<'_>) -> Assigned {
    backend.enter(Instant::from_micros(0));
    backend.assign(demand, &mut || 7, at(1))
}

fn ticket(assigned: Assigned) -> TicketId {
    match assigned {
        Assigned::Queued(ticket) => ticket,
        other => panic!("{other:?} is no ticket"),
    }
}

/// The streams that were told to look at their tickets.
fn told(mail: &Mail, worker: usize) -> Vec<u64> {
    std::iter::from_fn(|| mail.next(worker))
        .map(|news| match news {
            News::Ticket(Token(token)) => token,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn who_finds_no_place_waits_and_is_served_in_order() {
    let (backend, mail) = backend(2, maxconn(1));
    assert_eq!(assign(&backend, &demand(1)), Assigned::Server(0));
    assert_eq!(assign(&backend, &demand(2)), Assigned::Server(1));
    let third = ticket(assign(&backend, &demand(3)));
    let fourth = ticket(assign(&backend, &demand(4)));
    assert_eq!((backend.turn(third), backend.queue_len()), (Turn::Wait, 2));
    backend.release(1);
    assert_eq!(told(&mail, 0), [3]);
    assert_eq!((backend.turn(third), backend.turn(fourth)), (Turn::Server(1), Turn::Wait));
    backend.release(0);
    assert_eq!(backend.turn(fourth), Turn::Server(0));
    assert_eq!((backend.served(), backend.queue_len()), (2, 0));
}

#[test]
fn nobody_who_comes_later_is_served_before_those_who_wait() {
    let (backend, _mail) = backend(1, maxconn(1));
    assert_eq!(assign(&backend, &demand(1)), Assigned::Server(0));
    let second = ticket(assign(&backend, &demand(2)));
    backend.release(0);
    // The place is kept for the second, though it has not looked yet.
    let third = ticket(assign(&backend, &demand(3)));
    assert_eq!((backend.turn(second), backend.turn(third)), (Turn::Server(0), Turn::Wait));
}

#[test]
fn a_stream_that_leaves_the_queue_gives_its_turn_to_the_next() {
    let (backend, mail) = backend(1, maxconn(1));
    assign(&backend, &demand(1));
    let tickets: Vec<TicketId> = (2..5).map(|at| ticket(assign(&backend, &demand(at)))).collect();
    backend.cancel(tickets[0]);
    backend.release(0);
    assert_eq!(told(&mail, 0), [3]);
    // It was told, and leaves before it has looked: the place goes on to the next.
    backend.cancel(tickets[1]);
    assert_eq!((told(&mail, 0), backend.turn(tickets[2])), (vec![4], Turn::Server(0)));
    assert_eq!(backend.load(0).served, 1);
}

#[test]
fn priority_goes_before_coming() {
    let (backend, mail) = backend(1, maxconn(1));
    assign(&backend, &demand(1));
    assign(&backend, &demand(2));
    let urgent = Priority { class: -1, offset_ms: 0 };
    assign(&backend, &Demand { priority: urgent, ..demand(3) });
    backend.release(0);
    assert_eq!(told(&mail, 0), [3]);
}

#[test]
fn a_stream_bound_to_a_server_waits_for_that_one_alone() {
    let (backend, mail) = backend(2, |config| {
        maxconn(1)(config);
        config.proxies[1].servers[1].maxqueue = 1;
    });
    let bound = |token| Demand { server: Some(1), ..demand(token) };
    assert_eq!(assign(&backend, &bound(1)), Assigned::Server(1));
    let second = ticket(assign(&backend, &bound(2)));
    assert_eq!(assign(&backend, &bound(3)), Assigned::QueueFull);
    assert_eq!(assign(&backend, &demand(4)), Assigned::Server(0));
    backend.release(0);
    assert_eq!((told(&mail, 0), backend.turn(second)), (vec![], Turn::Wait));
    backend.release(1);
    assert_eq!(backend.turn(second), Turn::Server(1));
}

#[test]
fn the_limit_follows_the_load_between_minconn_and_maxconn() {
    let (backend, _mail) = backend(1, |config| {
        config.proxies[1].fullconn = Some(20);
        config.proxies[1].servers[0].maxconn = 10;
        config.proxies[1].servers[0].minconn = 2;
    });
    // Streams 1 and 2 have places by minconn; the third makes 3 of 20: 1.5 places of 10.
    let got: Vec<bool> =
        (0..20).map(|at| matches!(assign(&backend, &demand(at)), Assigned::Server(_))).collect();
    assert_eq!(got.iter().filter(|got| **got).count(), 2, "who waits is not overtaken");
    // At full load a place that comes free lets everybody in up to maxconn.
    backend.release(0);
    assert_eq!(backend.load(0).served, 10);
}

#[test]
fn a_server_that_goes_down_sends_its_queue_elsewhere() {
    let (backend, mail) = backend(2, maxconn(1));
    let bound = |token| Demand { server: Some(1), ..demand(token) };
    assign(&backend, &bound(1));
    let second = ticket(assign(&backend, &bound(2)));
    backend.administer(1, MAINTENANCE, None, at(1));
    assert_eq!((told(&mail, 0), backend.turn(second)), (vec![2], Turn::AskAgain));
    assert_eq!(assign(&backend, &demand(2)), Assigned::Server(0));
    assert_eq!(backend.usable(), (1, 0));
    backend.release(1);
    assert_eq!(backend.queue_len(), 0);
}

#[test]
fn a_server_that_comes_up_takes_who_waits() {
    let (backend, mail) = backend(2, maxconn(1));
    backend.administer(1, MAINTENANCE, None, at(1));
    assign(&backend, &demand(1));
    let second = ticket(assign(&backend, &demand(2)));
    backend.administer(1, Admin::default(), None, at(1));
    assert_eq!((told(&mail, 0), backend.turn(second)), (vec![2], Turn::Server(1)));
    backend.administer(0, MAINTENANCE, None, at(1));
    backend.administer(1, MAINTENANCE, None, at(1));
    assert_eq!(assign(&backend, &demand(3)), Assigned::Nobody);
}

#[test]
fn a_cold_server_takes_less() {
    assert_eq!(warmth(None, Duration::ZERO), 100);
    let after = |seconds| warmth(Some(Duration::from_secs(10)), Duration::from_secs(seconds));
    assert_eq!([after(0), after(3), after(9), after(10), after(60)], [1, 30, 90, 100, 100]);
    let (backend, _mail) = backend(1, |config| {
        maxconn(10)(config);
        config.proxies[1].servers[0].slowstart = Some(Duration::from_secs(10));
        config.proxies[1].servers[0].check = Some(CheckTimes::default());
    });
    backend.checked(0, Checker::Health, &failed(), at(0));
    backend.checked(0, Checker::Health, &passed(), at(1_000));
    backend.checked(0, Checker::Health, &passed(), at(1_000));
    backend.warm(0, at(4_000));
    let got = (0..5).filter(|&at| matches!(assign(&backend, &demand(at)), Assigned::Server(_)));
    assert_eq!(got.count(), 3);
}

#[test]
fn places_are_exact_under_many_workers() {
    let (backend, mail) = backend(3, maxconn(2));
    let held: Vec<AtomicU32> = (0..3).map(|_| AtomicU32::new(0)).collect();
    let work = |server: usize| {
        assert!(held[server].fetch_add(1, Atomic::SeqCst) < 2, "one too many on server {server}");
        std::thread::yield_now();
        held[server].fetch_sub(1, Atomic::SeqCst);
        backend.release(server);
    };
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (backend, mail, work) = (&backend, &mail, &work);
            scope.spawn(move || {
                for token in 0..3_000 {
                    let waiter = Waiter { worker, token: Token(token) };
                    backend.enter(Instant::from_micros(0));
                    match backend.assign(&Demand { waiter, ..demand(0) }, &mut || 7, at(token)) {
                        Assigned::Server(server) => work(server),
                        Assigned::Queued(ticket) if token % 7 == 0 => backend.cancel(ticket),
                        Assigned::Queued(ticket) => loop {
                            match backend.turn(ticket) {
                                Turn::Server(server) => break work(server),
                                Turn::AskAgain => panic!("nothing went down"),
                                Turn::Wait => std::thread::yield_now(),
                            }
                        },
                        other => panic!("{other:?}"),
                    }
                    backend.leave();
                    while mail.next(worker).is_some() {}
                }
            });
        }
    });
    assert_eq!((backend.served(), backend.queue_len(), backend.streams()), (0, 0, 0));
}

/// A backend whose servers are checked.
fn checked_backend(servers: usize) -> (Backend, Arc<Mail>) {
    backend(servers, |config| {
        for server in config.proxies[1].servers.values_mut() {
            server.check = Some(CheckTimes::default());
            server.shutdown_when_down = true;
        }
        config.proxies[1].servers[servers - 1].backup = true;
    })
}

#[test]
fn changes_are_told_as_haproxy_tells_them() {
    let (backend, _mail) = checked_backend(2);
    let down = backend.checked(0, Checker::Health, &failed(), at(5));
    let text = "Server b/s0 is DOWN, reason: Layer4 connection problem, check duration: 0ms. 0 active and 1 \
                backup servers left. Running on backup. 0 sessions active, 0 requeued, 0 remaining in queue.";
    let then = vec![News::Leave(backend.id_of(0), Parting::Down)];
    assert_eq!(down.said, [Said { loudness: Loudness::Alert, text: text.into(), then }]);
    assert_eq!(down.operation, Some(Operation::Stopped));
    let none = backend.checked(1, Checker::Health, &failed(), at(6));
    assert!(none.said[0].text.starts_with("Backup Server b/s1 is DOWN"), "{none:?}");
    let emergency = (Loudness::Emergency, "backend b has no server available!");
    assert_eq!((none.said[1].loudness, none.said[1].text.as_str()), emergency);
    assert_eq!(assign(&backend, &demand(1)), Assigned::Nobody);
    assert!(backend.checked(0, Checker::Health, &passed(), at(7)).said.is_empty());
    let up = backend.checked(0, Checker::Health, &passed(), at(8));
    assert!(
        up.said[0].text.starts_with("Server b/s0 is UP, reason: Layer4 check passed"),
        "{up:?}"
    );
    assert_eq!(assign(&backend, &demand(1)), Assigned::Server(0));
}

/// What the backend is under the next configuration: `servers` by name and address, in this order.
fn next(
    backend: &Backend,
    before: &Config,
    servers: &[(&str, u8)],
    change: impl Fn(&mut Config),
) -> (Backend, Config) {
    let mut config = before.clone();
    let known = before.proxies[1].servers.values().next().expect("it has one").clone();
    let made = servers.iter().map(|(name, host)| {
        let old = before.proxies[1].servers.values().find(|old| *old.name == **name);
        let address = std::net::IpAddr::from([192, 0, 2, *host]);
        Server { name: (*name).into(), address, ..old.unwrap_or(&known).clone() }
    });
    let places = &before.proxies[1].servers;
    config.proxies[1].servers = places.replaced(made.collect(), |one| one.name.clone(), |_| false);
    change(&mut config);
    let after = backend.successor(&config, ProxyIndex(1));
    after.make_room();
    (after, config)
}

fn config_of(backend: &Backend) -> Config {
    let mut config = Config::default();
    let other = Proxy::clone(&backend.config);
    config.proxies = vec![other, Proxy::clone(&backend.config)].into();
    config
}

#[test]
fn a_server_that_is_new_is_chosen_only_once_the_configuration_holds() {
    let (backend, _mail) = backend(2, maxconn(9));
    let before = config_of(&backend);
    let (after, _) = next(&backend, &before, &[("new", 7), ("s1", 2)], |_| ());
    // A worker has it already, another does not yet.
    let got = |backend: &Backend| {
        let pick = |at| assign(backend, &demand(at));
        let got: std::collections::BTreeSet<_> = (0..8)
            .map(|at| match pick(at) {
                Assigned::Server(server) => server,
                other => panic!("{other:?}"),
            })
            .collect();
        got.into_iter().collect::<Vec<_>>()
    };
    assert_eq!([got(&backend), got(&after)], [[0, 1], [0, 1]]);
    let effect = after.take_effect(&before.proxies[1], at(1));
    assert!(effect.said.is_empty(), "{effect:?}");
    assert_eq!(got(&after), [1, 2]);
    assert_eq!((after.load(0).served, after.served()), (8, 24), "who is there stays");
    assert_eq!(after.usable(), (2, 0));
}

#[test]
fn who_waits_for_a_server_that_is_gone_asks_again() {
    let (backend, mail) = backend(2, |config| {
        maxconn(1)(config);
        config.proxies[1].redispatch = crate::config::model::Redispatch::Never;
    });
    let before = config_of(&backend);
    let bound = |token| Demand { server: Some(0), ..demand(token) };
    assign(&backend, &bound(1));
    let second = ticket(assign(&backend, &bound(2)));
    let (after, _) = next(&backend, &before, &[("s1", 2)], |_| ());
    assert!(!after.is_idle(0));
    after.take_effect(&before.proxies[1], at(1));
    assert_eq!((told(&mail, 0), after.turn(second)), (vec![2], Turn::AskAgain));
    assert_eq!(assign(&after, &demand(2)), Assigned::Server(1));
    after.release(0);
    assert!(after.is_idle(0), "its place can be given again");
}

#[test]
fn what_the_file_does_not_change_stays_as_an_operator_has_it() {
    let (backend, _mail) = backend(2, maxconn(9));
    let before = config_of(&backend);
    backend.set_weight(0, 5 * 16, at(1));
    backend.set_maxconn(0, 3);
    backend.administer(1, MAINTENANCE, None, at(1));
    let (after, config) = next(&backend, &before, &[("s0", 1), ("s1", 2)], |_| ());
    after.take_effect(&before.proxies[1], at(2));
    assert_eq!((after.weights(0), after.usable()), ((5, 5), (1, 0)));
    let (last, _) = next(&after, &config, &[("s0", 1), ("s1", 2)], |config| {
        config.proxies[1].servers[0].weight = 8;
    });
    last.take_effect(&config.proxies[1], at(3));
    let survey = last.survey(at(3));
    assert_eq!((last.weights(0), survey.servers[0].maxconn), ((8, 8), 3));
}
