//! `log` lines.
//!
//! In:    the words after `log`
//! Out:   a [`LogTarget`]
//! Never: opens what it names

use super::model::LogTarget;
use super::parser::Line;
use super::report::Fault;
use super::units;

/// RFC 5424, table 1, by the names that HAProxy gives them.
const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
    "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// RFC 5424, table 2.
const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const FORMATS: &[&str] =
    &["iso", "local", "priority", "raw", "rfc3164", "rfc5424", "short", "timed"];

/// `<target> [len <length>] [format <format>] [sample <ranges>:<size>] <facility> [level [minlevel]]`
pub(super) fn target(line: &Line<'_>) -> Result<LogTarget, Fault> {
    let expects = || "'log' expects <address> and <facility> as arguments.".to_string();
    let (target, mut rest) = line.arguments.split_first().ok_or_else(expects)?;
    while let [option @ ("len" | "format" | "sample" | "profile"), value, after @ ..] = rest {
        match *option {
            "len" => _ = units::integer(Some(value), 80..=65_535, "log len")?,
            "format" if !FORMATS.contains(value) => {
                return Err(format!("'log' : unknown log format '{value}'.").into());
            }
            _ => {}
        }
        rest = after;
    }
    let (facility, levels) = rest.split_first().ok_or_else(expects)?;
    if !FACILITIES.contains(facility) {
        return Err(format!("'log' : unknown log facility '{facility}'.").into());
    }
    if let Some(level) = levels.iter().take(2).find(|level| !LEVELS.contains(level)) {
        return Err(format!("'log' : unknown optional log level '{level}'.").into());
    }
    if let Some(extra) = levels.get(2) {
        return Err(format!("'log' cannot handle unexpected argument '{extra}'.").into());
    }
    Ok(LogTarget {
        at: line.at.clone(),
        target: (*target).to_string(),
        facility: (*facility).to_string(),
        levels: levels.iter().map(|level| (*level).to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Location;
    use crate::config::parser::Form;

    fn parse(words: &str) -> Result<LogTarget, Fault> {
        let at = Location { file: "x".into(), line: 1 };
        let arguments: Vec<&str> = words.split_whitespace().collect();
        target(&Line { at: &at, name: "log", arguments: &arguments, form: Form::Plain })
    }

    #[test]
    fn targets() {
        let log = parse("127.0.0.1:514 len 1024 format rfc5424 local0 notice err").unwrap();
        assert_eq!((log.target.as_str(), log.facility.as_str()), ("127.0.0.1:514", "local0"));
        assert_eq!(log.levels, ["notice", "err"]);
        assert!(parse("stdout format raw daemon").is_ok());
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
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
