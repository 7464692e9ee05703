//! Servers that come and go by an operator's word: a configuration with one server more or less.
//!
//! In:    the name of a server; the words that a `server` line would have
//! Out:   the configuration with it or without it, in effect; or why not, in HAProxy's words
//! Never: takes away a server that anything works with
//! Read:  HAProxy's management guide, "add server", "del server"

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{BootError, Running};
use crate::config::model::{Algorithm, Config, HashMethod, Proxy, ProxyIndex, Server, ServerId};
use crate::config::succession::{rename_references, with_servers};
use crate::config::{Environment, Surroundings, System, load_from};
use crate::health::Checker;

/// A configuration of one server, as a file.
struct OneServer(String);

impl Surroundings for OneServer {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        System.resolve(name)
    }
}

/// The server that a line would make.
fn parse(name: &str, words: &[String]) -> Result<Server, String> {
    let text = format!(
        "backend added\n timeout connect 1s\n timeout server 1s\n server {name} {}\n",
        words.join(" ")
    );
    let loaded = load_from(&["added".into()], &Environment::default(), &OneServer(text));
    let config = loaded.map_err(|report| {
        let first = report.diagnostics.first().map(|first| first.text.clone());
        first.unwrap_or_default() + "\n"
    })?;
    let proxy = config.config.proxies.values().next().expect("one section was written");
    proxy.servers.values().next().cloned().ok_or_else(|| "That is no server.\n".to_string())
}

fn is_dynamic(proxy: &Proxy) -> bool {
    let is_map = proxy.balance.hash_type.method == HashMethod::MapBased;
    match proxy.balance.algorithm {
        Algorithm::StaticRr => false,
        Algorithm::Source | Algorithm::RdpCookie(_) => !is_map,
        _ => true,
    }
}

impl Running {
    /// Adds a server, in maintenance and without its checks running yet.
    pub fn add_server(
        &mut self,
        backend: ProxyIndex,
        name: &str,
        words: &[String],
    ) -> Result<String, String> {
        let proxy = &self.config.proxies[backend.0];
        if proxy.servers.values().any(|known| *known.name == *name) {
            return Err("Already exists a server with the same name in backend.\n".into());
        }
        if !is_dynamic(proxy) {
            return Err(
                "Backend must use a dynamic load balancing to support dynamic servers.\n".into()
            );
        }
        if words.is_empty() {
            return Err("'server' expects <name> and <addr>[:<port>] as arguments.\n".into());
        }
        let has_id = words.iter().any(|word| word == "id");
        let mut server = parse(name, words)?;
        let is_taken = |id: u32| proxy.servers.values().any(|known| known.id == id);
        if has_id && is_taken(server.id) {
            return Err(format!("The id {} belongs to another server.\n", server.id));
        }
        if !has_id {
            server.id = (1..).find(|&id| !is_taken(id)).expect("numbers do not run out");
        }
        server.disabled = true;
        let servers = proxy.servers.values().cloned().chain([server]).collect();
        let config = self.with_servers_of(backend, servers);
        self.change_to(config)?;
        let added = &self.config.proxies[backend.0].servers;
        let (place, _) = added.placed().last().expect("it was just added");
        for checker in [Checker::Health, Checker::Agent] {
            self.shared.backend(backend).set_watched(place, checker, false);
        }
        Ok("New server registered.\n".into())
    }

    /// Takes a server away that is in maintenance and that nothing works with.
    pub fn del_server(&mut self, id: ServerId) -> Result<String, String> {
        let backend = self.shared.backend(id.proxy).clone();
        if !backend.admin(id.index).maintenance {
            return Err("Only servers in maintenance mode can be deleted.\n".into());
        }
        if !backend.is_idle(id.index) {
            return Err("Server still has connections attached to it, cannot remove it.\n".into());
        }
        let tracks = |proxy: &Proxy| proxy.servers.values().any(|one| one.track == Some(id));
        let servers = self.config.proxies[id.proxy.0].servers.placed();
        let left = servers.filter(|(at, _)| *at != id.index).map(|(_, one)| one.clone()).collect();
        let mut config = self.with_servers_of(id.proxy, left);
        if self.config.proxies.values().any(tracks) || !rename_references(&mut config) {
            return Err(
                "This server cannot be removed at runtime due to other configuration elements \
                        pointing to it.\n"
                    .into(),
            );
        }
        self.change_to(config)?;
        Ok("Server deleted.\n".into())
    }

    fn with_servers_of(&self, backend: ProxyIndex, servers: Vec<Server>) -> Config {
        with_servers(&self.config, backend, servers, &self.vacancies())
    }

    pub(super) fn change_to(&mut self, config: Config) -> Result<(), String> {
        if self.shared.is_stopping() {
            return Err("xlb is about to end.\n".into());
        }
        let prepared = self.prepare_for(config, Vec::new());
        let prepared = prepared.map_err(|BootError(text)| format!("{text}\n"))?;
        self.put_into_effect(prepared);
        Ok(())
    }
}
