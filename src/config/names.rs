//! Proxies and servers that rules and expressions name.
//!
//! In:    proxies whose names are all known
//! Out:   the same, with places instead of names; or the report
//! Never: reads a word

use std::collections::BTreeMap;

use super::model::{
    Acl, Action, BackendChoice, Expression, Fetch, Location, NamePart, Places, Proxy, ProxyFact,
    ProxyIndex, ServerId, ServerName,
};
use super::nearest::suggestion;
use super::report::Report;

/// What a name can mean.
struct Names {
    /// By place.
    proxies: BTreeMap<usize, Named>,
}

struct Named {
    name: std::sync::Arc<str>,
    is_frontend: bool,
    is_backend: bool,
    servers: Vec<(usize, std::sync::Arc<str>)>,
}

impl Names {
    fn proxy(&self, name: &str, is_meant: impl Fn(&Named) -> bool) -> Option<ProxyIndex> {
        let is_it = |(_, proxy): &(&usize, &Named)| &*proxy.name == name && is_meant(proxy);
        self.proxies.iter().find(is_it).map(|(&place, _)| ProxyIndex(place))
    }

    fn server(&self, words: &str, itself: ProxyIndex) -> Option<ServerId> {
        let (proxy, name) = match words.split_once('/') {
            Some((backend, name)) => (self.proxy(backend, |proxy| proxy.is_backend)?, name),
            None => (itself, words),
        };
        let servers = &self.proxies[&proxy.0].servers;
        let (index, _) = servers.iter().find(|(_, server)| &**server == name)?;
        Some(ServerId { proxy, index: *index })
    }
}

/// Finds every name.
pub(super) fn resolve(proxies: &mut Places<Proxy>, report: &mut Report) {
    let named = |proxy: &Proxy| Named {
        name: proxy.name.clone(),
        is_frontend: proxy.kind.is_frontend(),
        is_backend: proxy.kind.is_backend(),
        servers: proxy.servers.placed().map(|(at, server)| (at, server.name.clone())).collect(),
    };
    let names = Names { proxies: proxies.placed().map(|(at, proxy)| (at, named(proxy))).collect() };
    for &index in names.proxies.keys() {
        let mut search = Search { names: &names, itself: ProxyIndex(index), report };
        search.proxy(&mut proxies[index]);
    }
}

struct Search<'a> {
    names: &'a Names,
    itself: ProxyIndex,
    report: &'a mut Report,
}

impl Search<'_> {
    fn proxy(&mut self, proxy: &mut Proxy) {
        for Acl { lines, .. } in &mut proxy.acls {
            for line in lines {
                self.expression(&mut line.expression, &line.at);
            }
        }
        let rules = &mut proxy.tcp_rules;
        let lists =
            [&mut rules.connection, &mut rules.session, &mut rules.content, &mut rules.response];
        for rule in lists.into_iter().flatten() {
            match &mut rule.action {
                Action::SetEnd(_, expression)
                | Action::SetVariable(_, expression)
                | Action::SetPriorityClass(expression)
                | Action::SetPriorityOffset(expression) => self.expression(expression, &rule.at),
                _ => {}
            }
        }
        for rule in &mut proxy.use_backend {
            match &mut rule.backend {
                BackendChoice::Fixed(name) => {
                    name.index = self.names.proxy(&name.name, |proxy| proxy.is_backend);
                    if name.index == Some(self.itself) {
                        let text = format!(
                            "Proxy '{}': loop detected for use_backend: '{}'.",
                            proxy.name, name.name
                        );
                        self.report.alert(Some(&rule.at), text);
                    }
                    if name.index.is_none() {
                        let known = self.names.proxies.values().filter(|proxy| proxy.is_backend);
                        let near = suggestion(&name.name, known.map(|proxy| &*proxy.name));
                        let text = format!(
                            "Proxy '{}': unable to find required use_backend: '{}'{near}",
                            proxy.name, name.name
                        );
                        self.report.alert(Some(&rule.at), text);
                    }
                }
                BackendChoice::Made(parts) => {
                    for part in parts {
                        if let NamePart::Expression(expression) = part {
                            self.expression(expression, &rule.at);
                        }
                    }
                }
            }
        }
        for rule in &mut proxy.use_server {
            // Only a server of its own can serve it.
            let own = !rule.server.name.contains('/');
            rule.server.id = self.names.server(&rule.server.name, self.itself).filter(|_| own);
            if rule.server.id.is_none() {
                let known = self.names.proxies[&self.itself.0].servers.iter();
                let near = suggestion(&rule.server.name, known.map(|(_, name)| &**name));
                let text = format!(
                    "Proxy '{}' : unable to find server '{}' referenced in a 'use-server' rule{near}",
                    proxy.name, rule.server.name
                );
                self.report.alert(Some(&rule.at), text);
            }
        }
    }

    fn expression(&mut self, expression: &mut Expression, at: &Location) {
        match &mut expression.fetch {
            Fetch::Proxy(fact, Some(name)) => {
                let of_frontend =
                    matches!(fact, ProxyFact::FrontendConns | ProxyFact::FrontendRate);
                name.index = self.names.proxy(&name.name, |proxy| {
                    if of_frontend { proxy.is_frontend } else { proxy.is_backend }
                });
                if name.index.is_none() {
                    let what = if of_frontend { "frontend" } else { "backend" };
                    let text =
                        format!("'{}' : unable to find {what} '{}'.", expression.text, name.name);
                    self.report.alert(Some(at), text);
                }
            }
            Fetch::Server(_, name) => self.server(name, &expression.text, at),
            _ => {}
        }
    }

    fn server(&mut self, name: &mut ServerName, text: &str, at: &Location) {
        name.id = self.names.server(&name.name, self.itself);
        if name.id.is_none() {
            let text = format!("'{text}' : unable to find server '{}'.", name.name);
            self.report.alert(Some(at), text);
        }
    }
}
