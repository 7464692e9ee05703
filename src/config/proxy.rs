//! `defaults`, `frontend`, `backend` and `listen` sections.
//!
//! In:    their headers and statements
//! Out:   [`ProxyDraft`]s, with the defaults they inherit
//! Never: looks at another proxy, but for its name; that is `check`
//! Read:  docs/configuration.md, "Proxies"

use std::time::Duration;

use super::bind::{self, BindDraft};
use super::checks::CheckDraft;
use super::keywords::Found;
use super::log::LogDraft;
use super::model::{Balance, Location, ProxyKind, Redispatch, ServerSource, Timeouts};
use super::options::OptionSettings;
use super::parser::{Context, Form, Line};
use super::report::Fault;
use super::rules::RuleDraft;
use super::server::{self, ServerDraft, ServerSettings};
use super::service::ServiceDraft;
use super::{balance, source, units};

/// HAProxy's number of connection attempts after the first.
const RETRIES_DEFAULT: u32 = 3;

/// What a section inherits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) maxconn: Option<u32>,
    pub(super) backlog: Option<u32>,
    pub(super) default_backend: Option<(Location, String)>,
    pub(super) balance: Balance,
    pub(super) timeouts: Timeouts,
    pub(super) retries: u32,
    pub(super) redispatch: Redispatch,
    pub(super) disabled: bool,
    pub(super) options: OptionSettings,
    pub(super) checks: CheckDraft,
    pub(super) source: Option<ServerSource>,
    pub(super) rules: RuleDraft,
    pub(super) logs: LogDraft,
    pub(super) service: ServiceDraft,
    server: ServerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maxconn: None,
            backlog: None,
            default_backend: None,
            balance: Balance::default(),
            timeouts: Timeouts::default(),
            retries: RETRIES_DEFAULT,
            redispatch: Redispatch::default(),
            disabled: false,
            options: OptionSettings::default(),
            checks: CheckDraft::default(),
            source: None,
            rules: RuleDraft::default(),
            logs: LogDraft::default(),
            service: ServiceDraft::default(),
            server: ServerSettings::default(),
        }
    }
}

/// A section while it is read.
pub(super) struct ProxyDraft {
    pub(super) at: Location,
    /// Empty for `defaults` without a name.
    pub(super) name: String,
    /// `None` for `defaults`.
    pub(super) kind: Option<ProxyKind>,
    pub(super) settings: Settings,
    pub(super) binds: Vec<BindDraft>,
    pub(super) servers: Vec<ServerDraft>,
    pub(super) id: Option<(Location, u32)>,
    /// Its header was refused: what its name means elsewhere is not known.
    pub(super) has_faulty_header: bool,
    /// Timeouts that this section itself has stated.
    timeouts_stated: Vec<String>,
}

impl ProxyDraft {
    pub(super) fn new(
        at: Location,
        name: &str,
        kind: Option<ProxyKind>,
        base: Option<&ProxyDraft>,
    ) -> Self {
        Self {
            at,
            name: name.to_string(),
            kind,
            settings: base.map(|base| base.settings.clone()).unwrap_or_default(),
            binds: Vec::new(),
            servers: Vec::new(),
            id: None,
            has_faulty_header: false,
            timeouts_stated: Vec::new(),
        }
    }

    /// The word that opens the section.
    pub(super) fn kind_name(&self) -> &'static str {
        self.kind.map_or("defaults", section_name)
    }

    /// HAProxy's word for it in sentences.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            Some(ProxyKind::Listen) => "proxy",
            _ => self.kind_name(),
        }
    }

    fn has_backend(&self) -> bool {
        self.kind.is_none_or(ProxyKind::is_backend)
    }

    fn has_frontend(&self) -> bool {
        self.kind.is_none_or(ProxyKind::is_frontend)
    }
}

fn section_name(kind: ProxyKind) -> &'static str {
    match kind {
        ProxyKind::Frontend => "frontend",
        ProxyKind::Backend => "backend",
        ProxyKind::Listen => "listen",
    }
}

/// The first character that no name may have.
pub(super) fn invalid_character(name: &str) -> Option<char> {
    name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | ':'))
}

/// `<name> [from <defaults>]`: what the section inherits from.
pub(super) fn header<'d>(
    kind: ProxyKind,
    arguments: &[&str],
    defaults: &'d [ProxyDraft],
) -> Result<Option<&'d ProxyDraft>, Fault> {
    let section = section_name(kind);
    let (name, rest) =
        arguments.split_first().ok_or_else(|| format!("'{section}' expects an <id> argument."))?;
    if let Some(c) = invalid_character(name) {
        return Err(
            format!("character '{c}' is not permitted in '{section}' name '{name}'.").into()
        );
    }
    match rest {
        [] => Ok(defaults.last()),
        ["from", base] => base_of(defaults, base, "proxy", name).map(Some),
        ["from", _, extra, ..] => {
            Err(format!("'{section}' cannot handle unexpected argument '{extra}'.").into())
        }
        [word, ..] => Err(Fault::hinted(
            format!("'{section}' cannot handle unexpected argument '{word}'."),
            "please use the 'bind' keyword for listening addresses.",
        )),
    }
}

