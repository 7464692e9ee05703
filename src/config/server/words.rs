//! Parameters of `server` and `default-server`.
//!
//! In:    words and their values
//! Out:   [`ServerSettings`], which become a [`Server`] with a name and an address
//! Never: resolves the server's name
//! Read:  docs/configuration.md, "Parameters of server"

use std::net::IpAddr;
use std::time::Duration;

use super::super::model::{Carrier, Location, ProxyHeader, Server, ServerPort, ServerSource};
use super::super::parser::Context;
use super::super::report::Fault;
use super::super::{source, units};
use super::checking::CheckSettings;

/// What a server has when its line does not say; `default-server` changes it for the lines below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ServerSettings {
    pub weight: u32,
    pub disabled: bool,
    pub backup: bool,
    pub maxconn: u32,
    pub minconn: u32,
    pub maxqueue: u32,
    pub slowstart: Option<Duration>,
    pub check: CheckSettings,
    pub send_proxy: Option<ProxyHeader>,
    pub source: Option<ServerSource>,
    pub user_timeout: Option<Duration>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            weight: 1,
            disabled: false,
            backup: false,
            maxconn: 0,
            minconn: 0,
            maxqueue: 0,
            slowstart: None,
            check: CheckSettings::default(),
            send_proxy: None,
            source: None,
            user_timeout: None,
        }
    }
}

impl ServerSettings {
    /// The server that these make.
    pub fn server(
        &self,
        at: &Location,
        name: &str,
        address: IpAddr,
        port: ServerPort,
        carrier: Carrier,
    ) -> Server {
        // A limit of which only one end is stated is that at any load.
        let maxconn = self.maxconn.max(self.minconn);
        Server {
            at: at.clone(),
            name: name.into(),
            id: 0,
            carrier,
            address,
            port,
            weight: self.weight,
            disabled: self.disabled,
            backup: self.backup,
            maxconn,
            minconn: if self.minconn == maxconn { 0 } else { self.minconn },
            maxqueue: self.maxqueue,
            slowstart: self.slowstart,
            check: self.check.times(),
            agent: self.check.agent(),
            track: None,
            shutdown_when_down: self.check.shutdown_when_down,
            shutdown_backups_when_up: self.check.shutdown_backups_when_up,
            send_proxy: self.send_proxy,
            source: self.source.clone(),
            user_timeout: self.user_timeout,
        }
    }

    /// Takes one parameter; how many words after its name are its own.
    pub fn take(
        &mut self,
        name: &str,
        rest: &[&str],
        context: &mut Context<'_>,
    ) -> Result<usize, Fault> {
        if let Some(taken) = self.check.take(name, rest, context)? {
            return Ok(taken);
        }
        let value = rest.first().copied();
        let number = |low: i64, high: i64| {
            units::integer(value, low..=high, name).map(|n| u32::try_from(n).expect("in range"))
        };
        match name {
            "backup" => self.backup = true,
            "no-backup" => self.backup = false,
            "disabled" => self.disabled = true,
            "enabled" => self.disabled = false,
            "send-proxy" => self.send_proxy = Some(ProxyHeader::V1),
            "send-proxy-v2" => {
                let stated = self.send_proxy.filter(|header| *header != ProxyHeader::V1);
                self.send_proxy = stated.or(Some(V2_PLAIN));
            }
            "no-send-proxy" | "no-send-proxy-v2" => self.send_proxy = None,
            _ => {
                match name {
                    "maxconn" => self.maxconn = number(0, i64::from(i32::MAX))?,
                    "minconn" => self.minconn = number(0, i64::from(i32::MAX))?,
                    "maxqueue" => self.maxqueue = number(0, i64::from(i32::MAX))?,
                    "weight" => self.weight = number(0, 256)?,
                    "slowstart" => self.slowstart = time(value, name)?,
                    "tcp-ut" => self.user_timeout = time(value, name)?,
                    "proxy-v2-options" => self.send_proxy = Some(v2_options(value)?),
                    "source" => {
                        let (source, taken) = source::source(rest, context)?;
                        self.source = Some(source);
                        return Ok(taken);
                    }
                    name => unreachable!("'{name}' is listed as active"),
                }
                return Ok(1);
            }
        }
        Ok(0)
    }
}

const V2_PLAIN: ProxyHeader = ProxyHeader::V2 { crc32c: false, unique_id: false };

/// A time; 0 is none.
pub(super) fn time(value: Option<&str>, name: &str) -> Result<Option<Duration>, Fault> {
    let word = value.unwrap_or_default();
    let time = units::time(word).map_err(|error| error.of_time(word, name))?;
    Ok(Some(time).filter(|time| *time > Duration::ZERO))
}

/// `proxy-v2-options <option>[,<option>]*`
fn v2_options(value: Option<&str>) -> Result<ProxyHeader, Fault> {
    let value = value.ok_or_else(|| "'proxy-v2-options' expects <option>.".to_string())?;
    let (mut crc32c, mut unique_id) = (false, false);
    for option in value.split(',') {
        match option {
            "crc32c" => crc32c = true,
            "unique-id" => unique_id = true,
            "ssl" | "cert-cn" | "cert-key" | "cert-sig" | "ssl-cipher" | "authority" => {
                return Err(Fault::hinted(
                    format!(
                        "'proxy-v2-options' : '{option}' tells of TLS, which xlb does not have yet."
                    ),
                    "'crc32c' and 'unique-id' are supported.",
                ));
            }
            option => {
                return Err(format!("'proxy-v2-options' : unknown option '{option}'.").into());
            }
        }
    }
    Ok(ProxyHeader::V2 { crc32c, unique_id })
}
