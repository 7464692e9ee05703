//! Checks of protocols: a script for each.
//!
//! In:    `option redis-check` and its kin
//! Out:   steps
//! Never: asks anybody
//! Read:  the protocols' own documents, named at each

use std::sync::Arc;

use super::super::model::{
    Answer, CheckAction, CheckConnect, CheckStatus, CheckStep, Expect, Pattern, Text, Told,
};
use super::super::parser::Line;
use super::super::report::Fault;
use super::step;

/// The steps of an option of this name; `None` when it is about something else.
pub(super) fn steps(name: &str, line: &Line<'_>) -> Result<Option<Vec<CheckStep>>, Fault> {
    let steps = match name {
        "option redis-check" => redis(),
        "option ssl-hello-chk" => ssl_hello(),
        "option ldap-check" => ldap(),
        "option smtpchk" => return smtp(line).map(Some),
        "option pgsql-check" => return pgsql(line).map(Some),
        "option mysql-check" => return mysql(line).map(Some),
        _ => return Ok(None),
    };
    line.at_most(0)?;
    Ok(Some(steps))
}

fn connect() -> CheckStep {
    step(CheckAction::Connect(CheckConnect::default()), None)
}

fn send(bytes: &[u8]) -> CheckStep {
    step(CheckAction::Send(Arc::from(bytes)), None)
}

fn expect(expect: Expect) -> CheckStep {
    step(CheckAction::Expect(expect), None)
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("our own patterns are well formed")
}

/// A PING in the protocol of Redis (RESP).
fn redis() -> Vec<CheckStep> {
    vec![
        send(b"*1\r\n$4\r\nPING\r\n"),
        expect(Expect {
            error_status: Some(CheckStatus::L7Status),
            on_error: Told::LineFrom(0),
            on_success: Told::Text("Redis server is ok".into()),
            ..Expect::new(Answer::Bytes(Arc::from(&b"+PONG\r\n"[..]), Text::Plain))
        }),
    ]
}

/// A ClientHello of SSL 3.0 (RFC 6101, section 5.6.1.2): the server answers with a handshake record, or an alert.
fn ssl_hello() -> Vec<CheckStep> {
    const CIPHERS: [u16; 18] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x1b, 0x2f, 0x33, 0x34,
        0x35, 0x39, 0x3a,
    ];
    let mut hello = vec![3, 0];
    hello.extend_from_slice(b"xlb-ssl-hello-check-random-bytes");
    hello.push(0);
    hello.extend_from_slice(&((CIPHERS.len() * 2) as u16).to_be_bytes());
    CIPHERS.iter().for_each(|cipher| hello.extend_from_slice(&cipher.to_be_bytes()));
    hello.extend_from_slice(&[1, 0]);
    let mut handshake = vec![1, 0];
    handshake.extend_from_slice(&(hello.len() as u16).to_be_bytes());
    handshake.extend_from_slice(&hello);
    let mut record = vec![0x16, 3, 0];
    record.extend_from_slice(&(handshake.len() as u16).to_be_bytes());
    record.extend_from_slice(&handshake);
    vec![
        send(&record),
        expect(Expect {
            ok_status: Some(CheckStatus::L6Ok),
            error_status: Some(CheckStatus::L6Rsp),
            timeout_status: Some(CheckStatus::L6TimedOut),
            min_recv: 5,
            ..Expect::new(Answer::Matches(pattern("^1[56]"), Text::Hexadecimal))
        }),
    ]
}

/// An anonymous bind of LDAPv3 (RFC 4511, section 4.2).
fn ldap() -> Vec<CheckStep> {
    const BIND: [u8; 14] = [0x30, 0x0c, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0];
    vec![
        send(&BIND),
        expect(Expect {
            min_recv: 14,
            on_error: Told::Text("Not LDAPv3 protocol".into()),
            ..Expect::new(Answer::Matches(pattern("^30"), Text::Hexadecimal))
        }),
        expect(Expect {
            error_status: Some(CheckStatus::L7Status),
            ..Expect::new(Answer::LdapBound)
        }),
    ]
}

