//! Addresses as `bind` and `server` lines write them.
//!
//! In:    `10.0.0.1:80`, `:8001-8003`, `[::]:443`, `ipv4@host:+1000`
//! Out:   a host and the text of its port; a port, a range or an offset
//! Never: resolves a name
//! Read:  docs/configuration.md, "Addresses"

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::model::{Carrier, ServerPort, UnixAddress};
use super::report::Fault;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What stands before the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Nothing, `*`, `0.0.0.0`, `[::]`: the family's wildcard.
    Any(Family),
    Address(IpAddr),
    /// A name, and the family that its address must have.
    Name(String, Option<Family>),
}

/// An address before its port is read: a `bind` line and a `server` line mean different things by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    pub(super) host: Host,
    /// What follows the last colon; `None` without one.
    pub(super) port: Option<&'a str>,
}

/// Prefixes that say which kind of address follows, and the family that they ask for.
const PREFIXES: &[(&str, Option<Family>)] = &[
    ("ipv4@", Some(Family::V4)),
    ("ipv6@", Some(Family::V6)),
    ("tcp@", None),
    ("tcp4@", Some(Family::V4)),
    ("tcp6@", Some(Family::V6)),
];

/// Prefixes of HAProxy that name something other than TCP over IP.
const UNSUPPORTED_PREFIXES: &[&str] = &[
    "dgram+",
    "mptcp@",
    "mptcp4@",
    "mptcp6@",
    "quic4@",
    "quic6@",
    "rhttp@",
    "sockpair@",
    "udp@",
    "udp4@",
    "udp6@",
    "uxdg@",
];

/// What an address asks to be carried by, and what is left of it when that is TCP over IP.
pub(super) fn carrier(text: &str) -> Result<(Carrier, &str), Fault> {
    let stream = text.strip_prefix("stream+").unwrap_or(text);
    let named = |name: &str, is_short| {
        if name.is_empty() || name.len() > 107 {
            return Err(Fault::from(format!("invalid name '{name}' in '{text}'.")));
        }
        Ok(UnixAddress::Abstract { name: name.to_string(), is_short })
    };
    if let Some(name) = stream.strip_prefix("abns@") {
        return Ok((Carrier::Unix(named(name, false)?), ""));
    }
    if let Some(name) = stream.strip_prefix("abnsz@") {
        return Ok((Carrier::Unix(named(name, true)?), ""));
    }
    let path = ["unix@", "uxst@"].into_iter().find_map(|prefix| stream.strip_prefix(prefix));
    if let Some(path) = path.or_else(|| Some(stream).filter(|path| path.starts_with('/'))) {
        // sun_path has 108 bytes, one of them for the NUL; a name of ours is a little longer for a moment.
        if path.is_empty() || path.len() > 90 {
            return Err(format!("invalid path '{path}' in '{text}': 1 to 90 characters.").into());
        }
        return Ok((Carrier::Unix(UnixAddress::Path(path.into())), ""));
    }
    if let Some(number) = stream.strip_prefix("fd@") {
        return match number.parse().ok().filter(|number| *number >= 0) {
            Some(number) => Ok((Carrier::Fd(number), "")),
            None => Err(format!("'{number}' in '{text}' is no number of a file.").into()),
        };
    }
    match stream.strip_prefix("kernel@") {
        Some(rest) => Ok((Carrier::Kernel, rest)),
        None => Ok((Carrier::Wire, text)),
    }
}

/// What carries connections of an address: the loopback is nobody's but the kernel's.
pub(super) fn carrier_to(address: Option<IpAddr>, asked: Carrier) -> Carrier {
    match address {
        Some(ip) if ip.to_canonical().is_loopback() && asked == Carrier::Wire => Carrier::Kernel,
        _ => asked,
    }
}

