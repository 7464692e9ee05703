//! Writes lines.
//!
//! In:    a [`Format`], a [`Record`]
//! Out:   bytes behind those that the caller's buffer has
//! Never: allocates, but for room in that buffer

use std::net::IpAddr;

use super::date::{Dates, milliseconds, put};
use super::{Endpoint, Field, Flags, Format, Item, Record};

impl Format {
    /// Appends a line without its end. Expressions come out as values that are not there.
    pub fn render(&self, record: &Record<'_>, dates: &mut Dates, out: &mut Vec<u8>) {
        self.render_with(record, dates, out, |_, _| false);
    }

    /// Appends a line without its end. `value` appends the value of the expression with the given index (see
    /// [`Format::expressions`]) and says whether there is one.
    pub fn render_with(
        &self,
        record: &Record<'_>,
        dates: &mut Dates,
        out: &mut Vec<u8>,
        mut value: impl FnMut(usize, &mut Vec<u8>) -> bool,
    ) {
        // Blanks at the start, and after blanks, are left out.
        let mut follows_blank = true;
        for item in &self.items {
            match item {
                Item::Blank if follows_blank => {}
                Item::Blank => {
                    out.push(b' ');
                    follows_blank = true;
                }
                Item::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    follows_blank = false;
                }
                // Nothing at all: not even a place between two blanks.
                Item::Field(Field::Captures, _) => {}
                Item::Field(field, flags) => {
                    field.render(*flags, record, dates, out);
                    follows_blank = false;
                }
                Item::Expression(index, flags) => {
                    expression(*flags, out, |out| value(*index, out));
                    follows_blank = false;
                }
            }
        }
    }
}

impl Field {
    fn render(self, flags: Flags, record: &Record<'_>, dates: &mut Dates, out: &mut Vec<u8>) {
        let at = record.accepted_us;
        match self {
            Field::BytesDown => {
                plus(record.course.asap, out);
                number(record.course.bytes_down, out);
            }
            Field::Hostname => text(Some(record.process.hostname), flags, out),
            Field::UniqueId => text(record.unique_id, flags, out),
            Field::Status => number(0_u32, out),
            Field::DateUtc => dates.with_utc(at, out),
            Field::ConnectTime => number(record.course.connect_ms, out),
            Field::DataTime => number(record.course.data_ms, out),
            Field::HandshakeTime => number(record.course.handshake_ms, out),
            Field::DateLocal => dates.with_offset(at, out),
            Field::Seconds => hex_or_number(at.div_euclid(1_000_000).unsigned_abs(), flags, out),
            Field::TotalTime | Field::UserTime => {
                plus(record.course.asap, out);
                number(record.course.total_ms, out);
            }
            Field::WaitTime => number(record.course.wait_ms, out),
            Field::BytesUp => number(record.course.bytes_up, out),
            Field::ProcessConnections => number(record.course.process_connections, out),
            Field::Backend => text(Some(record.backend), flags, out),
            Field::BackendConnections => number(record.course.backend_connections, out),
            Field::BackendIp => ip(record.backend_address, flags, out),
            Field::BackendPort => port(record.backend_address, record.listener, flags, out),
            Field::BackendQueue => number(record.course.backend_queue, out),
            Field::ClientIp => ip(record.client, flags, out),
            Field::ClientPort => port(record.client, record.listener, flags, out),
            Field::Frontend => text(Some(record.frontend), flags, out),
            Field::FrontendConnections => number(record.course.frontend_connections, out),
            Field::FrontendIp => ip(record.frontend_address, flags, out),
            Field::FrontendPort => port(record.frontend_address, record.listener, flags, out),
            Field::FrontendTransport => frontend_and_transport(record, flags, out),
            Field::Captures => {}
            Field::LineNumber => hex_or_number(record.line, flags, out),
            Field::Milliseconds if flags.hex => put(out, format_args!("{:02X}", milliseconds(at))),
            Field::Milliseconds => put(out, format_args!("{:03}", milliseconds(at))),
            Field::Pid => hex_or_number(u64::from(record.process.pid), flags, out),
            Field::Retries => {
                plus(record.course.is_redispatched, out);
                number(record.course.retries, out);
            }
            Field::RequestNumber => hex_or_number(record.request, flags, out),
            Field::Server => text(Some(record.server.unwrap_or("<NOSRV>")), flags, out),
            Field::ServerConnections => number(record.course.server_connections, out),
            Field::ServerIp => ip(record.server_address, flags, out),
            Field::ServerPort => port(record.server_address, record.listener, flags, out),
            Field::ServerQueue => number(record.course.server_queue, out),
            Field::TlsCipher => text(record.tls_cipher, flags, out),
            Field::TlsVersion => text(record.tls_version, flags, out),
            Field::DateMilliseconds => dates.with_milliseconds(at, out),
            Field::End => out.extend_from_slice(&record.course.end),
            Field::EndWithCookie => {
                out.extend_from_slice(&record.course.end);
                out.extend_from_slice(b"--");
            }
        }
    }
}

