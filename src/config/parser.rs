//! Takes statements one by one and sends each to the section it stands in.
//!
//! In:    [`Statement`]s from the reader
//! Out:   drafts of `global`, `defaults` and the proxies, for `check` to finish
//! Owns:  the current section; everything that was read so far
//! Never: looks at a line's text: words only

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Family;
use super::global::{self, GlobalDraft};
use super::keywords::{self, Found, Scope};
use super::model::{Inactive, Location, ProxyKind, Ring};
use super::nearest::{nearest, suggestion};
use super::proxy::{self, ProxyDraft};
use super::report::{Fault, Report};
use super::{Environment, LANGUAGE_VERSION, Loaded, Surroundings, check};
use super::{ring, units};

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) at: Location,
    pub(super) words: Vec<String>,
    /// Whether it starts in the first column, as sections do.
    pub(super) outdented: bool,
}

/// What stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// `no option redispatch`
    No,
    /// `default option redispatch`
    Default,
}

/// A statement inside a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) at: &'a Location,
    /// The word, or two: `timeout client`.
    pub(super) name: &'a str,
    pub(super) arguments: &'a [&'a str],
    pub(super) form: Form,
}

impl<'a> Line<'a> {
    /// The argument at `index`, if there is one.
    pub(super) fn argument(&self, index: usize) -> Option<&'a str> {
        self.arguments.get(index).copied()
    }

    /// Refuses arguments after the first `count`.
    pub(super) fn at_most(&self, count: usize) -> Result<(), Fault> {
        match self.arguments.get(count) {
            None => Ok(()),
            Some(word) => {
                Err(format!("'{}' cannot handle unexpected argument '{word}'.", self.name).into())
            }
        }
    }

    /// The only argument; `what` names it when it is missing.
    pub(super) fn only(&self, what: &str) -> Result<&'a str, Fault> {
        let word = self.argument(0).ok_or_else(|| format!("'{}' expects {what}.", self.name))?;
        self.at_most(1)?;
        Ok(word)
    }

    /// The only argument, a time.
    pub(super) fn time(&self) -> Result<Duration, Fault> {
        let word = self.only("a time")?;
        units::time(word).map_err(|error| error.of_time(word, self.name))
    }

    /// The only argument, a size within `range`.
    pub(super) fn size(&self, range: RangeInclusive<u32>) -> Result<u32, Fault> {
        let word = self.only("a size")?;
        let size = units::size(word).map_err(|error| error.of_size(word, self.name))?;
        if range.contains(&size) {
            return Ok(size);
        }
        let (least, most) = range.into_inner();
        Err(format!("'{}' : invalid value '{word}', permitted are {least} to {most}.", self.name)
            .into())
    }
}

/// What every section needs while it reads.
pub(super) struct Context<'a> {
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) report: Report,
    pub(super) inactive: Vec<Inactive>,
}

impl Context<'_> {
    /// Notes a word that is understood and does nothing yet.
    pub(super) fn note_inactive(&mut self, at: &Location, word: impl Into<String>) {
        self.inactive.push(Inactive { at: at.clone(), word: word.into() });
    }

    /// The address of a name, of the wanted family.
    pub(super) fn resolve(&self, name: &str, family: Option<Family>) -> Result<IpAddr, Fault> {
        self.resolve_all(name, family).map(|addresses| addresses[0])
    }

    /// All addresses of a name, of the wanted family: one at least.
    pub(super) fn resolve_all(
        &self,
        name: &str,
        family: Option<Family>,
    ) -> Result<Vec<IpAddr>, Fault> {
        let mut addresses = self.surroundings.resolve(name).unwrap_or_default();
        addresses.retain(|&address| family.is_none_or(|family| family == Family::of(address)));
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() {
            return Err(format!("could not resolve address '{name}'.").into());
        }
        Ok(addresses)
    }

    /// A word that its scope has and that is not active: notes or refuses it.
    pub(super) fn inactive_line(&mut self, line: &Line<'_>, found: Found) -> Result<(), Fault> {
        let Found::Inactive(shape) = found else {
            return Err(unsupported(line.name));
        };
        if line.form != Form::Plain {
            // What does nothing yet can be taken back without a word.
            return line.at_most(0);
        }
        line.at_most(keywords::consume(line.name, shape, line.arguments)?)?;
        self.note_inactive(line.at, line.name);
        Ok(())
    }
}

