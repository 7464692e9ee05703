//! What the bytes of a connection say.
//!
//! In:    the bytes that have come
//! Out:   parts of them; what a TLS hello says (RFC 8446, 4.1; RFC 6066, 3); the cookie of a Remote Desktop connection (MS-RDPBCGR, 2.2.1.1)
//! Never: takes a byte

use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions,
    parse_tls_message_handshake,
};

use super::{Heard, Sample};
use crate::config::model::{LvStart, TlsFact, Value, Way};

/// The bytes of a direction; `None`: they cannot be looked at from here.
fn bytes<'a>(way: Way, heard: &Heard<'a>) -> Option<&'a [u8]> {
    (way == Way::OfRule || way == heard.way).then_some(heard.bytes)
}

/// How many bytes there are.
pub(super) fn len(way: Way, heard: &Heard<'_>) -> Sample {
    match bytes(way, heard) {
        Some(bytes) => {
            Sample { value: Some(Value::Int(bytes.len() as i64)), may_change: !heard.is_final }
        }
        None => Sample::settled(None),
    }
}

/// `len` bytes from `offset` on; 0: all that there are.
pub(super) fn part(way: Way, offset: usize, len: usize, heard: &Heard<'_>) -> Sample {
    let Some(bytes) = bytes(way, heard) else { return Sample::settled(None) };
    if offset.saturating_add(len) > heard.most {
        return Sample::settled(None);
    }
    if len > 0 {
        return match bytes.get(offset..offset + len) {
            Some(part) => Sample::settled(Value::Bytes(part.to_vec())),
            None => Sample::pending(),
        };
    }
    match bytes.get(offset..) {
        Some(part) => {
            Sample { value: Some(Value::Bytes(part.to_vec())), may_change: !heard.is_final }
        }
        None => Sample::pending(),
    }
}

/// Bytes whose number is in the bytes, big-endian.
pub(super) fn part_lv(
    way: Way,
    offset: usize,
    size: usize,
    from: LvStart,
    heard: &Heard<'_>,
) -> Sample {
    let Some(bytes) = bytes(way, heard) else { return Sample::settled(None) };
    let Some(number) = bytes.get(offset..offset + size) else { return Sample::pending() };
    let len = number.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte));
    let start = match from {
        LvStart::At(start) => Some(start),
        LvStart::BehindNumber(more) => {
            (offset + size).checked_add_signed(isize::try_from(more).unwrap_or(isize::MAX))
        }
    };
    match (start, usize::try_from(len)) {
        (Some(start), Ok(len)) if len > 0 => part(way, start, len, heard),
        _ => Sample::settled(None),
    }
}

/// Bytes before a record's content.
const RECORD_HEADER: usize = 5;
/// Bytes before a handshake message's content.
const HANDSHAKE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;

/// What a TLS hello says.
pub(super) fn tls(way: Way, fact: TlsFact, heard: &Heard<'_>) -> Sample {
    let Some(bytes) = bytes(way, heard) else { return Sample::settled(None) };
    // A record of a handshake, of SSL 3.0 or later (RFC 8446, 5.1).
    if bytes.first().is_some_and(|&kind| kind != HANDSHAKE)
        || bytes.get(1).is_some_and(|&major| major < 3)
    {
        return Sample::settled(None);
    }
    let Some(record) = bytes.get(RECORD_HEADER..) else { return Sample::pending() };
    let Some(&kind) = record.first() else { return Sample::pending() };
    match fact {
        TlsFact::HelloType => {
            // The type alone is no hello: who waits for it goes on to look at the rest.
            let Some(&[_, high, middle, low]) = record.first_chunk() else {
                return Sample::pending();
            };
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            let is_whole = record.len() >= HANDSHAKE_HEADER + len;
            let found = Sample::settled(Value::Int(i64::from(kind)));
            return if is_whole { found } else { Sample::pending() };
        }
        _ if kind != 1 => return Sample::settled(None),
        TlsFact::Version => {
            return match record.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + 2) {
                Some(version) => {
                    let (major, minor) = (i64::from(version[0]), i64::from(version[1]));
                    Sample::settled(Value::Int(major << 16 | minor))
                }
                None => Sample::pending(),
            };
        }
        TlsFact::Sni | TlsFact::Alpn | TlsFact::Groups => {}
    }
    let hello = match parse_tls_message_handshake(record) {
        Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) => hello,
        Err(tls_parser::Err::Incomplete(_)) => return Sample::pending(),
        _ => return Sample::settled(None),
    };
    let Ok((_, extensions)) = parse_tls_client_hello_extensions(hello.ext.unwrap_or_default())
    else {
        return Sample::settled(None);
    };
    let found = extensions.iter().find_map(|extension| match (fact, extension) {
        (TlsFact::Sni, TlsExtension::SNI(names)) => {
            names.first().map(|(_, name)| Value::Text(name.to_vec()))
        }
        (TlsFact::Alpn, TlsExtension::ALPN(names)) => Some(Value::Text(names.join(&b','))),
        (TlsFact::Groups, TlsExtension::EllipticCurves(_)) => Some(Value::Bool(true)),
        _ => None,
    });
    Sample::settled(found)
}

/// Bytes of TPKT and X.224 before the cookie.
const RDP_HEADERS: usize = 11;

