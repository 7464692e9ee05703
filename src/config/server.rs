//! `server` and `default-server` lines.
//!
//! In:    a name, an address, parameters; what `default-server` said before
//! Out:   a [`Server`] with its name resolved
//! Never: connects
//! Read:  docs/configuration.md, "server"

use super::address::{self, Host};
use super::keywords::{self, Found, Scope};
use super::model::{Carrier, Server};
use super::nearest::suggestion;
use super::parser::{Context, Line, unsupported};
use super::proxy::invalid_character;
use super::report::Fault;
use super::units;

/// What a server has when its line does not say; `default-server` changes it for the lines below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerSettings {
    weight: u32,
    disabled: bool,
    backup: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { weight: 1, disabled: false, backup: false }
    }
}

/// A server while its proxy is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerDraft {
    pub(super) server: Server,
    pub(super) id: Option<u32>,
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
    if let Some(c) = invalid_character(name) {
        return Err(format!("character '{c}' is not permitted in server name '{name}'.").into());
    }
    let of_line = |fault: Fault| Fault {
        text: format!("'server {proxy}/{name}' : {}", fault.text),
        hint: fault.hint,
    };
    let endpoint = address::endpoint(text).map_err(of_line)?;
    let port = address::server_port(endpoint.port, text).map_err(of_line)?;
    let mut settings = settings.clone();
    // Before the name is resolved: an error that needs no resolver is found without one.
    let id = parameters(&mut settings, line, words, true, context).map_err(of_line)?;
    let address = match endpoint.host {
        Host::Address(address) => address,
        Host::Name(name, family) => context.resolve(&name, family).map_err(of_line)?,
        Host::Any(_) => {
            return Err(of_line(Fault::hinted(
                format!("address '{text}' is not supported by xlb yet."),
                "without an address HAProxy connects to the one that the client aimed at.",
            )));
        }
    };
    let ServerSettings { weight, disabled, backup } = settings;
    let server = Server {
        at: line.at.clone(),
        name: (*name).into(),
        id: id.unwrap_or(0),
        carrier: Carrier::Wire,
        address,
        port,
        weight,
        disabled,
        backup,
        maxconn: 0,
        minconn: 0,
        maxqueue: 0,
        slowstart: None,
        check: None,
        agent: None,
        track: None,
        shutdown_when_down: false,
        shutdown_backups_when_up: false,
        send_proxy: None,
        source: None,
        user_timeout: None,
    };
    Ok(ServerDraft { server, id })
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
            Some(Found::Active) => active(settings, &mut id, word, rest.first().copied())?,
            Some(Found::Inactive(shape)) => {
                context.note_inactive(line.at, format!("server {word}"));
                keywords::consume(word, shape, rest)?
            }
            Some(Found::Unsupported) => return Err(unsupported(word)),
            None => return Err(unknown(word, is_server)),
        };
        words = &rest[taken..];
    }
    Ok(id)
}

/// Takes one parameter; how many words after its name are its own.
fn active(
    settings: &mut ServerSettings,
    id: &mut Option<u32>,
    name: &str,
    value: Option<&str>,
) -> Result<usize, Fault> {
    let number = |low: i64, high: i64| {
        units::integer(value, low..=high, name).map(|n| u32::try_from(n).expect("in range"))
    };
    match name {
        "backup" => settings.backup = true,
        "no-backup" => settings.backup = false,
        "disabled" => settings.disabled = true,
        "enabled" => settings.disabled = false,
        "id" => {
            *id = Some(number(1, i64::from(i32::MAX))?);
            return Ok(1);
        }
        "weight" => {
            settings.weight = number(0, 256)?;
            return Ok(1);
        }
        name => unreachable!("'{name}' is listed as active"),
    }
    Ok(0)
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
        let settings = ServerSettings { weight: 9, disabled: false, backup: true };
        with_line("server", words, |line, context| server("pool", &settings, line, context))
    }

    #[test]
    fn a_line_goes_before_default_server() {
        let (draft, inactive) = read("a web.example:80 weight 5 id 3 check inter 2s");
        let ServerDraft { server, id } = draft.unwrap();
        assert_eq!((server.weight, server.backup, id), (5, true, Some(3)));
        assert_eq!(
            (server.address.to_string().as_str(), server.port),
            ("192.0.2.7", ServerPort::Fixed(80))
        );
        assert_eq!(inactive, ["server check", "server inter"]);
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
        assert_eq!(text("a *:80"), "'server pool/a' : address '*:80' is not supported by xlb yet.");
        assert_eq!(
            text("a 192.0.2.1:80 weight"),
            "'server pool/a' : 'weight' expects an integer argument."
        );
        // The resolver is not asked when the line is wrong anyway.
        assert_eq!(text("a nowhere:80 nope"), "'server pool/a' : unknown keyword 'nope'");
    }
}