/// `[name] [from <defaults>]`: the name, and what the section inherits from.
pub(super) fn defaults_header<'a, 'd>(
    arguments: &[&'a str],
    defaults: &'d [ProxyDraft],
) -> Result<(&'a str, Option<&'d ProxyDraft>), Fault> {
    let (name, rest) = match arguments {
        ["from", ..] | [] => ("", arguments),
        [name, rest @ ..] => (*name, rest),
    };
    if let Some(c) = invalid_character(name) {
        return Err(format!("character '{c}' is not permitted in 'defaults' name '{name}'.").into());
    }
    match rest {
        [] => Ok((name, None)),
        ["from", base] => Ok((name, Some(base_of(defaults, base, "defaults", name)?))),
        ["from"] => Err("'from' expects the name of a defaults section.".to_string().into()),
        ["from", _, word, ..] | [word, ..] => {
            Err(format!("'defaults' cannot handle unexpected argument '{word}'.").into())
        }
    }
}

fn base_of<'d>(
    defaults: &'d [ProxyDraft],
    base: &str,
    kind: &str,
    name: &str,
) -> Result<&'d ProxyDraft, Fault> {
    let mut found = defaults.iter().filter(|draft| draft.name == base && !base.is_empty());
    let Some(first) = found.next() else {
        return Err(format!("defaults section '{base}' not found for {kind} '{name}'.").into());
    };
    if let Some(second) = found.next() {
        let (a, b) = (&first.at, &second.at);
        return Err(format!(
            "ambiguous defaults section name '{base}' referenced by {kind} '{name}' exists at least at {}:{} and {}:{}.",
            a.file, a.line, b.file, b.line
        )
        .into());
    }
    Ok(first)
}

/// A frontend and a backend may share a name; nothing else may.
pub(super) fn name_clash(draft: &ProxyDraft, others: &[ProxyDraft]) -> Option<Fault> {
    let clashes = |other: &&ProxyDraft| {
        other.name == draft.name
            && !draft.name.is_empty()
            && ((other.has_frontend() && draft.has_frontend())
                || (other.has_backend() && draft.has_backend()))
    };
    others.iter().find(clashes).map(|other| {
        format!(
            "{} '{}' has the same name as {} '{}' declared at {}:{}.",
            draft.type_name(),
            draft.name,
            other.type_name(),
            other.name,
            other.at.file,
            other.at.line
        )
        .into()
    })
}

/// Words that only a frontend, or only a backend follows.
const OF_FRONTENDS: &[&str] = &[
    "backlog",
    "bind",
    "default_backend",
    "maxconn",
    "monitor-net",
    "option clitcpka",
    "rate-limit",
    "timeout client",
    "timeout client-fin",
    "timeout client-hs",
    "use_backend",
];
const OF_BACKENDS: &[&str] = &[
    "balance",
    "default-server",
    "fullconn",
    "hash-balance-factor",
    "hash-type",
    "http-check",
    "option abortonclose",
    "option allbackups",
    "option httpchk",
    "option ldap-check",
    "option mysql-check",
    "option persist",
    "option pgsql-check",
    "option redis-check",
    "option redispatch",
    "option smtpchk",
    "option srvtcpka",
    "option ssl-hello-chk",
    "option tcp-check",
    "persist",
    "retries",
    "retry-on",
    "server",
    "server-template",
    "source",
    "tcp-check",
    "timeout check",
    "timeout connect",
    "timeout queue",
    "timeout server",
    "timeout server-fin",
    "timeout tunnel",
    "use-server",
];
/// Words that make no sense as a default.
const NOT_IN_DEFAULTS: &[&str] = &[
    "bind",
    "description",
    "id",
    "monitor-net",
    "server",
    "server-template",
    "use-server",
    "use_backend",
];
/// Words that make sense as a default that proxies ask for by its name.
const IN_NAMED_DEFAULTS: &[&str] = &["acl", "tcp-request", "tcp-response"];