/// What the cookie of a Remote Desktop connection holds: of this name, or of any.
pub(super) fn cookie(name: Option<&str>, heard: &Heard<'_>) -> Sample {
    match bytes(Way::Request, heard) {
        Some(bytes) => rdp_cookie(name, bytes),
        None => Sample::settled(None),
    }
}

/// What the cookie at the start of these bytes holds: of this name, or of any.
pub fn rdp_cookie(name: Option<&str>, bytes: &[u8]) -> Sample {
    // TPKT is version 3, and the length byte of X.224 covers the rest of it; the code of a connection request is 0xe0.
    if bytes.first().is_some_and(|&version| version != 3)
        || bytes.get(5).is_some_and(|&code| code != 0xe0)
    {
        return Sample::settled(None);
    }
    let Some(text) = bytes.get(RDP_HEADERS..) else { return Sample::pending() };
    let field = b"Cookie:";
    let begin = &text[..text.len().min(field.len())];
    if !begin.eq_ignore_ascii_case(&field[..begin.len()]) {
        return Sample::settled(None);
    }
    let Some(end) = text.windows(2).position(|pair| pair == b"\r\n") else {
        return Sample::pending();
    };
    let Some(cookie) = text.get(field.len()..end) else { return Sample::settled(None) };
    let cookie = cookie.trim_ascii_start();
    let Some(equals) = cookie.iter().position(|&byte| byte == b'=') else {
        return Sample::settled(None);
    };
    let (found, value) = (&cookie[..equals], &cookie[equals + 1..]);
    let is_meant = name.is_none_or(|name| name.as_bytes().eq_ignore_ascii_case(found));
    Sample::settled(is_meant.then(|| Value::Text(value.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: &[u8]) -> Heard<'_> {
        Heard { way: Way::Request, bytes, is_final: false, most: 100 }
    }

    fn some(value: &[u8]) -> Sample {
        Sample::settled(Value::Bytes(value.to_vec()))
    }

    #[test]
    fn parts_come_when_their_bytes_have() {
        let way = Way::OfRule;
        assert_eq!(part(way, 1, 2, &heard(b"abcd")), some(b"bc"));
        assert_eq!(part(way, 3, 2, &heard(b"abcd")), Sample::pending());
        assert_eq!(part(way, 99, 2, &heard(b"abcd")), Sample::settled(None));
        assert_eq!(part(Way::Response, 0, 1, &heard(b"abcd")), Sample::settled(None));
        let rest = part(way, 2, 0, &heard(b"abcd"));
        assert_eq!(rest, Sample { value: Some(Value::Bytes(b"cd".to_vec())), may_change: true });
    }

    #[test]
    fn lengths_within_the_bytes() {
        let bytes = b"\x00\x02xyz";
        let lv = |from| part_lv(Way::OfRule, 0, 2, from, &heard(bytes));
        assert_eq!(lv(LvStart::BehindNumber(0)), some(b"xy"));
        assert_eq!(lv(LvStart::BehindNumber(1)), some(b"yz"));
        assert_eq!(lv(LvStart::At(0)), some(b"\x00\x02"));
        assert_eq!(lv(LvStart::BehindNumber(-9)), Sample::settled(None));
        assert_eq!(lv(LvStart::BehindNumber(9)), Sample::pending());
    }

    #[test]
    fn cookies_of_remote_desktops() {
        let bytes = b"\x03\x00\x00\x2a\x25\xe0\x00\x00\x00\x00\x00Cookie: mstshash=me\r\n\x01";
        let text = |text: &str| Sample::settled(Value::Text(text.into()));
        assert_eq!(rdp_cookie(Some("mstshash"), bytes), text("me"));
        assert_eq!(rdp_cookie(None, bytes), text("me"));
        assert_eq!(rdp_cookie(Some("msts"), bytes), Sample::settled(None));
        for len in 0..bytes.len() - 2 {
            assert_eq!(rdp_cookie(None, &bytes[..len]), Sample::pending(), "{len}");
        }
        assert_eq!(rdp_cookie(None, b"GET / HTTP/1.0\r\n\r\n"), Sample::settled(None));
    }

    /// A client hello (RFC 8446, 4.1.2) with these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut record = vec![22, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn a_hello_tells_the_name_of_the_server() {
        let sni =
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a.b\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1";
        let bytes = hello(sni);
        let fact = |fact, bytes: &[u8]| tls(Way::Request, fact, &heard(bytes));
        let text = |text: &str| Sample::settled(Value::Text(text.into()));
        assert_eq!(fact(TlsFact::Sni, &bytes), text("a.b"));
        assert_eq!(fact(TlsFact::Alpn, &bytes), text("h2,http/1.1"));
        assert_eq!(fact(TlsFact::HelloType, &bytes), Sample::settled(Value::Int(1)));
        assert_eq!(fact(TlsFact::Version, &bytes), Sample::settled(Value::Int(0x30003)));
        assert_eq!(fact(TlsFact::Groups, &bytes), Sample::settled(None));
        for len in 0..bytes.len() {
            assert_eq!(fact(TlsFact::Sni, &bytes[..len]), Sample::pending(), "{len}");
            assert_eq!(fact(TlsFact::HelloType, &bytes[..len]), Sample::pending(), "{len}");
        }
        assert_eq!(fact(TlsFact::Sni, &hello(&[])), Sample::settled(None));
        assert_eq!(fact(TlsFact::Sni, b"GET / HTTP/1.0"), Sample::settled(None));
    }
}
