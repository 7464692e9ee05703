//! `server` and `default-server` lines.
//!
//! In:    a name, an address, parameters; what `default-server` said before
//! Out:   a [`Server`] with its name resolved
//! Never: connects
//! Read:  docs/configuration.md, "server"

mod checking;
mod words;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::address::{self, Family, Host};
use super::keywords::{self, Found, Scope};
use super::model::{Carrier, Server, ServerPort};
use super::nearest::suggestion;
use super::parser::{Context, Line, unsupported};
use super::proxy::invalid_character;
use super::report::Fault;
use super::units;

pub(super) use words::ServerSettings;

/// Servers of one template at most: more is a typing mistake.
const TEMPLATE_MAX: u32 = 65_536;

/// A server while its proxy is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerDraft {
    pub(super) server: Server,
    pub(super) id: Option<u32>,
    /// `track`: the words of the line.
    pub(super) track: Option<String>,
}

/// `server <name> <addr>[:<port>] [parameter]...`
pub(super) fn server(
    proxy: &str,
    settings: &ServerSettings,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<ServerDraft, Fault> {
    let [name, text, words @ ..] = line.arguments else {
        return Err("'server' expects <name> and <addr>[:<port>] as arguments.".to_string().into());
    };
    check_name(name, "server name")?;
    let of_line = |fault| of_server(proxy, name, fault);
    let place = place(text).map_err(of_line)?;
    let mut settings = settings.clone();
    // Before the name is resolved: an error that needs no resolver is found without one.
    let id = parameters(&mut settings, line, words, true, context).map_err(of_line)?;
    let address = place.addresses(context).map_err(of_line)?[0];
    let server = settings.server(
        line.at,
        name,
        address,
        place.port,
        address::carrier_to(Some(address), place.carrier),
    );
    Ok(ServerDraft { server, id, track: settings.check.track })
}

/// `server-template <prefix> <number>|<first>-<last> <addr>[:<port>] [parameter]...`: as many servers. They
/// have the addresses of a name in turn; those for which none is left are disabled.
pub(super) fn template(
    proxy: &str,
    settings: &ServerSettings,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<ServerDraft>, Fault> {
    let [prefix, count, text, words @ ..] = line.arguments else {
        return Err(Fault::hinted(
            "'server-template' expects <prefix>, <number> or <first>-<last>, and <addr>[:<port>].",
            "for example: 'server-template web 1-5 web.example:80 check'.",
        ));
    };
    check_name(prefix, "server name")?;
    let of_line = |fault| of_server(proxy, prefix, fault);
    let numbers = template_range(count).map_err(of_line)?;
    let place = place(text).map_err(of_line)?;
    let mut settings = settings.clone();
    let id = parameters(&mut settings, line, words, true, context).map_err(of_line)?;
    let addresses = place.addresses(context).map_err(of_line)?;
    let draft = |(index, number): (usize, u32)| {
        let name = format!("{prefix}{number}");
        let address = addresses.get(index).or(addresses.last()).expect("a name has an address");
        let carrier = address::carrier_to(Some(*address), place.carrier.clone());
        let mut server = settings.server(line.at, &name, *address, place.port, carrier);
        server.disabled |= index >= addresses.len() && place.is_name;
        ServerDraft { server, id: id.filter(|_| index == 0), track: settings.check.track.clone() }
    };
    Ok(numbers.enumerate().map(draft).collect())
}

fn template_range(text: &str) -> Result<RangeInclusive<u32>, Fault> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    let range = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|count| (1, count)),
    };
    match range.filter(|(first, last)| first <= last && last - first < TEMPLATE_MAX) {
        Some((first, last)) => Ok(first..=last),
        None => Err(format!("'{text}' is neither a number of servers nor a range of them.").into()),
    }
}

fn check_name(name: &str, what: &str) -> Result<(), Fault> {
    match invalid_character(name) {
        None => Ok(()),
        Some(c) => Err(format!("character '{c}' is not permitted in {what} '{name}'.").into()),
    }
}

fn of_server(proxy: &str, name: &str, fault: Fault) -> Fault {
    Fault { text: format!("'server {proxy}/{name}' : {}", fault.text), hint: fault.hint }
}

/// Where a server is, before names are resolved.
struct Place {
    host: Host,
    port: ServerPort,
    carrier: Carrier,
    is_name: bool,
}

fn place(text: &str) -> Result<Place, Fault> {
    let (carrier, text) = address::carrier(text)?;
    match carrier {
        Carrier::Unix(_) => {
            let host = Host::Address(Ipv4Addr::UNSPECIFIED.into());
            return Ok(Place { host, port: ServerPort::Fixed(0), carrier, is_name: false });
        }
        Carrier::Fd(number) => {
            return Err(format!("'fd@{number}' is no address of a server.").into());
        }
        Carrier::Wire | Carrier::Kernel => {}
    }
    let endpoint = address::endpoint(text)?;
    let port = address::server_port(endpoint.port, text)?;
    let is_name = matches!(endpoint.host, Host::Name(..));
    Ok(Place { host: endpoint.host, port, carrier, is_name })
}

