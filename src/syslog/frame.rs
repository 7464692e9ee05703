//! What stands before the text of a line.
//!
//! In:    a text, its level, the time
//! Out:   the bytes for a target
//! Read:  RFC 3164, section 4.1; RFC 5424, section 6; HAProxy's configuration manual, "log"

use crate::config::model::{LogFraming, LogTarget};
use crate::log_format::Dates;

/// What lines call host and program.
pub(super) struct Names {
    pub tag: String,
    /// `log-send-hostname`
    pub told: Option<String>,
    /// What the system calls this host.
    pub system: String,
    pub pid: u32,
}

/// A line without its header.
pub(super) struct Frame<'a> {
    pub level: u8,
    pub now_us: i64,
    /// The proxy's own tag.
    pub tag: Option<&'a str>,
    pub structured: &'a [u8],
    pub text: &'a [u8],
}

impl Frame<'_> {
    /// The whole line with a line feed at its end, cut at the target's `len`.
    pub fn render(&self, target: &LogTarget, names: &Names, dates: &mut Dates) -> Vec<u8> {
        let priority = u32::from(target.facility) * 8 + u32::from(self.level);
        let tag = self.tag.unwrap_or(&names.tag);
        let usual = if names.told.is_some() { LogFraming::Rfc3164 } else { LogFraming::Local };
        let framing = target.format.unwrap_or(usual);
        let mut out = Vec::with_capacity(self.text.len() + 64);
        match framing {
            LogFraming::Raw => {}
            LogFraming::Short => out.extend(format!("<{}>", self.level).into_bytes()),
            LogFraming::Priority => out.extend(format!("<{priority}>").into_bytes()),
            LogFraming::Timed => {
                out.extend(format!("<{}>", self.level).into_bytes());
                dates.rfc5424(self.now_us, &mut out);
                out.push(b' ');
            }
            LogFraming::Iso => {
                dates.rfc5424(self.now_us, &mut out);
                out.push(b' ');
            }
            LogFraming::Local | LogFraming::Rfc3164 => {
                out.extend(format!("<{priority}>").into_bytes());
                dates.rfc3164(self.now_us, &mut out);
                if framing == LogFraming::Rfc3164 {
                    let host = names.told.as_ref().unwrap_or(&names.system);
                    out.extend(format!(" {host}").into_bytes());
                }
                out.extend(format!(" {tag}[{}]: ", names.pid).into_bytes());
            }
            LogFraming::Rfc5424 => {
                out.extend(format!("<{priority}>1 ").into_bytes());
                dates.rfc5424(self.now_us, &mut out);
                let host = names.told.as_deref().unwrap_or("-");
                out.extend(format!(" {host} {tag} {} - ", names.pid).into_bytes());
                let structured = if self.structured.is_empty() { b"-" } else { self.structured };
                out.extend_from_slice(structured);
                out.push(b' ');
            }
        }
        out.extend_from_slice(self.text);
        out.truncate(target.max_len - 1);
        out.push(b'\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Location, LogAddress};

    fn line(format: Option<LogFraming>, told: Option<&str>, max_len: usize) -> String {
        let target = LogTarget {
            at: Location { file: "x".into(), line: 1 },
            address: LogAddress::Fd(1),
            max_len,
            format,
            facility: 16,
            level: 7,
            min_level: 0,
            sample: None,
        };
        let names =
            Names { tag: "xlb".into(), told: told.map(Into::into), system: "lb".into(), pid: 7 };
        let frame = Frame {
            level: 6,
            now_us: 1_795_709_330_814_999,
            tag: None,
            structured: b"",
            text: b"hello",
        };
        String::from_utf8(frame.render(&target, &names, &mut Dates::utc())).unwrap()
    }

    #[test]
    fn headers_are_haproxys() {
        for (format, expected) in [
            (LogFraming::Local, "<134>Nov 26 16:08:50 xlb[7]: hello\n"),
            (LogFraming::Rfc3164, "<134>Nov 26 16:08:50 lb xlb[7]: hello\n"),
            (LogFraming::Rfc5424, "<134>1 2026-11-26T16:08:50.814999+00:00 - xlb 7 - - hello\n"),
            (LogFraming::Priority, "<134>hello\n"),
            (LogFraming::Short, "<6>hello\n"),
            (LogFraming::Timed, "<6>2026-11-26T16:08:50.814999+00:00 hello\n"),
            (LogFraming::Iso, "2026-11-26T16:08:50.814999+00:00 hello\n"),
            (LogFraming::Raw, "hello\n"),
        ] {
            assert_eq!(line(Some(format), None, 1024), expected);
        }
        assert_eq!(line(None, None, 1024), line(Some(LogFraming::Local), None, 1024));
        assert_eq!(line(None, Some("me"), 1024), "<134>Nov 26 16:08:50 me xlb[7]: hello\n");
        assert_eq!(line(Some(LogFraming::Raw), None, 4), "hel\n");
    }
}
