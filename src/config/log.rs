//! `log` lines, and what lines of a log look like.
//!
//! In:    their words
//! Out:   [`LogTarget`]s, [`Logs`] of a proxy
//! Never: opens what it names
//! Read:  docs/configuration.md, "Logging"

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::address::{self, Host};
use super::model::{LogAddress, LogFraming, LogLine, LogTarget, Logs, Sampling};
use super::parser::{Context, Form, Line};
use super::report::Fault;
use super::{samples, units};
use crate::log_format::Format;

/// RFC 5424, table 1, by the names that HAProxy gives them.
const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// RFC 5424, table 2.
const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The longest line when `len` says nothing.
const MAX_LEN: usize = 1024;
/// The port of syslog.
const PORT: u16 = 514;

/// The number of a level, 0 being the most important.
pub(super) fn level(word: &str) -> Option<u8> {
    LEVELS.iter().position(|level| *level == word).map(|level| level as u8)
}

/// `<target> [len <length>] [format <format>] [sample <ranges>:<size>] <facility> [level [minlevel]]`
pub(super) fn target(line: &Line<'_>, context: &Context<'_>) -> Result<LogTarget, Fault> {
    let expects = || {
        Fault::hinted(
            "'log' expects <address> and <facility> as arguments.",
            "for example: 'log 127.0.0.1:514 local0 info', 'log stdout format raw daemon'.",
        )
    };
    let (word, mut rest) = line.arguments.split_first().ok_or_else(expects)?;
    let address = address_of(word, context)?;
    let (mut max_len, mut format, mut sample) = (MAX_LEN, None, None);
    while let [option @ ("len" | "format" | "sample" | "profile"), value, after @ ..] = rest {
        match *option {
            "len" => {
                let len = units::integer(Some(value), 80..=65_535, "log len")?;
                max_len = usize::try_from(len).expect("in range");
            }
            "format" => {
                format = Some(framing(value).ok_or_else(|| {
                    Fault::from(format!("'log' : unknown log format '{value}'."))
                })?);
            }
            "sample" => sample = Some(sampling(value)?),
            _ => return Err(format!("'log' : '{option}' is not supported by xlb yet.").into()),
        }
        rest = after;
    }
    let (facility, levels) = rest.split_first().ok_or_else(expects)?;
    let facility = FACILITIES
        .iter()
        .position(|known| known == facility)
        .ok_or_else(|| Fault::from(format!("'log' : unknown log facility '{facility}'.")))?;
    let mut known = [7, 0];
    for (slot, word) in known.iter_mut().zip(levels) {
        *slot = level(word)
            .ok_or_else(|| Fault::from(format!("'log' : unknown optional log level '{word}'.")))?;
    }
    if let Some(extra) = levels.get(2) {
        return Err(format!("'log' cannot handle unexpected argument '{extra}'.").into());
    }
    let [level, min_level] = known;
    Ok(LogTarget {
        at: line.at.clone(),
        address,
        max_len,
        format,
        facility: facility as u8,
        level,
        min_level,
        sample,
    })
}

fn address_of(word: &str, context: &Context<'_>) -> Result<LogAddress, Fault> {
    let of_log = |fault: Fault| Fault { text: format!("'log' : {}", fault.text), hint: fault.hint };
    match word {
        "stdout" => return Ok(LogAddress::Fd(1)),
        "stderr" => return Ok(LogAddress::Fd(2)),
        _ => {}
    }
    if let Some(number) = word.strip_prefix("fd@") {
        let number = number.parse().ok().filter(|number| *number >= 0);
        return number
            .map(LogAddress::Fd)
            .ok_or_else(|| format!("'log' : '{word}' names no open file.").into());
    }
    let path = word.strip_prefix("unix@").or_else(|| word.strip_prefix("uxdg@")).unwrap_or(word);
    if path.starts_with('/') {
        return Ok(LogAddress::Unix(path.into()));
    }
    if let Some(name) = word.strip_prefix("ring@") {
        return Ok(LogAddress::Ring(name.into()));
    }
    let udp = word.strip_prefix("udp@").unwrap_or(word);
    let endpoint = address::endpoint(udp).map_err(of_log)?;
    let ip = match endpoint.host {
        Host::Address(ip) => ip,
        Host::Name(name, family) => context.resolve(&name, family).map_err(of_log)?,
        Host::Any(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let port =
        match endpoint.port {
            None | Some("") => PORT,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Fault::from(format!("'log' : invalid port '{port}' in '{word}'."))
            })?,
        };
    Ok(LogAddress::Udp(SocketAddr::new(ip, port)))
}