impl Place {
    /// One address or more.
    fn addresses(&self, context: &Context<'_>) -> Result<Vec<IpAddr>, Fault> {
        match &self.host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name, family) => context.resolve_all(name, *family),
            // The one that the client aimed at.
            Host::Any(Family::V4) => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
            Host::Any(Family::V6) => Ok(vec![Ipv6Addr::UNSPECIFIED.into()]),
        }
    }
}

/// `default-server [parameter]...`
pub(super) fn default_server(
    settings: &mut ServerSettings,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    let mut changed = settings.clone();
    let of_line = |fault: Fault| Fault {
        text: format!("'default-server' : {}", fault.text),
        hint: fault.hint,
    };
    parameters(&mut changed, line, line.arguments, false, context).map_err(of_line)?;
    *settings = changed;
    Ok(())
}

/// Reads parameters into `settings`; the `id` is nobody's default.
fn parameters(
    settings: &mut ServerSettings,
    line: &Line<'_>,
    mut words: &[&str],
    is_server: bool,
    context: &mut Context<'_>,
) -> Result<Option<u32>, Fault> {
    let mut id = None;
    while let Some((word, rest)) = words.split_first() {
        let taken = match keywords::find(Scope::Server, word) {
            Some(Found::Active) if *word == "id" && !is_server => {
                return Err("'id' is not permitted here: it belongs to one server."
                    .to_string()
                    .into());
            }
            Some(Found::Active) if *word == "id" => {
                let value = rest.first().copied();
                let number = units::integer(value, 1..=i64::from(i32::MAX), "id")?;
                id = Some(u32::try_from(number).expect("in range"));
                1
            }
            Some(Found::Active) => settings.take(word, rest, context)?,
            Some(Found::Inactive(shape)) => {
                context.note_inactive(line.at, format!("server {word}"));
                keywords::consume(word, shape, rest)?
            }
            Some(Found::Unsupported) => return Err(unsupported(word)),
            None => return Err(unknown(word, is_server)),
        };
        words = &rest[taken..];
    }
    match settings.check.fault() {
        Some(fault) => Err(fault),
        None => Ok(id),
    }
}

fn unknown(word: &str, is_server: bool) -> Fault {
    let known = keywords::keywords(Scope::Server).map(|keyword| keyword.name);
    let text = format!("unknown keyword '{word}'{}", suggestion(word, known));
    if !is_server && address::endpoint(word).is_ok_and(|endpoint| endpoint.port.is_some()) {
        return Fault::hinted(text, "no address was expected for this server.");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::model::ServerPort;
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(words: &str) -> (Result<ServerDraft, Fault>, Vec<String>) {
        let settings = ServerSettings { weight: 9, backup: true, ..ServerSettings::default() };
        with_line("server", words, |line, context| server("pool", &settings, line, context))
    }

    #[test]
    fn a_line_goes_before_default_server() {
        let (draft, inactive) = read("a web.example:80 weight 5 id 3 pool-max-conn 3 cookie x");
        let ServerDraft { server, id, .. } = draft.unwrap();
        assert_eq!((server.weight, server.backup, id), (5, true, Some(3)));
        assert_eq!(
            (server.address.to_string().as_str(), server.port),
            ("192.0.2.7", ServerPort::Fixed(80))
        );
        assert_eq!(inactive, ["server pool-max-conn", "server cookie"]);
        let plain = read("a 192.0.2.1 no-backup").0.unwrap().server;
        assert_eq!((plain.weight, plain.backup, plain.port), (9, false, ServerPort::Offset(0)));
    }

    #[test]
    fn a_faulty_line_changes_no_default() {
        let mut settings = ServerSettings::default();
        let read = |line: &Line<'_>, context: &mut Context<'_>| {
            default_server(&mut settings, line, context)
        };
        let fault = with_line("default-server", "weight 7 nope", read).0.unwrap_err();
        assert_eq!(fault.text, "'default-server' : unknown keyword 'nope'");
        assert_eq!(settings, ServerSettings::default());
        let read = |line: &Line<'_>, context: &mut Context<'_>| {
            default_server(&mut settings, line, context)
        };
        let fault = with_line("default-server", "192.0.2.1:80", read).0.unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("no address was expected for this server."));
    }

    #[test]
    fn faults_name_the_server() {
        let text = |words| read(words).0.unwrap_err().text;
        assert_eq!(text("a"), "'server' expects <name> and <addr>[:<port>] as arguments.");
        assert_eq!(
            text("a 192.0.2.1:80 weight"),
            "'server pool/a' : 'weight' expects an integer argument."
        );
        // The resolver is not asked when the line is wrong anyway.
        assert_eq!(text("a nowhere:80 nope"), "'server pool/a' : unknown keyword 'nope'");
    }
}
