//! `bind` lines.
//!
//! In:    a comma list of addresses with port ranges, and parameters for all of them
//! Out:   one [`Bind`] for each address and port
//! Never: binds
//! Read:  docs/configuration.md, "bind"

use std::net::IpAddr;
use std::time::Duration;

use super::address::{self, Family, Host};
use super::global::interface_name;
use super::keywords::{self, Found, Scope};
use super::model::{Bind, Carrier, Families, Level, Location, SocketRights};
use super::nearest::suggestion;
use super::parser::{Context, Line, unsupported};
use super::report::Fault;
use super::units;

/// Listeners of one line; all ports of one address are fewer, a list of such ranges is a mistake.
const LISTENERS_MAX: usize = 65_536;

/// A listener while its proxy is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BindDraft {
    pub(super) bind: Bind,
    /// Its own `maxconn`; the proxy's may still come.
    pub(super) maxconn: Option<u32>,
    /// `id`, of the first listener of its line.
    pub(super) id: Option<u32>,
}

/// What stands after the addresses.
#[derive(Default)]
struct Parameters {
    maxconn: Option<u32>,
    backlog: Option<u32>,
    name: Option<String>,
    id: Option<u32>,
    interface: Option<String>,
    nice: i32,
    families: Option<Families>,
    accept_proxy: bool,
    defer_accept: bool,
    mss: Option<u16>,
    user_timeout: Option<Duration>,
    rights: SocketRights,
    level: Level,
}

impl Parameters {
    fn bind(
        &self,
        at: &Location,
        address: Option<IpAddr>,
        families: Families,
        port: u16,
        carrier: Carrier,
    ) -> Bind {
        Bind {
            at: at.clone(),
            address,
            families,
            port,
            maxconn: 0,
            backlog: self.backlog,
            name: self.name.clone(),
            id: 0,
            interface: self.interface.clone(),
            nice: self.nice,
            carrier,
            rights: self.rights.clone(),
            level: self.level,
            accept_proxy: self.accept_proxy,
            defer_accept: self.defer_accept,
            mss: self.mss,
            user_timeout: self.user_timeout,
        }
    }
}

/// Reads a line into listeners.
pub(super) fn parse(line: &Line<'_>, context: &mut Context<'_>) -> Result<Vec<BindDraft>, Fault> {
    let (addresses, words) = line.arguments.split_first().ok_or_else(|| {
        "'bind' expects {[addr1]:port1[-end1]}{,[addr]:port[-end]}... as arguments.".to_string()
    })?;
    let parameters = parameters(addresses, words, line, context)?;
    let mut drafts: Vec<BindDraft> = Vec::new();
    for text in addresses.strip_suffix(',').unwrap_or(addresses).split(',') {
        let (carrier, text) = address::carrier(text).map_err(of_bind)?;
        if matches!(carrier, Carrier::Unix(_) | Carrier::Fd(_)) {
            let bind = parameters.bind(line.at, None, Families::V4, 0, carrier);
            drafts.push(BindDraft { bind, maxconn: parameters.maxconn, id: None });
            continue;
        }
        let endpoint = address::endpoint(text).map_err(of_bind)?;
        let ports = address::bind_ports(endpoint.port, text).map_err(of_bind)?;
        let (address, families) = match endpoint.host {
            Host::Any(Family::V4) => (None, Families::V4),
            Host::Any(Family::V6) => (None, parameters.families.unwrap_or(Families::V6)),
            Host::Address(address) => (Some(address), families(Family::of(address))),
            Host::Name(name, family) => {
                let address = context.resolve(&name, family).map_err(of_bind)?;
                (Some(address), families(Family::of(address)))
            }
        };
        if drafts.len() + ports.len() > LISTENERS_MAX {
            return Err(
                format!("'bind' : more than {LISTENERS_MAX} listeners in '{addresses}'.").into()
            );
        }
        let carrier = address::carrier_to(address, carrier);
        drafts.extend(ports.map(|port| BindDraft {
            bind: parameters.bind(line.at, address, families, port, carrier.clone()),
            maxconn: parameters.maxconn,
            id: None,
        }));
    }
    drafts[0].id = parameters.id;
    Ok(drafts)
}

fn families(family: Family) -> Families {
    match family {
        Family::V4 => Families::V4,
        Family::V6 => Families::V6,
    }
}

fn of_bind(fault: Fault) -> Fault {
    Fault { text: format!("'bind' : {}", fault.text), hint: fault.hint }
}