/// Splits `text` into host and port.
pub(super) fn endpoint(text: &str) -> Result<Endpoint<'_>, Fault> {
    if text.is_empty() {
        return Err(Fault::hinted(
            "'' resolves to an empty address (environment variable missing?)",
            "two commas in a row leave an empty address too.",
        ));
    }
    let stream = text.strip_prefix("stream+").unwrap_or(text);
    let unsupported = UNSUPPORTED_PREFIXES.iter().any(|prefix| stream.starts_with(prefix));
    if unsupported || stream.starts_with('/') {
        return Err(format!(
            "address '{text}' is not supported by xlb yet: only TCP over IPv4 and IPv6 is."
        )
        .into());
    }
    let known = PREFIXES.iter().find(|(prefix, _)| stream.starts_with(prefix));
    let (bare, family) = known.map_or((stream, None), |(p, family)| (&stream[p.len()..], *family));
    // The last colon, unless it belongs to an address in brackets.
    let (host, port) = match bare.rfind([':', ']']) {
        Some(index) if bare.as_bytes()[index] == b':' => (&bare[..index], Some(&bare[index + 1..])),
        Some(index) if index + 1 == bare.len() => (bare, None),
        Some(index) => {
            return Err(format!(
                "unexpected characters '{}' after ']' in '{text}'.",
                &bare[index + 1..]
            )
            .into());
        }
        None => (bare, None),
    };
    Ok(Endpoint { host: self::host(host, family, text)?, port })
}