/// Reads one statement of a section.
pub(super) fn statement(
    draft: &mut ProxyDraft,
    line: &Line<'_>,
    found: Found,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    if draft.kind.is_none() && NOT_IN_DEFAULTS.contains(&line.name) {
        return Err(format!("'{}' not allowed in 'defaults' section.", line.name).into());
    }
    if draft.kind.is_none() && draft.name.is_empty() && IN_NAMED_DEFAULTS.contains(&line.name) {
        return Err(Fault::hinted(
            format!("'{}' not allowed in anonymous 'defaults' section.", line.name),
            "give the section a name, and ask for it with 'from <name>'.",
        ));
    }
    let lacks = match line.name {
        name if OF_FRONTENDS.contains(&name) && !draft.has_frontend() => Some("frontend"),
        name if OF_BACKENDS.contains(&name) && !draft.has_backend() => Some("backend"),
        _ => None,
    };
    if let Some(capability) = lacks {
        let because = format!(
            "because {} '{}' has no {capability} capability.",
            draft.type_name(),
            draft.name
        );
        if line.name == "server" {
            return Err(format!("'server' not allowed {because}").into());
        }
        let instead = match line.name {
            "fullconn" => " Maybe you want 'maxconn' instead ?",
            "maxconn" => " Maybe you want 'fullconn' instead ?",
            _ => "",
        };
        let text = format!("'{}' ignored {because}{instead}", line.name);
        context.report.warning(Some(line.at), text);
        if line.name == "bind" {
            return Ok(());
        }
    }
    match found {
        Found::Active => active(draft, line, context),
        found => context.inactive_line(line, found),
    }
}

fn active(draft: &mut ProxyDraft, line: &Line<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
    if let Some(timeout) = line.name.strip_prefix("timeout ") {
        return self::timeout(draft, timeout, line, context);
    }
    let (is_frontend, is_backend) = (draft.has_frontend(), draft.has_backend());
    let settings = &mut draft.settings;
    match line.name {
        "backlog" => settings.backlog = Some(number(line)?).filter(|limit| *limit > 0),
        "balance" => settings.balance.algorithm = balance::algorithm(line)?,
        "bind" => {
            let binds = bind::parse(line, context)?;
            unique_id(binds[0].id, draft.binds.iter().map(|b| (b.id, &b.bind.at)))?;
            draft.binds.extend(binds);
        }
        "default-server" => server::default_server(&mut settings.server, line, context)?,
        "default_backend" => {
            let name = line.only("a backend name")?;
            settings.default_backend = Some((line.at.clone(), name.to_string()));
        }
        // Free text: it is for the reader of the file and of the statistics.
        "description" if line.arguments.is_empty() => {
            return Err("'description' expects a string argument.".to_string().into());
        }
        "description" => {}
        "disabled" => {
            line.at_most(0)?;
            settings.disabled = true;
        }
        "enabled" => {
            line.at_most(0)?;
            settings.disabled = false;
        }
        "hash-balance-factor" => settings.balance.balance_factor = balance::factor(line)?,
        "hash-type" => settings.balance.hash_type = balance::hash_type(line)?,
        "id" => {
            let id = units::integer(line.argument(0), 1..=i64::from(i32::MAX), line.name)?;
            line.at_most(1)?;
            draft.id = Some((line.at.clone(), u32::try_from(id).expect("in range")));
        }
        // 0 leaves the limit to the default.
        "maxconn" => settings.maxconn = Some(number(line)?).filter(|limit| *limit > 0),
        "mode" => settings.service.mode(line)?,
        "option redispatch" => settings.redispatch = redispatch(line)?,
        "retries" => settings.retries = number(line)?,
        "server-template" => {
            for server in server::template(&draft.name, &settings.server, line, context)? {
                draft.servers.push(server);
            }
        }
        "source" => {
            let (source, taken) = source::source(line.arguments, context)?;
            line.at_most(taken)?;
            settings.source = Some(source);
        }
        "server" => {
            let server = server::server(&draft.name, &settings.server, line, context)?;
            unique_id(server.id, draft.servers.iter().map(|s| (s.id, &s.server.at)))?;
            draft.servers.push(server);
        }
        name => {
            let known = settings.options.take(line, context)?
                || settings.service.take(line)?
                || settings.checks.take(line, context)?
                || settings.logs.take(line, context)?
                || settings.rules.take(line, is_frontend, is_backend, context)?;
            assert!(known, "'{name}' is listed as active");
        }
    }
    Ok(())
}

fn number(line: &Line<'_>) -> Result<u32, Fault> {
    let number = units::integer(line.argument(0), 0..=i64::from(i32::MAX), line.name)?;
    line.at_most(1)?;
    Ok(u32::try_from(number).expect("in range"))
}

/// A custom number belongs to one listener, or one server, of a proxy.
fn unique_id<'l>(
    id: Option<u32>,
    mut others: impl Iterator<Item = (Option<u32>, &'l Location)>,
) -> Result<(), Fault> {
    let Some(id) = id else { return Ok(()) };
    match others.find(|(other, _)| *other == Some(id)) {
        None => Ok(()),
        Some((_, at)) => {
            Err(format!("'id' : custom id {id} already used at {}:{}.", at.file, at.line).into())
        }
    }
}

