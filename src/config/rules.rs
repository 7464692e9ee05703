//! Rules of layer 4: `tcp-request`, `tcp-response`, `use_backend`, `use-server`, `persist`, `monitor-net`.
//!
//! In:    their lines
//! Out:   [`RuleDraft`], with ACLs by their places and proxies by their names
//! Never: follows a rule; that is `stream/rules`
//! Read:  docs/configuration.md, "Rules"

use std::sync::Arc;

use ipnet::IpNet;

use super::acls;
use super::model::{
    Acl, Action, BackendChoice, Condition, EndField, Expression, Fetch, IpSet, Kind, NamePart,
    ProxyName, Rule, ServerName, TcpRules, UseBackend, UseServer, Way,
};
use super::nearest::suggestion;
use super::parser::{Context, Line};
use super::report::Fault;
use super::{log, samples, units};

/// What these lines say of a proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RuleDraft {
    pub(super) acls: Vec<Acl>,
    pub(super) tcp: TcpRules,
    pub(super) use_backend: Vec<UseBackend>,
    pub(super) use_server: Vec<UseServer>,
    pub(super) monitor_nets: IpSet,
    pub(super) persist: Option<Arc<str>>,
}

/// Where a rule is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connection,
    Session,
    Content,
    Response,
    Backend,
    Server,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Connection => "tcp-request connection",
            Stage::Session => "tcp-request session",
            Stage::Content => "tcp-request content",
            Stage::Response => "tcp-response content",
            Stage::Backend => "use_backend",
            Stage::Server => "use-server",
        }
    }

    /// Whether an expression can find anything there.
    fn sees(self, fetch: &Fetch) -> bool {
        let is_early = matches!(self, Stage::Connection | Stage::Session);
        match fetch {
            Fetch::Len(way) | Fetch::Tls(way, _) => self.hears(*way),
            Fetch::Payload { way, .. } | Fetch::PayloadLv { way, .. } => self.hears(*way),
            Fetch::RdpCookie(_) | Fetch::RdpCookieCount(_) => self.hears(Way::Request),
            Fetch::Address(whose) | Fetch::Port(whose) | Fetch::IsLocal(whose) => {
                !whose.is_of_server() || self == Stage::Response
            }
            Fetch::Id(part) | Fetch::Name(part) => match part {
                super::model::Part::Server => self == Stage::Response,
                super::model::Part::Backend => !is_early,
                _ => true,
            },
            Fetch::WaitEnd => !is_early,
            _ => true,
        }
    }

    fn hears(self, way: Way) -> bool {
        match way {
            Way::Request => !matches!(self, Stage::Connection | Stage::Session | Stage::Response),
            Way::Response => self == Stage::Response,
            Way::OfRule => !matches!(self, Stage::Connection | Stage::Session),
        }
    }
}