pub(super) fn framing(word: &str) -> Option<LogFraming> {
    Some(match word {
        "local" => LogFraming::Local,
        "rfc3164" => LogFraming::Rfc3164,
        "rfc5424" => LogFraming::Rfc5424,
        "priority" => LogFraming::Priority,
        "short" => LogFraming::Short,
        "timed" => LogFraming::Timed,
        "iso" => LogFraming::Iso,
        "raw" => LogFraming::Raw,
        _ => return None,
    })
}

/// `1,3-5:10`
fn sampling(word: &str) -> Result<Sampling, Fault> {
    let is_wrong = || {
        Fault::hinted(
            format!("'log' : '{word}' is no sample."),
            "for example: '1-3,5:10' sends lines 1, 2, 3 and 5 of each ten.",
        )
    };
    let (ranges, size) = word.rsplit_once(':').ok_or_else(is_wrong)?;
    let size: u32 = size.parse().map_err(|_| is_wrong())?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| (1..=size).contains(n));
    let range = |part: &str| -> Option<RangeInclusive<u32>> {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (number(low)?, number(high)?);
        (low <= high).then_some(low..=high)
    };
    let ranges: Option<Arc<[_]>> = ranges.split(',').map(range).collect();
    Ok(Sampling { ranges: ranges.ok_or_else(is_wrong)?, size })
}

/// Reads the text of a format, and the expressions in it.
fn log_line(line: &Line<'_>, context: &Context<'_>) -> Result<Arc<LogLine>, Fault> {
    let text = line.only("a format")?;
    let format =
        Format::parse(text).map_err(|error| Fault::from(format!("'{}' : {error}.", line.name)))?;
    let expressions = format
        .expressions()
        .iter()
        .map(|text| samples::expression(text, context))
        .collect::<Result<_, _>>()?;
    Ok(Arc::new(LogLine { format, expressions }))
}

/// What the lines of a proxy say of its logs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogDraft {
    /// `None` stands for those of `global`.
    targets: Vec<Option<LogTarget>>,
    logs: Logs,
}