fn timeout(
    draft: &mut ProxyDraft,
    name: &str,
    line: &Line<'_>,
    context: &mut Context<'_>,
) -> Result<(), Fault> {
    let word = line.argument(0).unwrap_or_default();
    let time = units::time(word).map_err(|error| error.of_time(word, line.name))?;
    line.at_most(1)?;
    let timeouts = &mut draft.settings.timeouts;
    let slot = match name {
        "client" => &mut timeouts.client,
        "check" => &mut timeouts.check,
        "client-fin" => &mut timeouts.client_fin,
        "client-hs" => &mut timeouts.client_hs,
        "connect" => &mut timeouts.connect,
        "queue" => &mut timeouts.queue,
        "server" => &mut timeouts.server,
        "server-fin" => &mut timeouts.server_fin,
        "tunnel" => &mut timeouts.tunnel,
        name => unreachable!("'timeout {name}' is listed as active"),
    };
    // 0 is none, as in HAProxy.
    *slot = Some(time).filter(|time| *time > Duration::ZERO);
    if draft.timeouts_stated.iter().any(|stated| stated == name) {
        let text = format!("overwriting '{}' which was already specified", line.name);
        context.report.warning(Some(line.at), text);
    } else {
        draft.timeouts_stated.push(name.to_string());
    }
    Ok(())
}

/// `option redispatch [<interval>]`
fn redispatch(line: &Line<'_>) -> Result<Redispatch, Fault> {
    if line.form != Form::Plain {
        line.at_most(0)?;
        return Ok(Redispatch::default());
    }
    if line.arguments.is_empty() {
        return Ok(Redispatch::BeforeLast(1));
    }
    let interval = units::integer(line.argument(0), -1_000_000..=1_000_000, line.name)?;
    line.at_most(1)?;
    let count = u32::try_from(interval.unsigned_abs()).expect("in range");
    Ok(match interval {
        0 => Redispatch::Never,
        1.. => Redispatch::Every(count),
        _ => Redispatch::BeforeLast(count),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    fn draft(name: &str, kind: Option<ProxyKind>) -> ProxyDraft {
        ProxyDraft::new(Location { file: "x".into(), line: 1 }, name, kind, None)
    }

    #[test]
    fn headers() {
        let defaults = [draft("a", None), draft("b", None), draft("b", None), draft("", None)];
        let base = |words: &[&str]| {
            header(ProxyKind::Listen, words, &defaults)
                .map(|base| base.map(|base| base.name.clone()))
        };
        assert_eq!(base(&["x"]), Ok(Some(String::new())));
        assert_eq!(base(&["x", "from", "a"]), Ok(Some("a".into())));
        for words in [
            &["x", "from", "b"][..],
            &["x", "from", "c"],
            &["x", "from"],
            &["x", ":80"],
            &["x/y"],
            &[],
        ] {
            assert!(base(words).is_err(), "{words:?}");
        }
        let named = |words: &[&'static str]| {
            defaults_header(words, &defaults).map(|(name, base)| (name, base.is_some()))
        };
        assert_eq!(named(&[]), Ok(("", false)));
        assert_eq!(named(&["x"]), Ok(("x", false)));
        assert_eq!(named(&["x", "from", "a"]), Ok(("x", true)));
        assert_eq!(named(&["from", "a"]), Ok(("", true)));
        for words in
            [&["x", "y"][..], &["x", "from"], &["x", "from", "a", "y"], &["from", "b"], &["x/y"]]
        {
            assert!(named(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn names_clash_when_their_roles_do() {
        use ProxyKind::{Backend, Frontend, Listen};
        for (first, second, clash) in [
            (Frontend, Frontend, true),
            (Frontend, Backend, false),
            (Backend, Backend, true),
            (Listen, Backend, true),
            (Listen, Frontend, true),
        ] {
            let others = [draft("x", Some(first))];
            assert_eq!(name_clash(&draft("x", Some(second)), &others).is_some(), clash);
            assert_eq!(name_clash(&draft("y", Some(second)), &others), None);
        }
    }

    #[test]
    fn intervals_of_redispatch() {
        let read = |words| with_line("option redispatch", words, |line, _| redispatch(line)).0;
        assert_eq!(read(""), Ok(Redispatch::BeforeLast(1)));
        assert_eq!(read("0"), Ok(Redispatch::Never));
        assert_eq!(read("3"), Ok(Redispatch::Every(3)));
        assert_eq!(read("-2"), Ok(Redispatch::BeforeLast(2)));
        assert!(read("x").is_err() && read("1 2").is_err());
    }
}