impl RuleDraft {
    /// Reads a line if it is one of these; whether it was.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        is_frontend: bool,
        is_backend: bool,
        context: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        match line.name {
            "acl" => acls::acl(&mut self.acls, line, context)?,
            "tcp-request" => self.tcp_request(line, is_frontend, context)?,
            "tcp-response" => self.tcp_response(line, is_backend, context)?,
            "use_backend" => self.use_backend(line, context)?,
            "use-server" => self.use_server(line, context)?,
            "monitor-net" => {
                let word = line.only("a network")?;
                self.monitor_nets.insert(network(word)?);
            }
            "persist" => self.persist = Some(persist(line)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether one of the rules looks at what the client says.
    pub(super) fn looks_at_bytes(&self) -> bool {
        let of_acls = self.acls.iter().flat_map(|acl| &acl.lines).map(|line| &line.expression);
        let of_actions = self.tcp.content.iter().filter_map(|rule| match &rule.action {
            Action::SetEnd(_, expression)
            | Action::SetVariable(_, expression)
            | Action::SetPriorityClass(expression)
            | Action::SetPriorityOffset(expression) => Some(expression),
            _ => None,
        });
        let of_names = self.use_backend.iter().flat_map(|rule| match &rule.backend {
            BackendChoice::Fixed(_) => &[][..],
            BackendChoice::Made(parts) => parts,
        });
        let of_names = of_names.filter_map(|part| match part {
            NamePart::Expression(expression) => Some(expression),
            NamePart::Text(_) => None,
        });
        self.persist.is_some()
            || of_acls.chain(of_actions).chain(of_names).any(Expression::looks_at_bytes)
    }

    fn tcp_request(
        &mut self,
        line: &Line<'_>,
        is_frontend: bool,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let (stage, words) = match line.arguments {
            ["inspect-delay", ..] => {
                self.tcp.inspect_delay = Some(delay(line)?);
                return Ok(());
            }
            ["connection", words @ ..] => (Stage::Connection, words),
            ["session", words @ ..] => (Stage::Session, words),
            ["content", words @ ..] => (Stage::Content, words),
            other => {
                return Err(unknown_list(
                    "tcp-request",
                    other,
                    "'inspect-delay', 'connection', 'session' or 'content'",
                ));
            }
        };
        if stage != Stage::Content && !is_frontend {
            return Err(Fault::hinted(
                format!("'{}' is not allowed because this section is no frontend.", stage.name()),
                "a backend has 'tcp-request content' rules.",
            ));
        }
        let rule = self.rule(stage, line, words, context)?;
        match stage {
            Stage::Connection => self.tcp.connection.push(rule),
            Stage::Session => self.tcp.session.push(rule),
            _ => self.tcp.content.push(rule),
        }
        Ok(())
    }

    fn tcp_response(
        &mut self,
        line: &Line<'_>,
        is_backend: bool,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if !is_backend {
            return Err("'tcp-response' is not allowed because this section is no backend."
                .to_string()
                .into());
        }
        match line.arguments {
            ["inspect-delay", ..] => self.tcp.response_delay = Some(delay(line)?),
            ["content", words @ ..] => {
                let rule = self.rule(Stage::Response, line, words, context)?;
                self.tcp.response.push(rule);
            }
            other => {
                return Err(unknown_list("tcp-response", other, "'inspect-delay' or 'content'"));
            }
        }
        Ok(())
    }

    fn rule(
        &mut self,
        stage: Stage,
        line: &Line<'_>,
        words: &[&str],
        context: &mut Context<'_>,
    ) -> Result<Rule, Fault> {
        let name = stage.name();
        let (word, rest) = words
            .split_first()
            .ok_or_else(|| Fault::from(format!("'{name}' expects an action.")))?;
        let (action, taken) = action(stage, word, rest, context)?;
        let condition = self.condition(stage, line, &rest[taken..], context)?;
        Ok(Rule { at: line.at.clone(), action, condition })
    }

    fn condition(
        &mut self,
        stage: Stage,
        line: &Line<'_>,
        words: &[&str],
        context: &mut Context<'_>,
    ) -> Result<Option<Condition>, Fault> {
        let name = stage.name();
        let condition =
            acls::condition(&mut self.acls, words, line.at, context).map_err(|fault| Fault {
                text: format!("'{name}' : {}", fault.text),
                hint: fault.hint,
            })?;
        for term in condition.iter().flat_map(|condition| condition.groups.iter().flatten()) {
            let acl = &self.acls[term.acl];
            if acl.lines.iter().any(|line| stage.sees(&line.expression.fetch)) {
                continue;
            }
            let which = match &*acl.name {
                "" => format!("anonymous acl '{{ {} ... }}'", acl.lines[0].expression.text),
                name => format!("acl '{name}'"),
            };
            let text = format!(
                "{which} will never match because it only involves keywords that are incompatible with '{name} rule'."
            );
            context.report.warning(Some(line.at), text);
        }
        Ok(condition)
    }

    fn use_backend(&mut self, line: &Line<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
        let (name, words) = line
            .arguments
            .split_first()
            .ok_or_else(|| Fault::from("'use_backend' expects a backend name.".to_string()))?;
        let parts = samples::made_name(name, context)?;
        let backend = match &parts[..] {
            [NamePart::Text(text)] => {
                BackendChoice::Fixed(ProxyName { name: text.clone(), index: None })
            }
            _ => BackendChoice::Made(parts),
        };
        let condition = self.condition(Stage::Backend, line, words, context)?;
        self.use_backend.push(UseBackend { at: line.at.clone(), backend, condition });
        Ok(())
    }

    fn use_server(&mut self, line: &Line<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
        let (name, words) = line
            .arguments
            .split_first()
            .ok_or_else(|| Fault::from("'use-server' expects a server name.".to_string()))?;
        if words.is_empty() {
            return Err(Fault::hinted(
                "'use-server' expects 'if' or 'unless' and a condition.",
                "a server for all streams is the only one of its backend.",
            ));
        }
        if name.contains('%') {
            return Err(format!("'use-server' : '{name}': '%' is not supported by xlb yet.").into());
        }
        let condition = self.condition(Stage::Server, line, words, context)?;
        let server = ServerName { name: (*name).into(), id: None };
        self.use_server.push(UseServer { at: line.at.clone(), server, condition });
        Ok(())
    }
}

fn unknown_list(name: &str, words: &[&str], known: &str) -> Fault {
    match words.first() {
        None => format!("'{name}' expects {known}.").into(),
        Some(word) => format!("'{name}' expects {known} (got '{word}').").into(),
    }
}

fn delay(line: &Line<'_>) -> Result<std::time::Duration, Fault> {
    let word = line.argument(1).unwrap_or_default();
    let name = format!("{} inspect-delay", line.name);
    let time = units::time(word).map_err(|error| error.of_time(word, &name))?;
    line.at_most(2)?;
    Ok(time)
}

/// Actions of HAProxy that xlb does not have yet.
const LATER: &[&str] = &[
    "attach-srv",
    "capture",
    "do-resolve",
    "lua.",
    "pause",
    "sc-add-gpc",
    "sc-inc-gpc",
    "sc-inc-gpc0",
    "sc-inc-gpc1",
    "sc-set-gpt",
    "sc-set-gpt0",
    "send-spoe-group",
    "set-bandwidth-limit",
    "set-bc-mark",
    "set-bc-tos",
    "set-fc-mark",
    "set-fc-tos",
    "set-mark",
    "set-tos",
    "set-var-fmt",
    "switch-mode",
    "track-sc0",
    "track-sc1",
    "track-sc2",
    "use-service",
];
const KNOWN: &[&str] = &[
    "accept",
    "close",
    "expect-proxy",
    "reject",
    "set-dst",
    "set-dst-port",
    "set-log-level",
    "set-nice",
    "set-priority-class",
    "set-priority-offset",
    "set-src",
    "set-src-port",
    "set-var",
    "silent-drop",
    "unset-var",
];

/// Reads an action; how many of the words after its name are its own.
fn action(
    stage: Stage,
    word: &str,
    rest: &[&str],
    context: &Context<'_>,
) -> Result<(Action, usize), Fault> {
    let (name, inner) = match word.split_once('(') {
        Some((name, inner)) => (
            name,
            Some(
                inner
                    .strip_suffix(')')
                    .ok_or_else(|| Fault::from(format!("'{word}' : missing closing ')'.")))?,
            ),
        ),
        None => (word, None),
    };
    let of_stage = |stages: &[Stage]| {
        if stages.contains(&stage) {
            return Ok(());
        }
        Err(Fault::from(format!("'{name}' is not available in '{}' rules.", stage.name())))
    };
    let value = |kind: Kind| -> Result<Expression, Fault> {
        let word =
            rest.first().ok_or_else(|| Fault::from(format!("'{name}' expects an expression.")))?;
        let expression = samples::expression(word, context)?;
        if !expression.kind.becomes(kind) {
            return Err(format!(
                "'{name}' expects a value of type {}, '{word}' is of type {}.",
                kind.name(),
                expression.kind.name()
            )
            .into());
        }
        Ok(expression)
    };
    use Stage::{Connection, Content, Response};
    let plain = |action| match inner {
        None => Ok((action, 0)),
        Some(_) => Err(Fault::from(format!("'{name}' takes no argument."))),
    };
    match name {
        "accept" => plain(Action::Accept),
        "reject" => plain(Action::Reject),
        "silent-drop" => {
            if rest.first() == Some(&"rst-ttl") {
                return Err("'silent-drop' : 'rst-ttl' is not supported by xlb yet."
                    .to_string()
                    .into());
            }
            plain(Action::SilentDrop)
        }
        "close" => {
            of_stage(&[Response])?;
            plain(Action::CloseServer)
        }
        "expect-proxy" => {
            of_stage(&[Connection])?;
            match rest.first() {
                Some(&"layer4") => Ok((Action::ExpectProxy, 1)),
                _ => Err("'expect-proxy' only supports 'layer4'.".to_string().into()),
            }
        }
        "set-src" => Ok((Action::SetEnd(EndField::Source, value(Kind::Ip)?), 1)),
        "set-dst" => Ok((Action::SetEnd(EndField::Destination, value(Kind::Ip)?), 1)),
        "set-src-port" => Ok((Action::SetEnd(EndField::SourcePort, value(Kind::Int)?), 1)),
        "set-dst-port" => Ok((Action::SetEnd(EndField::DestinationPort, value(Kind::Int)?), 1)),
        "set-var" => {
            let variable = samples::variable(inner.unwrap_or_default())?;
            Ok((Action::SetVariable(variable, value(Kind::Any)?), 1))
        }
        "unset-var" => {
            Ok((Action::UnsetVariable(samples::variable(inner.unwrap_or_default())?), 0))
        }
        "set-priority-class" => {
            of_stage(&[Content])?;
            Ok((Action::SetPriorityClass(value(Kind::Int)?), 1))
        }
        "set-priority-offset" => {
            of_stage(&[Content])?;
            Ok((Action::SetPriorityOffset(value(Kind::Int)?), 1))
        }
        "set-nice" => {
            of_stage(&[Content, Response])?;
            let nice = units::integer(rest.first().copied(), -1024..=1024, name)?;
            Ok((Action::SetNice(i32::try_from(nice).expect("in range")), 1))
        }
        "set-log-level" => {
            of_stage(&[Content, Response])?;
            let word = rest.first().copied().unwrap_or_default();
            Ok((Action::SetLogLevel(log_level(word)?), 1))
        }
        _ if LATER.iter().any(|later| name.starts_with(later)) => {
            Err(format!("action '{name}' is not supported by xlb yet.").into())
        }
        _ => {
            let near = suggestion(name, KNOWN.iter().copied());
            Err(format!("'{}' : unknown action '{name}'{near}", stage.name()).into())
        }
    }
}

fn log_level(word: &str) -> Result<Option<u8>, Fault> {
    if word == "silent" {
        return Ok(None);
    }
    log::level(word).map(Some).ok_or_else(|| {
        Fault::hinted(
            format!("'set-log-level' : invalid log level '{word}'."),
            "'emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info', 'debug' or 'silent'.",
        )
    })
}

fn network(word: &str) -> Result<IpNet, Fault> {
    let is_wrong = || {
        Fault::hinted(
            format!("'monitor-net' : '{word}' is no network."),
            "for example: 'monitor-net 192.0.2.0/28'.",
        )
    };
    match word.split_once('/') {
        None => word.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| is_wrong()),
        Some((host, mask)) => {
            let host = host.parse().map_err(|_| is_wrong())?;
            let len = match mask.parse() {
                Ok(len) => len,
                Err(_) => ipnet::ip_mask_to_prefix(mask.parse().map_err(|_| is_wrong())?)
                    .map_err(|_| is_wrong())?,
            };
            IpNet::new(host, len).map_err(|_| is_wrong())
        }
    }
}

/// `persist rdp-cookie[(<name>)]`
fn persist(line: &Line<'_>) -> Result<Arc<str>, Fault> {
    let word = line.only("'rdp-cookie' or 'rdp-cookie(<name>)'")?;
    let name = match word.strip_prefix("rdp-cookie") {
        Some("") => Some("msts"),
        Some(rest) => rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')),
        None => None,
    };
    name.filter(|name| !name.is_empty()).map(Into::into).ok_or_else(|| {
        format!("'persist' expects 'rdp-cookie' or 'rdp-cookie(<name>)', found '{word}'.").into()
    })
}

#[cfg(test)]
mod tests {
    use super::super::model::{VariableScope, Whose};
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(draft: &mut RuleDraft, name: &str, words: &str) -> Result<Vec<String>, Fault> {
        let read = with_line(name, words, |line, context| {
            let known = draft.take(line, true, true, context)?;
            assert!(known, "{name}");
            Ok(context.report.diagnostics.iter().map(|d| d.text.clone()).collect())
        });
        read.0
    }

