//! A configuration that takes the place of one that runs.
//!
//! In:    the configuration that runs, and one that was just read
//! Out:   what was read, with everything that both have at the place where it is now
//! Never: changes what a line says
//!
//! Proxies are the same by kind and name, servers by name, listeners by where they listen.

use std::net::IpAddr;

use super::model::{
    Bind, Carrier, Config, Families, Places, Proxy, ProxyIndex, ProxyKind, Server, ServerId,
};
use super::names;
use super::report::Report;

/// Who knows which places of what is gone nobody holds any more.
pub trait Vacancies {
    /// Of a proxy.
    fn is_proxy_free(&self, index: ProxyIndex) -> bool;
    /// Of a server.
    fn is_server_free(&self, id: ServerId) -> bool;
    /// Of a listener, by its frontend and its place there.
    fn is_listener_free(&self, frontend: ProxyIndex, place: usize) -> bool;
}

/// What tells a listener from others.
type Whereabouts = (Carrier, Option<IpAddr>, Families, u16, Option<String>);

fn whereabouts(bind: &Bind) -> Whereabouts {
    (bind.carrier.clone(), bind.address, bind.families, bind.port, bind.interface.clone())
}

fn identity(proxy: &Proxy) -> (ProxyKind, std::sync::Arc<str>) {
    (proxy.kind, proxy.name.clone())
}

/// `read` by the places of `running`.
pub fn succeed(running: &Config, read: Config, vacancies: &dyn Vacancies) -> Config {
    let Config { global, proxies, rings, inactive } = read;
    let mut merged = running.proxies.replaced(proxies.all().to_vec(), identity, |index| {
        vacancies.is_proxy_free(ProxyIndex(index))
    });
    // By their places in what was read.
    let places: Vec<usize> = merged.placed().map(|(place, _)| place).collect();
    let servers: Vec<Vec<usize>> =
        places.iter().map(|&place| keep_places(&mut merged, place, running, vacancies)).collect();
    let moved = |id: ServerId| ServerId {
        proxy: ProxyIndex(places[id.proxy.0]),
        index: servers[id.proxy.0][id.index],
    };
    for &place in &places {
        let proxy = &mut merged[place];
        let backend = proxy.default_backend.map(|ProxyIndex(index)| ProxyIndex(places[index]));
        proxy.default_backend = backend;
        proxy.servers.values_mut().for_each(|server| server.track = server.track.map(moved));
    }
    // All were found when it was read.
    names::resolve(&mut merged, &mut Report::default());
    Config { global, proxies: merged, rings, inactive }
}

/// `running` with these servers in one of its backends; those that it has keep their places.
pub fn with_servers(
    running: &Config,
    backend: ProxyIndex,
    servers: Vec<Server>,
    vacancies: &dyn Vacancies,
) -> Config {
    let mut config = running.clone();
    let proxy = &mut config.proxies[backend.0];
    proxy.servers = proxy.servers.replaced(
        servers,
        |server| server.name.clone(),
        |at| vacancies.is_server_free(ServerId { proxy: backend, index: at }),
    );
    config
}

/// Finds again what rules and expressions name; whether all of it is there.
pub fn rename_references(config: &mut Config) -> bool {
    let mut report = Report::default();
    names::resolve(&mut config.proxies, &mut report);
    !report.is_fatal()
}

/// Gives the servers and listeners of a proxy the places that they have now; the places of its servers, as they were read.
fn keep_places(
    merged: &mut Places<Proxy>,
    place: usize,
    running: &Config,
    vacancies: &dyn Vacancies,
) -> Vec<usize> {
    let index = ProxyIndex(place);
    let proxy = &mut merged[place];
    if running.proxies.has(place) {
        let before = &running.proxies[place];
        let read = proxy.servers.all().to_vec();
        proxy.servers = before.servers.replaced(
            read,
            |server| server.name.clone(),
            |at| vacancies.is_server_free(ServerId { proxy: index, index: at }),
        );
        let read = proxy.binds.all().to_vec();
        proxy.binds =
            before.binds.replaced(read, whereabouts, |at| vacancies.is_listener_free(index, at));
    }
    proxy.servers.placed().map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Text, load_from};

    struct Nothing;

    impl Vacancies for Nothing {
        fn is_proxy_free(&self, _: ProxyIndex) -> bool {
            false
        }

        fn is_server_free(&self, _: ServerId) -> bool {
            false
        }

        fn is_listener_free(&self, _: ProxyIndex, _: usize) -> bool {
            false
        }
    }

    fn read(text: &str) -> Config {
        let text = Text(format!("defaults\n timeout client 1s\n timeout server 1s\n{text}"));
        load_from(&["x".into()], &Environment::default(), &text).unwrap().config
    }

    #[test]
    fn names_lead_to_the_places_that_things_have_now() {
        let running = read(
            "frontend f\n bind :80\n bind :81\n default_backend b\nbackend b\n server one 192.0.2.1:1 check\n \
             server two 192.0.2.2:1 track one\n",
        );
        let next = read(
            "backend new\n server x 192.0.2.9:1\nbackend b\n server three 192.0.2.3:1 track two\n \
             server two 192.0.2.2:1 check\nfrontend f\n bind :82\n bind :81\n use_backend new if { src 192.0.2.7 }\n \
             default_backend b\n use_backend b if { srv_conn(b/two) gt 1 }\n",
        );
        let next = succeed(&running, next, &Nothing);
        let order: Vec<_> = next.proxies.placed().map(|(at, one)| (at, &*one.name)).collect();
        assert_eq!(order, [(2, "new"), (1, "b"), (0, "f")]);
        let f = &next.proxies[0];
        assert_eq!(f.default_backend, Some(ProxyIndex(1)));
        let binds: Vec<_> = f.binds.placed().map(|(at, bind)| (at, bind.port)).collect();
        assert_eq!(binds, [(2, 82), (1, 81)]);
        assert_eq!(f.binds[0].port, 80, "who came in by it still knows it");
        let b = &next.proxies[1];
        let servers: Vec<_> = b.servers.placed().map(|(at, one)| (at, &*one.name)).collect();
        assert_eq!(servers, [(2, "three"), (1, "two")]);
        assert_eq!(b.servers[2].track, Some(ServerId { proxy: ProxyIndex(1), index: 1 }));
        let named = |rule: usize| match &f.use_backend[rule].backend {
            crate::config::model::BackendChoice::Fixed(name) => name.index,
            other => panic!("{other:?}"),
        };
        assert_eq!([named(0), named(1)], [Some(ProxyIndex(2)), Some(ProxyIndex(1))]);
        let text = format!("{:?}", f.acls);
        assert!(text.contains("ServerId { proxy: ProxyIndex(1), index: 1 }"), "{text}");
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let text =
            "frontend f\n bind :80\n default_backend b\nbackend b\n server one 192.0.2.1:1\n";
        let running = read(text);
        assert_eq!(succeed(&running, read(&format!("\n\n{text}")), &Nothing), running);
    }
}