fn number(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    put(out, format_args!("{value}"));
}

/// The numbers that `X` concerns.
fn hex_or_number(value: u64, flags: Flags, out: &mut Vec<u8>) {
    if flags.hex {
        put(out, format_args!("{value:04X}"));
    } else {
        number(value, out);
    }
}

fn plus(is_wanted: bool, out: &mut Vec<u8>) {
    if is_wanted {
        out.push(b'+');
    }
}

/// A text, perhaps quoted and escaped; what is not there, or empty, is a dash or nothing.
fn text(value: Option<&str>, flags: Flags, out: &mut Vec<u8>) {
    expression(flags, out, |out| {
        out.extend_from_slice(value.unwrap_or_default().as_bytes());
        value.is_some()
    });
}

/// What `append` appends, if it says that there is something.
fn expression(flags: Flags, out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>) -> bool) {
    if flags.quote {
        out.push(b'"');
    }
    let start = out.len();
    if !append(out) {
        out.truncate(start);
    }
    if out.len() == start {
        if flags.dash && !flags.quote {
            out.push(b'-');
        }
    } else if flags.encode {
        protect(out, start, percent);
    } else if flags.escape {
        protect(out, start, backslash);
    }
    if flags.quote {
        out.push(b'"');
    }
}

/// How a byte is written that cannot stand as it is.
type Protection = fn(u8) -> Option<([u8; 3], usize)>;

/// RFC 5424, section 6.3.3
fn backslash(byte: u8) -> Option<([u8; 3], usize)> {
    matches!(byte, b'"' | b'\\' | b']').then_some(([b'\\', byte, 0], 2))
}

/// What HAProxy encodes in URIs that it writes: all but printable ASCII, and some of that.
fn percent(byte: u8) -> Option<([u8; 3], usize)> {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    let is_kept = byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
    (!is_kept).then(|| ([b'%', digit(byte >> 4), digit(byte & 15)], 3))
}

/// Rewrites what stands from `start` on, from its end, in place.
fn protect(out: &mut Vec<u8>, start: usize, how: Protection) {
    let mut at = out.len();
    while at > start {
        at -= 1;
        if let Some((bytes, len)) = how(out[at]) {
            out.splice(at..=at, bytes[..len].iter().copied());
        }
    }
}

/// An address; without one, as a text that is not there.
fn ip(endpoint: Option<Endpoint>, flags: Flags, out: &mut Vec<u8>) {
    match endpoint {
        Some(Endpoint::Inet(address)) if flags.hex => match address.ip() {
            IpAddr::V4(ip) => hex(&ip.octets(), out),
            IpAddr::V6(ip) => hex(&ip.octets(), out),
        },
        Some(Endpoint::Inet(address)) => expression(flags, out, |out| {
            number(address.ip(), out);
            true
        }),
        Some(Endpoint::Unix) => text(Some("unix"), flags, out),
        None => text(None, flags, out),
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        put(out, format_args!("{byte:02X}"));
    }
}

/// A port: never quoted unless it is not there; that of a UNIX socket is the listener's number.
fn port(endpoint: Option<Endpoint>, listener: u32, flags: Flags, out: &mut Vec<u8>) {
    match endpoint {
        Some(Endpoint::Inet(address)) => hex_or_number(u64::from(address.port()), flags, out),
        Some(Endpoint::Unix) => number(listener, out),
        None => text(None, flags, out),
    }
}

/// The frontend's name, with a tilde for TLS.
fn frontend_and_transport(record: &Record<'_>, flags: Flags, out: &mut Vec<u8>) {
    let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    out.extend_from_slice(record.frontend.as_bytes());
    if record.is_tls {
        out.push(b'~');
    }
    out.extend_from_slice(quote);
}