/// A greeting, HELO or EHLO, QUIT (RFC 5321).
fn smtp(line: &Line<'_>) -> Result<Vec<CheckStep>, Fault> {
    line.at_most(2)?;
    let hello = match line.arguments {
        [verb @ ("HELO" | "EHLO"), domain] => format!("{verb} {domain}\r\n"),
        _ => "HELO localhost\r\n".to_string(),
    };
    let answer = |text: &str, status| {
        expect(Expect {
            min_recv: 4,
            error_status: Some(status),
            on_error: Told::LineFrom(if status == CheckStatus::L7Rsp { 0 } else { 4 }),
            on_success: Told::LineFrom(4),
            ..Expect::new(Answer::Matches(pattern(text), Text::Plain))
        })
    };
    Ok(vec![
        connect(),
        answer("^[0-9]{3}[- \r]", CheckStatus::L7Rsp),
        answer("^2[0-9]{2}[- \r]", CheckStatus::L7Status),
        send(hello.as_bytes()),
        answer("(?m)^2[0-9]{2}[- \r].*\n2[0-9]{2}[- \r]", CheckStatus::L7Status),
        send(b"QUIT\r\n"),
        answer("(?m)\n221[- \r]", CheckStatus::L7Status),
    ])
}

/// A startup packet of PostgreSQL's protocol 3.0: the server asks for authentication, or says why not.
fn pgsql(line: &Line<'_>) -> Result<Vec<CheckStep>, Fault> {
    let ["user", user] = line.arguments else {
        return Err("'option pgsql-check' expects 'user <username>' as argument."
            .to_string()
            .into());
    };
    let mut packet = vec![0; 4];
    packet.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
    packet.extend_from_slice(b"user\0");
    packet.extend_from_slice(user.as_bytes());
    packet.extend_from_slice(b"\0\0");
    let length = packet.len() as u32;
    packet[..4].copy_from_slice(&length.to_be_bytes());
    let no_error = Expect {
        is_negated: true,
        min_recv: 5,
        error_status: Some(CheckStatus::L7Rsp),
        on_error: Told::LineFrom(6),
        ..Expect::new(Answer::Matches(pattern("^E"), Text::Plain))
    };
    let asks = Expect {
        min_recv: 9,
        error_status: Some(CheckStatus::L7Status),
        on_success: Told::Text("PostgreSQL server is ok".into()),
        on_error: Told::Text("PostgreSQL unknown error".into()),
        ..Expect::new(Answer::Matches(pattern("^52000000[0-9A-F]{2}000000"), Text::Hexadecimal))
    };
    Ok(vec![connect(), send(&packet), expect(no_error), expect(asks)])
}

/// The greeting of MySQL, and with a user a handshake response and its answer (protocol 4.1 or before).
fn mysql(line: &Line<'_>) -> Result<Vec<CheckStep>, Fault> {
    let greeting = expect(Expect {
        error_status: Some(CheckStatus::L7Rsp),
        ..Expect::new(Answer::MysqlGreeting)
    });
    let (user, is_old) = match line.arguments {
        [] => return Ok(vec![connect(), greeting]),
        ["user", user] | ["user", user, "post-41"] => (user, false),
        ["user", user, "pre-41"] => (user, true),
        ["user", _, word] => {
            return Err(format!(
                "keyword 'user' only supports 'post-41' and 'pre-41' (got '{word}')."
            )
            .into());
        }
        ["user"] => {
            return Err("'option mysql-check user' expects <username> as argument."
                .to_string()
                .into());
        }
        [word, ..] => {
            return Err(format!(
                "'option mysql-check' only supports optional values: 'user' (got '{word}')."
            )
            .into());
        }
    };
    let mut payload = if is_old {
        // Capabilities, the largest packet.
        vec![0x80, 0x00, 0, 0, 1]
    } else {
        // CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION; largest packet; character set.
        let mut payload = vec![0x01, 0x82, 0, 0, 0, 0, 0, 1, 33];
        payload.extend_from_slice(&[0; 23]);
        payload
    };
    payload.extend_from_slice(user.as_bytes());
    payload.push(0);
    if !is_old {
        payload.push(0);
    }
    // A handshake response with the number 1, then COM_QUIT with the number 0.
    let length = (payload.len() as u32).to_le_bytes();
    let mut packets = vec![length[0], length[1], length[2], 1];
    packets.extend_from_slice(&payload);
    packets.extend_from_slice(&[1, 0, 0, 0, 1]);
    let ok = expect(Expect {
        error_status: Some(CheckStatus::L7Rsp),
        on_success: Told::Text("MySQL server is ok".into()),
        ..Expect::new(Answer::MysqlOk)
    });
    Ok(vec![connect(), greeting, send(&packets), ok])
}
