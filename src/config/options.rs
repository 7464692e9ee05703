//! Options and limits of a proxy that stand in one word and a number.
//!
//! In:    their lines
//! Out:   [`ProxyOptions`], probes of idle connections, limits
//! Never: reads what has a file of its own

use super::model::{KeepaliveTimes, ProxyOptions};
use super::parser::{Context, Form, Line};
use super::report::Fault;
use super::units;

/// Probes of idle connections while they are read: the times may stand before the option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeepaliveDraft {
    is_on: bool,
    times: KeepaliveTimes,
}

impl KeepaliveDraft {
    pub(super) fn finish(self) -> Option<KeepaliveTimes> {
        self.is_on.then_some(self.times)
    }
}

/// What these lines say of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OptionSettings {
    pub(super) flags: ProxyOptions,
    pub(super) client_keepalive: KeepaliveDraft,
    pub(super) server_keepalive: KeepaliveDraft,
    pub(super) rate_limit_sessions: Option<u32>,
    pub(super) fullconn: Option<u32>,
}

impl OptionSettings {
    /// Reads a line if it is one of these; whether it was.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        context: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        let is_on = line.form == Form::Plain;
        let flags = &mut self.flags;
        let flag = match line.name {
            "option abortonclose" => &mut flags.abortonclose,
            "option nolinger" => &mut flags.nolinger,
            "option allbackups" => &mut flags.allbackups,
            "option persist" => &mut flags.persist,
            "option log-health-checks" => &mut flags.log_health_checks,
            "option socket-stats" => &mut flags.socket_stats,
            // Bytes are always counted while they move.
            "option contstats" => {
                line.at_most(0)?;
                return Ok(true);
            }
            "option clitcpka" => &mut self.client_keepalive.is_on,
            "option srvtcpka" => &mut self.server_keepalive.is_on,
            "option tcpka" => {
                line.at_most(0)?;
                self.client_keepalive.is_on = is_on;
                self.server_keepalive.is_on = is_on;
                return Ok(true);
            }
            _ => return self.take_value(line, context),
        };
        line.at_most(0)?;
        *flag = is_on;
        Ok(true)
    }

    fn take_value(&mut self, line: &Line<'_>, context: &mut Context<'_>) -> Result<bool, Fault> {
        let name = line.name;
        if let Some((side, what)) = name.split_once("tcpka-") {
            let draft =
                if side == "cli" { &mut self.client_keepalive } else { &mut self.server_keepalive };
            keepalive(&mut draft.times, what, line)?;
            return Ok(true);
        }
        match name {
            "fullconn" => self.fullconn = Some(number(line, 0)?).filter(|limit| *limit > 0),
            "rate-limit" => {
                let [kind, value] = line.arguments else {
                    return Err("'rate-limit' expects 'sessions' and a number.".to_string().into());
                };
                if *kind != "sessions" {
                    return Err(
                        format!("'rate-limit' only supports 'sessions' (got '{kind}').").into()
                    );
                }
                let limit = units::integer(Some(value), 0..=i64::from(i32::MAX), name)?;
                self.rate_limit_sessions = u32::try_from(limit).ok().filter(|limit| *limit > 0);
            }
            "retry-on" => self.flags.retry_on_conn_failure = retry_on(line, context)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn number(line: &Line<'_>, low: i64) -> Result<u32, Fault> {
    let number = units::integer(line.argument(0), low..=i64::from(i32::MAX), line.name)?;
    line.at_most(1)?;
    Ok(u32::try_from(number).expect("in range"))
}

fn keepalive(times: &mut KeepaliveTimes, what: &str, line: &Line<'_>) -> Result<(), Fault> {
    if what == "cnt" {
        times.count = Some(number(line, 1)?);
        return Ok(());
    }
    let word = line.argument(0).unwrap_or_default();
    let time = units::time(word).map_err(|error| error.of_time(word, line.name))?;
    line.at_most(1)?;
    match what {
        "idle" => times.idle = Some(time),
        "intvl" => times.interval = Some(time),
        what => unreachable!("'tcpka-{what}' is listed as active"),
    }
    Ok(())
}

/// Causes of HAProxy that only a request of HTTP can have.
const OF_HTTP: &[&str] = &["0rtt-rejected", "empty-response", "junk-response", "response-timeout"];

/// `retry-on <cause>...`: whether a failed connection is tried again.
fn retry_on(line: &Line<'_>, context: &mut Context<'_>) -> Result<bool, Fault> {
    if line.arguments.is_empty() {
        return Err("'retry-on' expects at least one cause: 'conn-failure' or 'none'."
            .to_string()
            .into());
    }
    let mut retries = false;
    for word in line.arguments {
        let is_status = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        match *word {
            "none" if line.arguments.len() > 1 => {
                return Err("'retry-on' : 'none' cannot stand with other causes."
                    .to_string()
                    .into());
            }
            "none" => {}
            "conn-failure" | "all-retryable-errors" => retries = true,
            word if OF_HTTP.contains(&word) || is_status => {
                context.note_inactive(line.at, format!("retry-on {word}"));
            }
            word => return Err(format!("'retry-on' : unknown keyword '{word}'.").into()),
        }
    }
    Ok(retries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::parser::tests::with_line;
    use super::*;

    fn read(settings: &mut OptionSettings, name: &str, words: &str) -> Result<bool, Fault> {
        with_line(name, words, |line, context| settings.take(line, context)).0
    }

    #[test]
    fn options_are_on_and_off() {
        let mut settings = OptionSettings::default();
        assert_eq!(read(&mut settings, "option abortonclose", ""), Ok(true));
        assert!(settings.flags.abortonclose);
        assert!(read(&mut settings, "option nolinger", "x").is_err());
        assert_eq!(read(&mut settings, "option tcplog", ""), Ok(false));
    }

    #[test]
    fn probes_need_the_option() {
        let mut settings = OptionSettings::default();
        read(&mut settings, "clitcpka-idle", "10s").unwrap();
        read(&mut settings, "clitcpka-cnt", "3").unwrap();
        assert_eq!(settings.client_keepalive.finish(), None);
        read(&mut settings, "option tcpka", "").unwrap();
        let times = settings.client_keepalive.finish().unwrap();
        assert_eq!((times.idle, times.count), (Some(Duration::from_secs(10)), Some(3)));
        assert_eq!(settings.server_keepalive.finish(), Some(KeepaliveTimes::default()));
    }

    #[test]
    fn limits_and_causes() {
        let mut settings = OptionSettings::default();
        read(&mut settings, "rate-limit", "sessions 100").unwrap();
        assert_eq!(settings.rate_limit_sessions, Some(100));
        assert!(read(&mut settings, "rate-limit", "requests 100").is_err());
        read(&mut settings, "retry-on", "none").unwrap();
        assert!(!settings.flags.retry_on_conn_failure);
        read(&mut settings, "retry-on", "conn-failure 503").unwrap();
        assert!(settings.flags.retry_on_conn_failure);
        assert!(read(&mut settings, "retry-on", "nothing").is_err());
        assert!(read(&mut settings, "retry-on", "none 503").is_err());
    }
}