fn host(host: &str, family: Option<Family>, text: &str) -> Result<Host, Fault> {
    if host.is_empty() || host == "*" {
        return Ok(Host::Any(family.unwrap_or(Family::V4)));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed.unwrap_or(host).parse::<IpAddr>() {
        Ok(address) if bracketed.is_some() && address.is_ipv4() => Err(invalid_address(host, text)),
        Ok(address) if family.is_some_and(|family| family != Family::of(address)) => {
            Err(invalid_address(host, text))
        }
        Ok(address) if address.is_unspecified() => Ok(Host::Any(Family::of(address))),
        Ok(address) => Ok(Host::Address(address)),
        Err(_) if is_name(host) => Ok(Host::Name(host.to_string(), family)),
        Err(_) => Err(invalid_address(host, text)),
    }
}

/// The sentence about a host that is neither an address nor a name.
pub(super) fn invalid_address(host: &str, text: &str) -> Fault {
    let fault = format!("invalid address: '{host}' in '{text}'.");
    if text.matches(':').count() > 1 && !text.contains('[') {
        return Fault::hinted(fault, "write an IPv6 address in brackets: '[::1]:80'.");
    }
    fault.into()
}

/// Whether `text` could be a host's name; one whose last label is a number is a mistyped address (RFC 1123, 2.1).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// The ports of a `bind` address: one or a range.
pub(super) fn bind_ports(port: Option<&str>, text: &str) -> Result<RangeInclusive<u16>, Fault> {
    let missing = || {
        Fault::hinted(
            format!("missing port specification in '{text}'."),
            "a listener needs a port: ':80', '10.0.0.1:80', '[::]:80', ':8001-8003'.",
        )
    };
    let port = port.filter(|port| !port.is_empty()).ok_or_else(missing)?;
    if port.starts_with(['+', '-']) {
        return Err(format!("port offset not permitted here in '{text}'.").into());
    }
    let (low, high) = port.split_once('-').unwrap_or((port, port));
    let (low, high) = (listening_port(low, text)?, listening_port(high, text)?);
    if low > high {
        return Err(format!("invalid port range '{port}' in '{text}'.").into());
    }
    Ok(low..=high)
}

/// The port of a server: fixed, an offset, or the one that the client used.
pub(super) fn server_port(port: Option<&str>, text: &str) -> Result<ServerPort, Fault> {
    let port = port.unwrap_or("");
    if let Some(offset) = port.strip_prefix('+') {
        return Ok(ServerPort::Offset(i32::from(number(offset, text)?)));
    }
    if let Some(offset) = port.strip_prefix('-') {
        return Ok(ServerPort::Offset(-i32::from(number(offset, text)?)));
    }
    if port.contains('-') {
        return Err(format!("port range not permitted here in '{text}'.").into());
    }
    match port {
        "" => Ok(ServerPort::Offset(0)),
        _ => match number(port, text)? {
            0 => Ok(ServerPort::Offset(0)),
            port => Ok(ServerPort::Fixed(port)),
        },
    }
}

fn listening_port(port: &str, text: &str) -> Result<u16, Fault> {
    match number(port, text)? {
        0 => Err(format!("invalid port '0' in '{text}'.").into()),
        port => Ok(port),
    }
}

fn number(port: &str, text: &str) -> Result<u16, Fault> {
    if let Some(c) = port.chars().find(|c| !c.is_ascii_digit()) {
        return Err(format!("invalid character '{c}' in port number '{port}' in '{text}'.").into());
    }
    port.parse().map_err(|_| format!("invalid port '{port}' in '{text}'.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Host, Option<&str>) {
        let endpoint = endpoint(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        (endpoint.host, endpoint.port)
    }

    fn ip(text: &str) -> Host {
        Host::Address(text.parse().unwrap())
    }

    #[test]
    fn hosts() {
        assert_eq!(split(":80"), (Host::Any(Family::V4), Some("80")));
        assert_eq!(split("*:80"), (Host::Any(Family::V4), Some("80")));
        assert_eq!(split("0.0.0.0:80"), (Host::Any(Family::V4), Some("80")));
        assert_eq!(split("[::]:80"), (Host::Any(Family::V6), Some("80")));
        assert_eq!(split(":::80"), (Host::Any(Family::V6), Some("80")));
        assert_eq!(split("ipv6@:80"), (Host::Any(Family::V6), Some("80")));
        assert_eq!(split("10.0.0.1:80"), (ip("10.0.0.1"), Some("80")));
        assert_eq!(split("10.0.0.1"), (ip("10.0.0.1"), None));
        assert_eq!(split("10.0.0.1:"), (ip("10.0.0.1"), Some("")));
        assert_eq!(split("[2001:db8::1]:80"), (ip("2001:db8::1"), Some("80")));
        assert_eq!(split("[2001:db8::1]"), (ip("2001:db8::1"), None));
        assert_eq!(split("2001:db8::1:80"), (ip("2001:db8::1"), Some("80")));
        assert_eq!(split("stream+ipv4@10.0.0.1:1"), (ip("10.0.0.1"), Some("1")));
        assert_eq!(
            split("web-1.example:80"),
            (Host::Name("web-1.example".into(), None), Some("80"))
        );
        assert_eq!(split("tcp4@web:80"), (Host::Name("web".into(), Some(Family::V4)), Some("80")));
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "",
            "300.1.1.1:80",
            "1.2.3.4.5:80",
            "[::1:80",
            "[]:80",
            "[::1]80",
            "[1.2.3.4]:80",
            "ipv4@[::]:80",
            "ipv6@1.2.3.4:80",
            "a b:80",
            "::1",
            "/run/x.sock",
            "unix@/run/x",
            "fd@3",
            "udp@:80",
            "é:80",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
        assert!(endpoint("::1").unwrap_err().hint.unwrap().contains("brackets"));
    }

    #[test]
    fn ports_of_listeners() {
        assert_eq!(bind_ports(Some("80"), ":80"), Ok(80..=80));
        assert_eq!(bind_ports(Some("8001-8003"), ":8001-8003"), Ok(8001..=8003));
        for port in [
            None,
            Some(""),
            Some("0"),
            Some("0-5"),
            Some("70000"),
            Some("80-70"),
            Some("+5"),
            Some("-5"),
            Some("http"),
            Some("8O"),
            Some("80-"),
            Some("80-90-95"),
        ] {
            assert!(bind_ports(port, "x").is_err(), "{port:?}");
        }
    }

    #[test]
    fn ports_of_servers() {
        assert_eq!(server_port(None, "x"), Ok(ServerPort::Offset(0)));
        assert_eq!(server_port(Some(""), "x"), Ok(ServerPort::Offset(0)));
        assert_eq!(server_port(Some("0"), "x"), Ok(ServerPort::Offset(0)));
        assert_eq!(server_port(Some("80"), "x"), Ok(ServerPort::Fixed(80)));
        assert_eq!(server_port(Some("+5"), "x"), Ok(ServerPort::Offset(5)));
        assert_eq!(server_port(Some("-5"), "x"), Ok(ServerPort::Offset(-5)));
        for port in ["80-90", "abc", "70000", "+70000", "+-5", "+", "-"] {
            assert!(server_port(Some(port), "x").is_err(), "{port}");
        }
    }
}
