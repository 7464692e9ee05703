//! What a frontend answers by itself: the statistics page, and the metrics.
//!
//! In:    `mode`, `stats ...`, `http-request use-service`
//! Out:   a [`Service`], for frontends that do nothing else
//! Never: lets `mode http` pass for anything that needs HTTP between clients and servers

use super::keywords::LAYER_7;
use super::model::{AdminFrom, Location, Metrics, ProxyKind, Service, StatsPage};
use super::parser::Line;
use super::report::{Fault, Report};

/// What these lines say of a proxy, while it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceDraft {
    /// Where `mode http` stands.
    http: Option<Location>,
    stats: Option<(Location, StatsPage)>,
    metrics: Option<Metrics>,
}

impl ServiceDraft {
    /// `mode <mode>`
    pub(super) fn mode(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        match line.argument(0).unwrap_or_default() {
            "tcp" => self.http = None,
            "http" => self.http = Some(line.at.clone()),
            mode @ ("log" | "spop" | "haterm") => return Err(unsupported(mode)),
            "health" => return Err("'mode health' doesn't exist anymore.".to_string().into()),
            mode => return Err(format!("unknown proxy mode '{mode}'.").into()),
        }
        line.at_most(1)
    }

    /// Reads a line if it is one of these; whether it was.
    pub(super) fn take(&mut self, line: &Line<'_>) -> Result<bool, Fault> {
        if line.name == "http-request" {
            self.metrics = Some(metrics(line)?);
            return Ok(true);
        }
        let Some(word) = line.name.strip_prefix("stats ") else { return Ok(false) };
        let (_, page) = self.stats.get_or_insert_with(|| (line.at.clone(), StatsPage::default()));
        match word {
            "enable" => line.at_most(0)?,
            "admin" => page.admin = Some(admin(line)?),
            "hide-version" => {
                line.at_most(0)?;
                page.hides_version = true;
            }
            "show-legends" => {
                line.at_most(0)?;
                page.shows_legends = true;
            }
            "show-node" => {
                line.at_most(1)?;
                page.node = Some(line.argument(0).map(str::to_owned));
            }
            "show-desc" => page.description = Some(line.arguments.join(" ")),
            "uri" => page.uri = line.only("a URI prefix")?.to_string(),
            "realm" => page.realm = line.only("an realm")?.to_string(),
            "auth" => {
                let word = line.only("a user:password account")?;
                let account = word.split_once(':').filter(|(user, _)| !user.is_empty());
                let (user, password) =
                    account.ok_or("'stats auth' expects <user>:<password>.".to_string())?;
                page.accounts.push((user.to_string(), password.to_string()));
            }
            "scope" => page.scopes.push(line.only("a proxy name")?.to_string()),
            "refresh" => {
                let word = line.argument(0).unwrap_or_default();
                let time = super::units::time_in_seconds(word)
                    .map_err(|error| error.of_time(word, line.name))?;
                line.at_most(1)?;
                page.refresh = Some(time);
            }
            word => unreachable!("'stats {word}' is listed as active"),
        }
        Ok(true)
    }

    /// What the proxy answers by itself; `None` for one that forwards. What cannot be had is told.
    pub(super) fn finish(
        &self,
        (name, kind): (&str, ProxyKind),
        forwards: bool,
        report: &mut Report,
    ) -> Option<Service> {
        let service = Service {
            stats: self.stats.as_ref().map(|(_, page)| page.clone()),
            metrics: self.metrics.clone(),
        };
        let is_service = service != Service::default();
        match &self.http {
            Some(_) if is_service && kind.is_frontend() && !forwards => return Some(service),
            Some(at) => {
                report.fault(at, unsupported("http"));
            }
            None => {
                if let Some((at, _)) = &self.stats {
                    let text = format!(
                        "'stats' statement ignored for proxy '{name}' as it requires HTTP mode."
                    );
                    report.warning(Some(at), text);
                }
            }
        }
        None
    }
}

fn unsupported(mode: &str) -> Fault {
    Fault::hinted(
        format!("mode '{mode}' is not supported by xlb yet."),
        format!("xlb forwards TCP connections, whatever they carry: 'mode tcp'. {LAYER_7}"),
    )
}

/// `stats admin if TRUE|LOCALHOST`
fn admin(line: &Line<'_>) -> Result<AdminFrom, Fault> {
    match line.arguments {
        ["if", "TRUE"] => Ok(AdminFrom::Anywhere),
        ["if", "LOCALHOST"] => Ok(AdminFrom::Localhost),
        ["if" | "unless", ..] => Err(Fault::hinted(
            "'stats admin' with this condition is not supported by xlb yet.",
            "'stats admin if TRUE' and 'stats admin if LOCALHOST' are; who may see the page is said by 'stats auth'.",
        )),
        _ => Err("'stats admin' expects 'if' or 'unless' followed by a condition."
            .to_string()
            .into()),
    }
}

/// `http-request use-service prometheus-exporter [if { path <path> }]`
fn metrics(line: &Line<'_>) -> Result<Metrics, Fault> {
    match line.arguments {
        ["use-service", "prometheus-exporter"] => Ok(Metrics { path: None }),
        ["use-service", "prometheus-exporter", "if", "{", "path", path, "}"] => {
            Ok(Metrics { path: Some((*path).to_string()) })
        }
        _ => Err(Fault::hinted(
            "keyword 'http-request' is not supported by xlb yet.",
            "'http-request use-service prometheus-exporter [if { path /metrics }]' is.",
        )),
    }
}
