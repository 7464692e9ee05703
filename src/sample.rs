//! Samples: what expressions find, for rules, names and log lines.
//!
//! In:    an [`Expression`], and a [`Scene`] to look at
//! Out:   a [`Sample`]
//! Owns:  variables
//! Never: waits; who asks decides whether what is not there yet is worth waiting for
//!
//! [`fetch`] finds, [`payload`] reads bytes, [`convert`] makes one value of another, [`value`] changes kinds.

mod convert;
mod fetch;
mod payload;
mod value;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub use payload::rdp_cookie;
pub use value::cast;

use crate::clock::Instant;
use crate::config::model::{
    Bind, Expression, Kind, Proxy, ProxyIndex, Value, Variable, VariableScope, Way,
};
use crate::limit::Limit;
use crate::queue::Priority;
use crate::shared::Shared;
use crate::transport::Ends;

/// What an expression found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The value, if there is one.
    pub value: Option<Value>,
    /// More bytes may change it.
    pub may_change: bool,
}

impl Sample {
    /// A value that stays as it is.
    fn settled(value: impl Into<Option<Value>>) -> Self {
        Sample { value: value.into(), may_change: false }
    }

    /// Nothing yet: bytes are missing.
    fn pending() -> Self {
        Sample { value: None, may_change: true }
    }
}

/// What one side of a stream has said, as far as it can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Which side.
    pub way: Way,
    /// Its bytes from the first one on.
    pub bytes: &'a [u8],
    /// There will be no more to look at: it is time to decide.
    pub is_final: bool,
    /// The most that there can ever be.
    pub most: usize,
}

/// Where a connection came in.
#[derive(Debug)]
pub struct Entrance {
    /// The listener.
    pub bind: Arc<Bind>,
    /// Its maxconn, in which the connection holds a place.
    pub limit: Arc<Limit>,
    /// Its place among those of the frontend.
    pub place: usize,
}

/// What expressions can look at.
pub struct Scene<'a> {
    /// By [`ProxyIndex`].
    pub proxies: &'a [Arc<Proxy>],
    /// What all workers share.
    pub shared: &'a Shared,
    /// Chance.
    pub random: &'a mut fastrand::Rng,
    /// What rules have stored.
    pub variables: &'a mut Variables,
    /// Tells whether an address is one of our own.
    pub is_own: &'a dyn Fn(IpAddr) -> bool,
    /// Where the connection came in.
    pub entrance: &'a Entrance,
    /// Bytes.
    pub heard: Heard<'a>,
    /// The stream.
    pub at: Whereabouts,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug)]
pub struct Whereabouts {
    /// The time.
    pub now: Instant,
    /// The worker.
    pub worker: usize,
    /// The proxy whose rule asks.
    pub asker: ProxyIndex,
    /// Where it came in.
    pub frontend: ProxyIndex,
    /// Where its servers are.
    pub backend: ProxyIndex,
    /// Its server.
    pub server: Option<usize>,
    /// The client, as a PROXY header or a rule has it.
    pub client: Ends,
    /// The client's connection itself.
    pub front: Ends,
    /// The server's connection.
    pub back: Ends,
    /// Its place in queues.
    pub priority: Priority,
    /// The connection began with a PROXY header.
    pub has_proxy_header: bool,
}

/// What an expression finds, of whatever kind.
pub fn evaluate(expression: &Expression, scene: &mut Scene<'_>) -> Sample {
    let mut sample = fetch::fetch(&expression.fetch, scene);
    for converter in &expression.converters {
        let Some(value) = sample.value.take() else { break };
        sample.value = convert::convert(converter, value, scene);
    }
    sample
}

/// What an expression finds, as a value of this kind.
pub fn evaluate_as(expression: &Expression, kind: Kind, scene: &mut Scene<'_>) -> Option<Value> {
    evaluate(expression, scene).value.and_then(|value| cast(value, kind))
}

/// Variables of one stream and its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<(Variable, Value)>);

impl Variables {
    fn get(&self, variable: &Variable) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == variable).map(|(_, value)| value)
    }

    fn set(&mut self, variable: &Variable, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == variable) {
            Some((_, known)) => *known = value,
            None => self.0.push((variable.clone(), value)),
        }
    }

    fn unset(&mut self, variable: &Variable) {
        self.0.retain(|(known, _)| known != variable);
    }

    /// Forgets those that live no longer.
    pub fn forget(&mut self, scope: VariableScope) {
        self.0.retain(|(known, _)| known.scope != scope);
    }
}

/// Variables of the process.
#[derive(Debug, Default)]
pub struct ProcessVariables(Mutex<HashMap<Arc<str>, Value>>);

impl ProcessVariables {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Arc<str>, Value>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scene<'_> {
    /// What a variable holds.
    pub fn variable(&self, variable: &Variable) -> Option<Value> {
        match variable.scope {
            VariableScope::Process => {
                self.shared.variables.with(|known| known.get(&variable.name).cloned())
            }
            _ => self.variables.get(variable).cloned(),
        }
    }

    /// Stores a value.
    pub fn set_variable(&mut self, variable: &Variable, value: Value) {
        match variable.scope {
            VariableScope::Process => {
                self.shared.variables.with(|known| known.insert(variable.name.clone(), value));
            }
            _ => self.variables.set(variable, value),
        }
    }

    /// Forgets a value.
    pub fn unset_variable(&mut self, variable: &Variable) {
        match variable.scope {
            VariableScope::Process => {
                self.shared.variables.with(|known| known.remove(&variable.name));
            }
            _ => self.variables.unset(variable),
        }
    }
}