impl LogDraft {
    /// Reads a line if it is one of these; whether it was.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        context: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        let is_on = line.form == Form::Plain;
        let flag = match line.name {
            "log" => {
                self.target(line, context)?;
                return Ok(true);
            }
            "log-format" => {
                self.logs.line = Some(log_line(line, context)?);
                return Ok(true);
            }
            "log-format-sd" => {
                self.logs.structured = Some(log_line(line, context)?);
                return Ok(true);
            }
            "error-log-format" => {
                self.logs.error = Some(log_line(line, context)?);
                return Ok(true);
            }
            "log-tag" => {
                self.logs.tag = Some(line.only("a tag")?.into());
                return Ok(true);
            }
            "option tcplog" => {
                line.at_most(0)?;
                self.logs.line =
                    Some(Arc::new(LogLine { format: Format::tcplog(), expressions: Vec::new() }));
                return Ok(true);
            }
            "option httplog" => {
                let text = "'option httplog' not usable with proxy in 'mode tcp': falling back to 'option tcplog'.";
                context.report.warning(Some(line.at), text.into());
                return self
                    .take(&Line { name: "option tcplog", arguments: &[], ..*line }, context);
            }
            "option logasap" => &mut self.logs.asap,
            "option dontlognull" => &mut self.logs.ignores_null,
            "option dontlog-normal" => &mut self.logs.ignores_normal,
            "option log-separate-errors" => &mut self.logs.separates_errors,
            _ => return Ok(false),
        };
        line.at_most(0)?;
        *flag = is_on;
        Ok(true)
    }

    /// `log global`, `no log`, or a target.
    fn target(&mut self, line: &Line<'_>, context: &Context<'_>) -> Result<(), Fault> {
        match (line.form, line.arguments) {
            (Form::No, _) => {
                line.at_most(0)?;
                self.targets.clear();
            }
            (_, ["global", ..]) => {
                line.at_most(1)?;
                self.targets.push(None);
            }
            _ => self.targets.push(Some(target(line, context)?)),
        }
        Ok(())
    }

    /// The same with the targets of `global` in their places.
    pub(super) fn finish(&self, global: &[LogTarget]) -> Logs {
        let mut targets = Vec::new();
        for target in &self.targets {
            match target {
                Some(target) => targets.push(target.clone()),
                None => targets.extend_from_slice(global),
            }
        }
        Logs { targets, ..self.logs.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    fn parse(words: &str) -> Result<LogTarget, Fault> {
        with_line("log", words, |line, context| target(line, context)).0
    }

    #[test]
    fn targets() {
        let log = parse("127.0.0.1:515 len 1000 format rfc5424 local0 notice err").unwrap();
        assert_eq!(log.address, LogAddress::Udp("127.0.0.1:515".parse().unwrap()));
        assert_eq!((log.max_len, log.format), (1000, Some(LogFraming::Rfc5424)));
        assert_eq!((log.facility, log.level, log.min_level), (16, 5, 3));
        assert_eq!(parse("stdout format raw daemon").unwrap().address, LogAddress::Fd(1));
        assert_eq!(parse("/dev/log user").unwrap().address, LogAddress::Unix("/dev/log".into()));
        let named = parse("web.example user").unwrap().address;
        assert_eq!(named, LogAddress::Udp("192.0.2.7:514".parse().unwrap()));
        let sample = parse("stderr sample 1,3-5:9 user").unwrap().sample.unwrap();
        assert_eq!((&*sample.ranges, sample.size), (&[1..=1, 3..=5][..], 9));
    }

    #[test]
    fn what_is_no_target() {
        for words in [
            "",
            "/dev/log",
            "/dev/log nope",
            "/dev/log local0 nope",
            "/dev/log len x local0",
            "/dev/log format nope local0",
            "/dev/log local0 info err extra",
            "/dev/log len 100",
            "/dev/log sample 3:2 local0",
            "fd@x local0",
            "127.0.0.1:0 local0",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn proxies_add_to_the_targets_of_global_and_take_all_back() {
        let mut draft = LogDraft::default();
        let take = |draft: &mut LogDraft, words: &str| {
            with_line("log", words, |line, context| draft.take(line, context)).0.unwrap()
        };
        let global = [parse("stderr daemon").unwrap()];
        assert!(take(&mut draft, "stdout local0"));
        assert!(take(&mut draft, "global"));
        let addresses: Vec<_> =
            draft.finish(&global).targets.into_iter().map(|target| target.address).collect();
        assert_eq!(addresses, [LogAddress::Fd(1), LogAddress::Fd(2)]);
    }

    #[test]
    fn formats_have_expressions() {
        let mut draft = LogDraft::default();
        let read = |draft: &mut LogDraft, text: &str| {
            with_line("log-format", text, |line, context| draft.take(line, context)).0
        };
        read(&mut draft, "%ci:%[src_port,add(1)]").unwrap();
        let line = draft.finish(&[]).line.unwrap();
        assert_eq!(&*line.expressions[0].text, "src_port,add(1)");
        let text = |text| read(&mut LogDraft::default(), text).unwrap_err().text;
        assert!(text("%nope").contains("nope"), "{}", text("%nope"));
        assert!(text("%[nope]").contains("unknown fetch method 'nope'"));
    }
}