fn parameters(
    addresses: &str,
    mut words: &[&str],
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<Parameters, Fault> {
    let mut parameters = Parameters::default();
    let of_line = |fault: Fault| Fault {
        text: format!("'bind {addresses}' : {}", fault.text),
        hint: fault.hint,
    };
    while let Some((word, rest)) = words.split_first() {
        let taken = match keywords::find(Scope::Bind, word) {
            Some(Found::Active) => active(&mut parameters, word, rest).map_err(of_line)?,
            Some(Found::Inactive(shape)) => {
                context.note_inactive(line.at, format!("bind {word}"));
                keywords::consume(word, shape, rest).map_err(of_line)?
            }
            Some(Found::Unsupported) => return Err(of_line(unsupported(word))),
            None => {
                let known = keywords::keywords(Scope::Bind).map(|keyword| keyword.name);
                let hint = suggestion(word, known);
                let text = format!("'bind {addresses}' : unknown keyword '{word}'{hint}");
                return Err(text.into());
            }
        };
        words = &rest[taken..];
    }
    Ok(parameters)
}

/// Takes one parameter; how many words after its name are its own.
fn active(parameters: &mut Parameters, name: &str, rest: &[&str]) -> Result<usize, Fault> {
    let value = rest.first().copied();
    let number = |low: i64, high: i64| units::integer(value, low..=high, name);
    let unsigned =
        |low| number(low, i64::from(i32::MAX)).map(|n| u32::try_from(n).expect("in range"));
    match name {
        // 0 leaves the limit to the proxy.
        "maxconn" => parameters.maxconn = Some(unsigned(0)?).filter(|limit| *limit > 0),
        "backlog" => parameters.backlog = Some(unsigned(0)?).filter(|limit| *limit > 0),
        "id" => parameters.id = Some(unsigned(1)?),
        "nice" => parameters.nice = i32::try_from(number(-1024, 1024)?).expect("in range"),
        "level" => parameters.level = level(value)?,
        "name" => {
            parameters.name =
                Some(value.ok_or_else(|| "'name' : missing name".to_string())?.to_string());
        }
        "interface" => {
            let name = value.ok_or_else(|| "'interface' : missing interface name".to_string())?;
            parameters.interface = Some(interface_name(name)?);
        }
        "accept-proxy" => {
            parameters.accept_proxy = true;
            return Ok(0);
        }
        "defer-accept" => {
            parameters.defer_accept = true;
            return Ok(0);
        }
        "mss" => {
            // HAProxy takes a negative one for the most that it would accept, which is the same here.
            let mss = number(-65_535, 65_535)?.unsigned_abs();
            parameters.mss = u16::try_from(mss).ok().filter(|mss| *mss > 0);
        }
        "tcp-ut" => {
            let word = value.unwrap_or_default();
            let time = units::time(word).map_err(|error| error.of_time(word, name))?;
            parameters.user_timeout = Some(time).filter(|time| *time > Duration::ZERO);
        }
        "v4v6" => {
            parameters.families = Some(Families::Both);
            return Ok(0);
        }
        "v6only" => {
            parameters.families = Some(Families::V6);
            return Ok(0);
        }
        word => rights(&mut parameters.rights, word, value)?,
    }
    Ok(1)
}

/// What clients of a runtime socket may do.
fn level(value: Option<&str>) -> Result<Level, Fault> {
    match value {
        Some("user") => Ok(Level::User),
        Some("operator") => Ok(Level::Operator),
        Some("admin") => Ok(Level::Admin),
        _ => Err(Fault::hinted(
            "'level' only supports 'user', 'operator', and 'admin'.",
            "'admin' is needed for whatever changes something.",
        )),
    }
}

/// Rights of a UNIX socket.
pub(super) fn rights(
    rights: &mut SocketRights,
    word: &str,
    value: Option<&str>,
) -> Result<(), Fault> {
    let text = value.ok_or_else(|| Fault::from(format!("'{word}' : missing argument.")))?;
    let id = || -> Result<Option<u32>, Fault> {
        let id = units::integer(value, 0..=i64::from(i32::MAX), word)?;
        Ok(u32::try_from(id).ok())
    };
    match word {
        "user" => rights.user = Some(text.to_string()),
        "group" => rights.group = Some(text.to_string()),
        "uid" => rights.uid = id()?,
        "gid" => rights.gid = id()?,
        "mode" => {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            rights.mode = Some(mode.ok_or_else(|| {
                Fault::hinted(
                    format!("'mode' : '{text}' is no octal number of permission bits."),
                    "for example: 'mode 660'.",
                )
            })?);
        }
        word => unreachable!("'{word}' is listed as active"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    fn binds(words: &str) -> (Result<Vec<BindDraft>, Fault>, Vec<String>) {
        with_line("bind", words, parse)
    }

    #[test]
    fn parameters_hold_for_the_whole_line() {
        let (drafts, inactive) =
            binds(":80,web.example:81-82 nice 5 id 7 maxconn 0 name x tfo cc reno");
        let drafts = drafts.unwrap();
        assert_eq!(drafts.iter().map(|draft| draft.bind.port).collect::<Vec<_>>(), [80, 81, 82]);
        assert!(drafts.iter().all(|draft| draft.bind.nice == 5 && draft.maxconn.is_none()));
        assert_eq!(drafts.iter().map(|draft| draft.id).collect::<Vec<_>>(), [Some(7), None, None]);
        assert_eq!(drafts[1].bind.address, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(inactive, ["bind tfo", "bind cc"]);
    }

    #[test]
    fn v4v6_is_for_the_wildcard_of_ipv6() {
        let families = |words| binds(words).0.unwrap()[0].bind.families;
        assert_eq!(families("[::]:80 v4v6"), Families::Both);
        assert_eq!(families("[::]:80 v4v6 v6only"), Families::V6);
        assert_eq!(families(":80 v4v6"), Families::V4);
        assert_eq!(families("[2001:db8::1]:80 v4v6"), Families::V6);
    }

    #[test]
    fn faults_name_the_line() {
        let text = |words| binds(words).0.unwrap_err().text;
        assert_eq!(text(":80 nice"), "'bind :80' : 'nice' expects an integer argument.");
        assert_eq!(text(":80 crt x"), "'bind :80' : keyword 'crt' is not supported by xlb yet.");
        assert_eq!(text("nowhere:80"), "'bind' : could not resolve address 'nowhere'.");
        let many = text(":1-65535,192.0.2.1:1-65535");
        assert!(many.contains("more than 65536 listeners"), "{many}");
    }
}