/// The sentence about a word that only HAProxy has.
pub(super) fn unsupported(name: &str) -> Fault {
    format!("keyword '{name}' is not supported by xlb yet.").into()
}

/// Where the next statement belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Before the first section of a file.
    None,
    /// A section that was refused: what stands in it has been answered for.
    Refused,
    Global,
    /// An index into [`Parser::defaults`].
    Defaults(usize),
    /// An index into [`Parser::proxies`].
    Proxy(usize),
    /// An index into [`Parser::rings`].
    Ring(usize),
}

/// The state between two statements.
pub(super) struct Parser<'a> {
    pub(super) context: Context<'a>,
    pub(super) global: GlobalDraft,
    pub(super) defaults: Vec<ProxyDraft>,
    pub(super) proxies: Vec<ProxyDraft>,
    pub(super) rings: Vec<Ring>,
    /// `maxconn` of a proxy that says nothing.
    pub(super) maxconn: Option<u32>,
    section: Section,
}

impl<'a> Parser<'a> {
    pub(super) fn new(
        env: &Environment,
        files: &[PathBuf],
        surroundings: &'a dyn Surroundings,
        report: Report,
    ) -> Self {
        let mut variables = env.variables.clone();
        let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
        variables.insert("HAPROXY_CFGFILES".into(), names.join(";"));
        let branch = LANGUAGE_VERSION.rsplit_once('.').expect("major.minor.patch").0;
        variables.insert("HAPROXY_BRANCH".into(), branch.into());
        Self {
            context: Context { surroundings, variables, report, inactive: Vec::new() },
            global: GlobalDraft::default(),
            defaults: Vec::new(),
            proxies: Vec::new(),
            rings: Vec::new(),
            maxconn: env.maxconn,
            section: Section::None,
        }
    }

    /// Every file starts outside of any section.
    pub(super) fn leave_section(&mut self) {
        self.section = Section::None;
    }

    /// Reads one statement; what is wrong with it goes into the report.
    pub(super) fn statement(&mut self, statement: &Statement) {
        let at = &statement.at;
        let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
        let words = self.until_empty_word(at, &words);
        let result = match words {
            [] => Err("unknown keyword ''.".to_string().into()),
            ["no", rest @ ..] => self.line(at, rest, Form::No, false),
            ["default", rest @ ..] => self.line(at, rest, Form::Default, false),
            [section, rest @ ..] if is_section(section) => self.open_section(at, section, rest),
            _ => self.line(at, words, Form::Plain, statement.outdented),
        };
        if let Err(fault) = result {
            self.context.report.fault(at, fault);
        }
    }

    /// Checks the whole and gives it out.
    pub(super) fn finish(self) -> Result<Loaded, Report> {
        check::finish(self)
    }

