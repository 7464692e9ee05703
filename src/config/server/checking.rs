//! Parameters of `server` about its checks.
//!
//! In:    words and their values
//! Out:   [`CheckTimes`], [`AgentCheck`], and what follows a change of state
//! Never: checks anything
//! Read:  docs/configuration.md, "Health checks"

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::address::{self, Host};
use super::super::model::{AgentCheck, CheckTimes, InitState, Observe, OnError};
use super::super::parser::Context;
use super::super::report::Fault;
use super::super::units;
use super::words::time;

/// What the checks of a server are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct CheckSettings {
    is_on: bool,
    times: CheckTimes,
    agent_is_on: bool,
    agent_inter: Option<Duration>,
    agent_address: Option<IpAddr>,
    agent_port: Option<u16>,
    agent_send: Vec<u8>,
    /// `track`: the words of the line; found once all sections are read.
    pub track: Option<String>,
    pub shutdown_when_down: bool,
    pub shutdown_backups_when_up: bool,
}

impl CheckSettings {
    /// The checks, if there are any.
    pub fn times(&self) -> Option<CheckTimes> {
        self.is_on.then(|| self.times.clone())
    }

    /// The agent's checks, if there are any.
    pub fn agent(&self) -> Option<AgentCheck> {
        let port = self.agent_port.filter(|_| self.agent_is_on)?;
        Some(AgentCheck {
            inter: self.agent_inter.unwrap_or(self.times.inter),
            address: self.agent_address,
            port,
            send: Arc::from(&self.agent_send[..]),
        })
    }

    /// Why these cannot be, once the whole line is read.
    pub fn fault(&self) -> Option<Fault> {
        if self.agent_is_on && self.agent_port.is_none() {
            return Some(Fault::hinted(
                "'agent-check' needs the port of the agent.",
                "state it: 'agent-check agent-port 9999'.",
            ));
        }
        if self.track.is_some() && self.is_on {
            return Some("unable to use 'check' and 'track' at the same time.".to_string().into());
        }
        None
    }

    /// Takes one parameter: how many words after its name are its own; `None`: it is about something else.
    pub fn take(
        &mut self,
        name: &str,
        rest: &[&str],
        context: &Context<'_>,
    ) -> Result<Option<usize>, Fault> {
        let value = rest.first().copied();
        match name {
            "check" => self.is_on = true,
            "no-check" => self.is_on = false,
            "agent-check" => self.agent_is_on = true,
            "no-agent-check" => self.agent_is_on = false,
            "check-send-proxy" => self.times.send_proxy = true,
            "no-check-send-proxy" => self.times.send_proxy = false,
            _ => return self.take_value(name, value, context).map(|known| known.then_some(1)),
        }
        Ok(Some(0))
    }

    fn take_value(
        &mut self,
        name: &str,
        value: Option<&str>,
        context: &Context<'_>,
    ) -> Result<bool, Fault> {
        let times = &mut self.times;
        let count = || {
            let number = units::integer(value, 1..=i64::from(i32::MAX), name)?;
            Ok::<u32, Fault>(u32::try_from(number).expect("in range"))
        };
        let port = || {
            let number = units::integer(value, 0..=65_535, name)?;
            Ok::<Option<u16>, Fault>(u16::try_from(number).ok().filter(|port| *port > 0))
        };
        match name {
            "inter" => times.inter = interval(value, name)?,
            "fastinter" => times.fastinter = Some(interval(value, name)?),
            "downinter" => times.downinter = Some(interval(value, name)?),
            "rise" => times.rise = count()?,
            "fall" => times.fall = count()?,
            "error-limit" => times.error_limit = count()?,
            "port" => times.port = port()?,
            "addr" => times.address = Some(host(value, name, context)?),
            "observe" => times.observe = observe(value)?,
            "on-error" => times.on_error = on_error(value)?,
            "init-state" => times.init_state = init_state(value)?,
            "agent-inter" => self.agent_inter = Some(interval(value, name)?),
            "agent-port" => self.agent_port = port()?,
            "agent-addr" => self.agent_address = Some(host(value, name, context)?),
            "agent-send" => self.agent_send = word(value, name)?.as_bytes().to_vec(),
            "track" => self.track = Some(word(value, name)?.to_string()),
            "on-marked-down" => {
                self.shutdown_when_down = one_of(value, name, &["shutdown-sessions"])?;
            }
            "on-marked-up" => {
                self.shutdown_backups_when_up = one_of(value, name, &["shutdown-backup-sessions"])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn word<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Fault> {
    value.ok_or_else(|| format!("'{name}' expects an argument.").into())
}

fn interval(value: Option<&str>, name: &str) -> Result<Duration, Fault> {
    time(value, name)?.ok_or_else(|| format!("invalid value 0 for argument '{name}'.").into())
}

fn host(value: Option<&str>, name: &str, context: &Context<'_>) -> Result<IpAddr, Fault> {
    let text = word(value, name)?;
    match address::endpoint(text)?.host {
        Host::Address(ip) => Ok(ip),
        Host::Name(host, family) => context.resolve(&host, family),
        Host::Any(_) => Err(format!("'{name}' : '{text}' is not the address of a host.").into()),
    }
}

/// Refuses what is none of the words that there are.
fn one_of(value: Option<&str>, name: &str, known: &[&str]) -> Result<bool, Fault> {
    let word = word(value, name)?;
    if known.contains(&word) {
        return Ok(true);
    }
    Err(format!("'{name}' expects '{}' but got '{word}'.", known.join("', '")).into())
}

fn observe(value: Option<&str>) -> Result<Observe, Fault> {
    match word(value, "observe")? {
        "none" => Ok(Observe::Nothing),
        "layer4" => Ok(Observe::Layer4),
        "layer7" => {
            Err("'observe layer7' can only be used in 'mode http', which xlb does not have yet."
                .to_string()
                .into())
        }
        word => Err(Fault::hinted(
            format!("'observe' : unknown mode '{word}'."),
            "'none' and 'layer4' are known.",
        )),
    }
}

fn on_error(value: Option<&str>) -> Result<OnError, Fault> {
    match word(value, "on-error")? {
        "fastinter" => Ok(OnError::FastInter),
        "fail-check" => Ok(OnError::FailCheck),
        "sudden-death" => Ok(OnError::SuddenDeath),
        "mark-down" => Ok(OnError::MarkDown),
        word => Err(format!(
            "'on-error' expects one of 'fastinter', 'fail-check', 'sudden-death' or 'mark-down' but got '{word}'."
        )
        .into()),
    }
}

fn init_state(value: Option<&str>) -> Result<InitState, Fault> {
    match word(value, "init-state")? {
        "up" => Ok(InitState::Up),
        "fully-up" => Ok(InitState::FullyUp),
        "down" => Ok(InitState::Down),
        "fully-down" => Ok(InitState::FullyDown),
        word => Err(format!(
            "'init-state' expects one of 'fully-up', 'up', 'down' or 'fully-down' but got '{word}'."
        )
        .into()),
    }
}
