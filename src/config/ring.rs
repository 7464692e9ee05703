//! `ring` sections: memory that lines of a log wait in.
//!
//! In:    their statements
//! Out:   [`Ring`]s
//! Never: keeps a line
//! Read:  docs/configuration.md, "Rings"

use std::net::SocketAddr;
use std::sync::Arc;

use super::address::{self, Host};
use super::keywords::Found;
use super::log;
use super::model::{BUFSIZE_DEFAULT, Location, LogFraming, LogTransport, Ring, RingServer};
use super::parser::{Context, Line, unsupported};
use super::proxy::invalid_character;
use super::report::Fault;

/// The longest line when `maxlen` says nothing.
const MAX_LEN: usize = 1024;

/// `ring <name>`
pub(super) fn header(
    at: &Location,
    arguments: &[&str],
    others: &[Ring],
) -> (Ring, Result<(), Fault>) {
    let name = arguments.first().copied().unwrap_or_default();
    let ring = Ring {
        at: at.clone(),
        name: name.into(),
        framing: LogFraming::Raw,
        max_len: MAX_LEN,
        size: BUFSIZE_DEFAULT as usize,
        connect_timeout: None,
        server_timeout: None,
        servers: Vec::new(),
    };
    let verdict = match arguments {
        [] => Err("missing ring name.".to_string().into()),
        [name] => {
            match (invalid_character(name), others.iter().find(|ring| &*ring.name == *name)) {
                (Some(c), _) => {
                    Err(format!("character '{c}' is not permitted in 'ring' name '{name}'.").into())
                }
                (None, Some(other)) => {
                    Err(format!("ring '{name}' is already defined at line {}.", other.at.line)
                        .into())
                }
                (None, None) => Ok(()),
            }
        }
        [_, extra, ..] => {
            Err(format!("'ring' cannot handle unexpected argument '{extra}'.").into())
        }
    };
    (ring, verdict)
}

/// A line of a section.
pub(super) fn statement(
    ring: &mut Ring,
    line: &Line<'_>,
    found: Found,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    if found == Found::Unsupported {
        return Err(unsupported(line.name));
    }
    match line.name {
        // For whoever reads the file.
        "description" => {}
        "format" => {
            let word = line.only("a format")?;
            ring.framing = log::framing(word)
                .ok_or_else(|| Fault::from(format!("'format' : unknown log format '{word}'.")))?;
        }
        "maxlen" => ring.max_len = line.size(1..=65_535)? as usize,
        "size" => ring.size = line.size(1..=1 << 30)? as usize,
        "timeout connect" => ring.connect_timeout = Some(line.time()?),
        "timeout server" => ring.server_timeout = Some(line.time()?),
        "server" => {
            let server = server(line, context)?;
            if let Some(other) = ring.servers.iter().find(|other| other.name == server.name) {
                return Err(format!("another server is named '{}'.", other.name).into());
            }
            ring.servers.push(server);
        }
        name => unreachable!("'{name}' is listed as a word of rings"),
    }
    Ok(())
}

/// `server <name> <address>:<port> [log-proto legacy|octet-count]`
fn server(line: &Line<'_>, context: &Context<'_>) -> Result<RingServer, Fault> {
    let [name, text, rest @ ..] = line.arguments else {
        return Err(Fault::hinted(
            "'server' expects <name> and <address> as arguments.",
            "for example: 'server collector 192.0.2.7:6514 log-proto octet-count'.",
        ));
    };
    let of_line = |fault: Fault| Fault {
        text: format!("'server {name}' : {}", fault.text),
        hint: fault.hint,
    };
    let endpoint = address::endpoint(text).map_err(of_line)?;
    let ip = match endpoint.host {
        Host::Address(ip) => ip,
        Host::Name(host, family) => context.resolve(&host, family).map_err(of_line)?,
        Host::Any(_) => return Err(format!("'server {name}' : '{text}' is no address.").into()),
    };
    let port = endpoint.port.and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| {
        Fault::from(format!("'server {name}' : '{text}' needs a port from 1 to 65535."))
    })?;
    let mut transport = LogTransport::Legacy;
    let mut rest = rest;
    while let [word, after @ ..] = rest {
        match (*word, after.first().copied()) {
            ("log-proto", Some("legacy")) => transport = LogTransport::Legacy,
            ("log-proto", Some("octet-count")) => transport = LogTransport::OctetCount,
            ("log-proto", _) => {
                return Err(format!(
                    "'server {name}' : 'log-proto' expects 'legacy' or 'octet-count'."
                )
                .into());
            }
            (word, _) => {
                return Err(
                    format!("'server {name}' : '{word}' is not supported by xlb yet.").into()
                );
            }
        }
        rest = &after[1..];
    }
    Ok(RingServer { name: Arc::from(*name), address: SocketAddr::new(ip, port), transport })
}