    /// An empty word ends the arguments, as in HAProxy: mostly it is a variable that is not set.
    fn until_empty_word<'w>(&mut self, at: &Location, words: &'w [&'w str]) -> &'w [&'w str] {
        let Some(empty) = words.iter().position(|word| word.is_empty()) else { return words };
        if empty + 1 < words.len() {
            let text = format!(
                "argument number {empty} is empty and ends the argument list; '{}' and what follows is ignored.",
                words[empty + 1]
            );
            self.context.report.warning(Some(at), text);
        }
        &words[..empty]
    }

    fn open_section(
        &mut self,
        at: &Location,
        section: &str,
        arguments: &[&str],
    ) -> Result<(), Fault> {
        // What follows a header that cannot be read must not land in the section before it.
        self.section = Section::Refused;
        let kind = match section {
            "global" => {
                self.section = Section::Global;
                let line = Line { at, name: section, arguments, form: Form::Plain };
                return line.at_most(0);
            }
            "defaults" => return self.open_defaults(at, arguments),
            "ring" => {
                let (ring, verdict) = ring::header(at, arguments, &self.rings);
                self.rings.push(ring);
                self.section = Section::Ring(self.rings.len() - 1);
                return verdict;
            }
            "frontend" => ProxyKind::Frontend,
            "backend" => ProxyKind::Backend,
            "listen" => ProxyKind::Listen,
            _ => {
                return Err(format!(
                    "section '{section}' is not supported by xlb yet; its lines are skipped."
                )
                .into());
            }
        };
        let (base, fault) = match proxy::header(kind, arguments, &self.defaults) {
            Ok(base) => (base, None),
            Err(fault) => (self.defaults.last(), Some(fault)),
        };
        let name = arguments.first().copied().unwrap_or_default();
        let mut draft = ProxyDraft::new(at.clone(), name, Some(kind), base);
        draft.has_faulty_header = fault.is_some();
        let clash = proxy::name_clash(&draft, &self.proxies);
        self.proxies.push(draft);
        self.section = Section::Proxy(self.proxies.len() - 1);
        fault.or(clash).map_or(Ok(()), Err)
    }

    fn open_defaults(&mut self, at: &Location, arguments: &[&str]) -> Result<(), Fault> {
        let (name, base, fault) = match proxy::defaults_header(arguments, &self.defaults) {
            Ok((name, base)) => (name, base, None),
            Err(fault) => (arguments.first().copied().unwrap_or_default(), None, Some(fault)),
        };
        let draft = ProxyDraft::new(at.clone(), name, None, base);
        self.defaults.push(draft);
        self.section = Section::Defaults(self.defaults.len() - 1);
        fault.map_or(Ok(()), Err)
    }

    fn line(
        &mut self,
        at: &Location,
        words: &[&str],
        form: Form,
        outdented: bool,
    ) -> Result<(), Fault> {
        let (scope, section) = match self.section {
            Section::Refused => return Ok(()),
            Section::None => {
                let word = words.first().copied().unwrap_or_default();
                let hint = suggestion(word, sections());
                return Err(format!("unknown keyword '{word}' out of section{hint}").into());
            }
            Section::Global => (Scope::Global, "global"),
            Section::Defaults(_) => (Scope::Proxy, "defaults"),
            Section::Proxy(index) => (Scope::Proxy, self.proxies[index].kind_name()),
            Section::Ring(_) => (Scope::Ring, "ring"),
        };
        let name = name(scope, words);
        let Some(found) = keywords::find(scope, &name) else {
            if outdented && nearest(&name, sections()).is_some() {
                // A section with a typing mistake: its lines must not land in the one before it.
                self.section = Section::Refused;
            }
            return Err(unknown(scope, section, &name));
        };
        if form != Form::Plain && !keywords::is_negatable(&name) {
            return Err(Fault::hinted(
                format!("negation/default is not supported for '{name}'."),
                "only options, 'log' and a few words of 'global' have a negative form.",
            ));
        }
        let arguments = &words[name.split(' ').count()..];
        let line = Line { at, name: &name, arguments, form };
        let context = &mut self.context;
        match self.section {
            Section::Global => global::statement(&mut self.global, &line, found, context),
            Section::Defaults(index) => {
                proxy::statement(&mut self.defaults[index], &line, found, context)
            }
            Section::Proxy(index) => {
                proxy::statement(&mut self.proxies[index], &line, found, context)
            }
            Section::Ring(index) => ring::statement(&mut self.rings[index], &line, found, context),
            Section::None | Section::Refused => unreachable!("returned above"),
        }
    }
}

fn is_section(word: &str) -> bool {
    keywords::find(Scope::Section, word).is_some()
}

fn sections() -> impl Iterator<Item = &'static str> {
    keywords::keywords(Scope::Section).map(|keyword| keyword.name)
}

/// Words whose second word belongs to their name.
fn is_family(scope: Scope, word: &str) -> bool {
    word == "stats"
        || (scope == Scope::Proxy && matches!(word, "option" | "timeout"))
        || (scope == Scope::Ring && word == "timeout")
}

/// The name of a statement: its first word, or two.
fn name(scope: Scope, words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [first, second, ..] if is_family(scope, first) => format!("{first} {second}"),
        [first, ..] => (*first).to_string(),
    }
}