    #[test]
    fn rules_go_to_their_lists_in_order() {
        let mut draft = RuleDraft::default();
        for words in [
            "inspect-delay 5s",
            "connection reject if { src 192.0.2.0/24 }",
            "connection expect-proxy layer4 unless LOCALHOST",
            "session set-var(sess.x) src",
            "content accept if REQ_CONTENT",
            "content reject",
        ] {
            assert_eq!(read(&mut draft, "tcp-request", words), Ok(Vec::new()), "{words}");
        }
        read(&mut draft, "tcp-response", "content close if { res.len gt 9 }").unwrap();
        let tcp = &draft.tcp;
        assert_eq!(tcp.inspect_delay, Some(std::time::Duration::from_secs(5)));
        assert_eq!((tcp.connection.len(), tcp.session.len(), tcp.content.len()), (2, 1, 2));
        assert_eq!(tcp.connection[1].action, Action::ExpectProxy);
        assert!(tcp.connection[1].condition.as_ref().unwrap().is_unless);
        let Action::SetVariable(variable, value) = &tcp.session[0].action else { panic!() };
        assert_eq!(
            (variable.scope, &value.fetch),
            (VariableScope::Session, &Fetch::Address(Whose::Source))
        );
        assert_eq!(tcp.response[0].action, Action::CloseServer);
    }