/// Words of HAProxy's past, and what stands in their place.
const RENAMED: &[(&str, &str)] = &[
    ("clitimeout", "timeout client"),
    ("contimeout", "timeout connect"),
    ("redispatch", "option redispatch"),
    ("srvtimeout", "timeout server"),
];

fn unknown(scope: Scope, section: &str, name: &str) -> Fault {
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        return format!("the '{name}' directive is not supported anymore. Use '{new}'.").into();
    }
    let (family, member) = name.split_once(' ').unwrap_or((name, ""));
    let known = keywords::keywords(scope).map(|keyword| keyword.name);
    match family {
        "option" if member.is_empty() => "'option' expects an option name.".to_string().into(),
        "option" => {
            let options = known.filter_map(|name| name.strip_prefix("option "));
            format!("unknown option '{member}'{}", suggestion(member, options)).into()
        }
        _ if is_family(scope, family) => {
            let members: Vec<&str> =
                known.filter_map(|name| name.strip_prefix(family)?.strip_prefix(' ')).collect();
            let text = format!("'{family}' supports '{}' (got '{member}')", members.join("', '"));
            (text + &suggestion(member, members)).into()
        }
        _ => {
            let text = format!("unknown keyword '{name}' in '{section}' section");
            if let Some(home) = home(scope, family) {
                return Fault::hinted(text, format!("'{family}' belongs to {home}."));
            }
            let first_words = known.map(first_word);
            (text + &suggestion(name, first_words.chain(sections()))).into()
        }
    }
}

/// Where a word would be at home that is unknown in `scope`.
fn home(scope: Scope, word: &str) -> Option<&'static str> {
    let (other, sections) = match scope {
        Scope::Global => (Scope::Proxy, "'defaults', 'frontend', 'backend' or 'listen'"),
        _ => (Scope::Global, "'global'"),
    };
    keywords::keywords(other).any(|keyword| first_word(keyword.name) == word).then_some(sections)
}

fn first_word(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    /// No files, and one name.
    struct OneName;

    impl Surroundings for OneName {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
            Ok(None)
        }

        fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            let known = (name == "web.example").then(|| "192.0.2.7".parse().unwrap());
            Ok(known.into_iter().collect())
        }
    }

    /// Reads the words of one line as the section would get them.
    pub(in crate::config) fn with_line<T>(
        name: &str,
        words: &str,
        read: impl FnOnce(&Line<'_>, &mut Context<'_>) -> T,
    ) -> (T, Vec<String>) {
        let at = Location { file: "x".into(), line: 1 };
        let arguments: Vec<&str> = words.split_whitespace().collect();
        let line = Line { at: &at, name, arguments: &arguments, form: Form::Plain };
        let mut context = Context {
            surroundings: &OneName,
            variables: BTreeMap::new(),
            report: Report::default(),
            inactive: Vec::new(),
        };
        let result = read(&line, &mut context);
        (result, context.inactive.into_iter().map(|inactive| inactive.word).collect())
    }

    #[test]
    fn two_words_can_be_one_name() {
        assert_eq!(name(Scope::Proxy, &["timeout", "client", "3s"]), "timeout client");
        assert_eq!(name(Scope::Proxy, &["option", "tcplog"]), "option tcplog");
        assert_eq!(name(Scope::Proxy, &["option"]), "option");
        assert_eq!(name(Scope::Global, &["stats", "socket", "/x"]), "stats socket");
        assert_eq!(name(Scope::Global, &["maxconn", "3"]), "maxconn");
    }

    #[test]
    fn what_is_unknown_may_be_known_elsewhere() {
        let fault = unknown(Scope::Proxy, "listen", "nbthread");
        assert_eq!(fault.hint.as_deref(), Some("'nbthread' belongs to 'global'."));
        let fault = unknown(Scope::Global, "global", "timeout");
        assert!(fault.hint.unwrap().contains("'frontend'"));
        assert_eq!(unknown(Scope::Global, "global", "nonsense").hint, None);
    }

    #[test]
    fn too_many_arguments_are_named() {
        let (result, _) =
            with_line("mode", "tcp more", |line, _| line.only("a mode").map(str::len));
        let fault = result.unwrap_err();
        assert_eq!(fault.text, "'mode' cannot handle unexpected argument 'more'.");
    }
}