    #[test]
    fn a_condition_that_sees_nothing_is_told() {
        let mut draft = RuleDraft::default();
        let told =
            read(&mut draft, "tcp-request", "connection reject if { req.len gt 0 }").unwrap();
        assert!(told[0].contains("will never match"), "{told:?}");
        assert!(told[0].contains("'tcp-request connection rule'"), "{told:?}");
    }

    #[test]
    fn faults_name_the_word() {
        let mut draft = RuleDraft::default();
        let mut text = |name, words| read(&mut draft, name, words).unwrap_err().text;
        assert!(text("tcp-request", "").contains("expects 'inspect-delay'"));
        assert!(text("tcp-request", "contents").contains("(got 'contents')"));
        assert!(text("tcp-request", "content").contains("expects an action"));
        assert!(text("tcp-request", "content rejct").contains("did you mean 'reject'?"));
        assert!(text("tcp-request", "content track-sc0 src").contains("not supported by xlb yet"));
        assert!(
            text("tcp-request", "content expect-proxy layer4")
                .contains("is not available in 'tcp-request content'")
        );
        assert!(text("tcp-request", "content reject when x").contains("found 'when'"));
        assert!(text("tcp-request", "content set-src bool(1)").contains("is of type bool"));
        assert!(text("tcp-request", "inspect-delay x").contains("unexpected character 'x'"));
        assert!(text("use_backend", "").contains("expects a backend name"));
        assert!(text("use-server", "s1").contains("expects 'if' or 'unless'"));
        assert!(text("persist", "cookie").contains("found 'cookie'"));
        assert!(text("monitor-net", "x").contains("'x' is no network"));
    }
}
