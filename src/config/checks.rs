//! What servers are asked: `option httpchk` and its kin, `tcp-check`, `http-check`.
//!
//! In:    their lines, in any order
//! Out:   a [`HealthCheck`]
//! Never: asks anybody
//! Read:  docs/configuration.md, "Health checks"

mod expect;
mod protocols;

use std::sync::Arc;

use super::address::{self, Host};
use super::model::{Answer, CheckAction, CheckConnect, CheckKind, CheckStep, Expect, HealthCheck};
use super::parser::{Context, Form, Line};
use super::report::Fault;
use super::units;
use expect::Flavour;
pub(super) use expect::binary;

/// Statuses that are good when nothing is said.
const GOOD_STATUSES: (u16, u16) = (200, 399);

/// What the lines of a proxy say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckDraft {
    kind: CheckKind,
    script: Vec<CheckStep>,
    protocol: Vec<CheckStep>,
    http: Vec<CheckStep>,
    request: Request,
    disable_on_404: bool,
}

/// The request of `option httpchk`; `http-check send` changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            method: "OPTIONS".into(),
            uri: "/".into(),
            version: "HTTP/1.0".into(),
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

impl Default for CheckDraft {
    fn default() -> Self {
        CheckDraft {
            kind: CheckKind::Connect,
            script: Vec::new(),
            protocol: Vec::new(),
            http: Vec::new(),
            request: Request::default(),
            disable_on_404: false,
        }
    }
}

impl CheckDraft {
    /// Reads a line if it is one of these; whether it was.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        context: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        match line.name {
            "option tcp-check" => {
                line.at_most(0)?;
                self.kind =
                    if line.form == Form::Plain { CheckKind::Script } else { CheckKind::Connect };
            }
            "option httpchk" => {
                self.request = request(line)?;
                self.kind = CheckKind::Http;
            }
            "tcp-check" => self.script.push(tcp_check(line, context)?),
            "http-check" => self.http_check(line, context)?,
            name => match protocols::steps(name, line)? {
                None => return Ok(false),
                Some(steps) => {
                    self.protocol = steps;
                    self.kind = CheckKind::Protocol;
                }
            },
        }
        Ok(true)
    }

    fn http_check(&mut self, line: &Line<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
        let (verb, rest) = line.arguments.split_first().ok_or_else(|| expects(line.name))?;
        match *verb {
            "disable-on-404" => self.disable_on_404 = true,
            "send" => {
                let (request, comment) = send(rest, &self.request)?;
                // The first one says what the option left open; further ones are steps of their own.
                if self.http.iter().any(|step| matches!(step.action, CheckAction::Expect(_))) {
                    let bytes = request.bytes();
                    self.http.push(step(CheckAction::Send(bytes), comment));
                } else {
                    self.request = request;
                }
            }
            "expect" => {
                let (expect, comment) = expect::expect(Flavour::Http, rest)?;
                self.http.push(step(CheckAction::Expect(expect), comment));
            }
            "connect" => {
                let (connect, comment) = connect(line, rest, context)?;
                self.http.push(step(CheckAction::Connect(connect), comment));
            }
            "comment" => {}
            "send-state" | "set-var" | "set-var-fmt" | "unset-var" => {
                context.note_inactive(line.at, format!("http-check {verb}"));
            }
            verb => {
                return Err(Fault::hinted(
                    format!("'http-check' : unknown action '{verb}'."),
                    "'connect', 'send', 'expect', 'comment' and 'disable-on-404' are known.",
                ));
            }
        }
        Ok(())
    }

    /// The check that these lines make.
    pub(super) fn finish(&self) -> HealthCheck {
        let steps = match self.kind {
            CheckKind::Connect => return HealthCheck::default(),
            CheckKind::Script => self.script.clone(),
            CheckKind::Protocol => self.protocol.clone(),
            CheckKind::Http => self.http_steps(),
        };
        HealthCheck {
            kind: self.kind,
            steps: with_connection(steps),
            disable_on_404: self.disable_on_404,
        }
    }

    fn http_steps(&self) -> Vec<CheckStep> {
        let request = step(CheckAction::Send(self.request.bytes()), None);
        let mut steps = self.http.clone();
        // Behind the connections that stand first.
        let is_connect = |step: &&CheckStep| matches!(step.action, CheckAction::Connect(_));
        let first = steps.iter().take_while(is_connect).count();
        steps.insert(first, request);
        if !steps.iter().any(|step| matches!(step.action, CheckAction::Expect(_))) {
            let good = Answer::HttpStatus(Arc::from([GOOD_STATUSES]));
            steps.push(step(CheckAction::Expect(Expect::new(good)), None));
        }
        steps
    }
}

/// A script that does not begin with a connection is given one.
fn with_connection(mut steps: Vec<CheckStep>) -> Arc<[CheckStep]> {
    if !matches!(steps.first().map(|step| &step.action), Some(CheckAction::Connect(_))) {
        steps.insert(0, step(CheckAction::Connect(CheckConnect::implicit()), None));
    }
    steps.into()
}

fn step(action: CheckAction, comment: Option<Arc<str>>) -> CheckStep {
    CheckStep { action, comment }
}

fn expects(name: &str) -> Fault {
    Fault::hinted(
        format!("'{name}' expects an action."),
        "for example: 'tcp-check expect string PONG', 'http-check expect status 200'.",
    )
}

impl Request {
    fn bytes(&self) -> Arc<[u8]> {
        let Request { method, uri, version, headers, body } = self;
        let mut text = format!("{method} {uri} {version}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        Arc::from(text.as_bytes())
    }
}

/// `option httpchk [[<method>] <uri> [<version>]]`
fn request(line: &Line<'_>) -> Result<Request, Fault> {
    let usual = Request::default();
    line.at_most(4)?;
    Ok(match line.arguments {
        [] => usual,
        [uri] => Request { uri: (*uri).into(), ..usual },
        [method, uri] => Request { method: (*method).into(), uri: (*uri).into(), ..usual },
        [method, uri, version, rest @ ..] => {
            // Headers were written behind the version once: `HTTP/1.1\r\nHost:\ www`.
            let text = [&[*version], rest].concat().join(" ");
            let mut lines = text.split("\r\n");
            let version = lines.next().unwrap_or_default().to_string();
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers =
                headers.map(|(name, value)| (name.trim().into(), value.trim().into())).collect();
            Request { method: (*method).into(), uri: (*uri).into(), version, headers, ..usual }
        }
    })
}

/// `http-check send [meth <m>] [uri <u>] [ver <v>] [hdr <name> <value>]* [body <text>] [comment <text>]`
fn send(mut words: &[&str], base: &Request) -> Result<(Request, Option<Arc<str>>), Fault> {
    let mut request = base.clone();
    let mut comment = None;
    while let Some((word, rest)) = words.split_first() {
        let value = |index: usize| {
            rest.get(index).map(|value| (*value).to_string()).ok_or_else(|| {
                Fault::from(format!("'http-check send' : '{word}' expects a value."))
            })
        };
        let taken = match *word {
            "meth" => {
                request.method = value(0)?;
                1
            }
            "uri" => {
                request.uri = value(0)?;
                1
            }
            "ver" => {
                request.version = value(0)?;
                1
            }
            "body" => {
                request.body = value(0)?;
                1
            }
            "hdr" => {
                request.headers.push((value(0)?, value(1)?));
                2
            }
            "comment" => {
                comment = Some(value(0)?.into());
                1
            }
            "uri-lf" | "body-lf" => {
                return Err(
                    format!("'http-check send' : '{word}' is not supported by xlb yet.").into()
                );
            }
            word => {
                return Err(Fault::hinted(
                    format!("'http-check send' : unknown keyword '{word}'."),
                    "'meth', 'uri', 'ver', 'hdr', 'body' and 'comment' are known.",
                ));
            }
        };
        words = &rest[taken..];
    }
    Ok((request, comment))
}

fn tcp_check(line: &Line<'_>, context: &mut Context<'_>) -> Result<CheckStep, Fault> {
    let (verb, rest) = line.arguments.split_first().ok_or_else(|| expects(line.name))?;
    let of_verb = |what: &str| Fault::from(format!("'tcp-check {verb}' expects {what}."));
    let comment_of = |rest: &[&str]| match rest {
        [] => Ok(None),
        ["comment", text] => Ok(Some(Arc::from(*text))),
        [word, ..] => Err(Fault::from(format!(
            "'tcp-check {verb}' cannot handle unexpected argument '{word}'."
        ))),
    };
    match *verb {
        "connect" => {
            let (connect, comment) = connect(line, rest, context)?;
            Ok(step(CheckAction::Connect(connect), comment))
        }
        "send" => {
            let (text, rest) = rest.split_first().ok_or_else(|| of_verb("a string"))?;
            Ok(step(CheckAction::Send(Arc::from(text.as_bytes())), comment_of(rest)?))
        }
        "send-binary" => {
            let (text, rest) = rest.split_first().ok_or_else(|| of_verb("hexadecimal digits"))?;
            Ok(step(CheckAction::Send(binary(text)?), comment_of(rest)?))
        }
        "expect" => {
            let (expect, comment) = expect::expect(Flavour::Tcp, rest)?;
            Ok(step(CheckAction::Expect(expect), comment))
        }
        "comment" => {
            let text = rest.first().ok_or_else(|| of_verb("a string"))?;
            Ok(step(CheckAction::Send(Arc::from([])), Some(Arc::from(*text))))
        }
        "send-lf" | "send-binary-lf" | "set-var" | "set-var-fmt" | "unset-var" => {
            Err(format!("'tcp-check {verb}' is not supported by xlb yet.").into())
        }
        verb => Err(Fault::hinted(
            format!("'tcp-check' : unknown action '{verb}'."),
            "'connect', 'send', 'send-binary', 'expect' and 'comment' are known.",
        )),
    }
}

/// `connect [default] [port <port>] [addr <address>] [send-proxy] [linger] [comment <text>]`
fn connect(
    line: &Line<'_>,
    mut words: &[&str],
    context: &mut Context<'_>,
) -> Result<(CheckConnect, Option<Arc<str>>), Fault> {
    let mut connect = CheckConnect::default();
    let mut comment = None;
    while let Some((word, rest)) = words.split_first() {
        let value = || {
            rest.first().copied().ok_or_else(|| {
                Fault::from(format!("'{} connect' : '{word}' expects a value.", line.name))
            })
        };
        let taken = match *word {
            // How the connection is left changes nothing for the server: it is always reset.
            "default" | "linger" => 0,
            "send-proxy" => {
                connect.send_proxy = true;
                0
            }
            "port" => {
                let port = units::integer(rest.first().copied(), 1..=65_535, "port")?;
                connect.port = Some(u16::try_from(port).expect("in range"));
                1
            }
            "addr" => {
                let text = value()?;
                let endpoint = address::endpoint(text)?;
                connect.address = Some(match endpoint.host {
                    Host::Address(ip) => ip,
                    Host::Name(name, family) => context.resolve(&name, family)?,
                    Host::Any(_) => {
                        return Err(
                            format!("'addr' : '{text}' is not the address of a host.").into()
                        );
                    }
                });
                if let Some(port) = endpoint.port.and_then(|port| port.parse().ok()) {
                    connect.port = Some(port);
                }
                1
            }
            "comment" => {
                comment = Some(Arc::from(value()?));
                1
            }
            "ssl" | "sni" | "alpn" | "via-socks4" | "proto" => {
                return Err(format!(
                    "'{} connect' : '{word}' is not supported by xlb yet.",
                    line.name
                )
                .into());
            }
            word => {
                return Err(Fault::hinted(
                    format!("'{} connect' : unknown keyword '{word}'.", line.name),
                    "'default', 'port', 'addr', 'send-proxy', 'linger' and 'comment' are known.",
                ));
            }
        };
        words = &rest[taken..];
    }
    Ok((connect, comment))
}

#[cfg(test)]
mod tests {
    use super::super::parser::tests::with_line;
    use super::*;

    fn read(lines: &[(&str, &str)]) -> Result<HealthCheck, Fault> {
        let mut draft = CheckDraft::default();
        for (name, words) in lines {
            with_line(name, words, |line, context| draft.take(line, context)).0?;
        }
        Ok(draft.finish())
    }

    fn sent(check: &HealthCheck) -> Vec<String> {
        let sent = check.steps.iter().filter_map(|step| match &step.action {
            CheckAction::Send(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn requests_of_http() {
        let plain = read(&[("option httpchk", "")]).unwrap();
        assert_eq!(sent(&plain), ["OPTIONS / HTTP/1.0\r\n\r\n"]);
        assert_eq!((plain.kind, plain.steps.len()), (CheckKind::Http, 3));
        let full = read(&[
            ("option httpchk", "GET /health HTTP/1.1"),
            ("http-check", "send hdr Host www body x"),
            ("http-check", "expect status 200"),
            ("http-check", "disable-on-404"),
        ])
        .unwrap();
        let request = "GET /health HTTP/1.1\r\nHost: www\r\ncontent-length: 1\r\n\r\nx";
        assert_eq!(sent(&full), [request]);
        assert!(full.disable_on_404);
    }

    #[test]
    fn scripts() {
        let check = read(&[
            ("tcp-check", "connect port 6379 send-proxy"),
            ("tcp-check", "send PING comment hello"),
            ("tcp-check", "send-binary 0d0a"),
            ("tcp-check", "expect string +PONG"),
            ("option tcp-check", ""),
        ])
        .unwrap();
        assert_eq!((check.kind, check.steps.len()), (CheckKind::Script, 4));
        assert_eq!(check.steps[1].comment.as_deref(), Some("hello"));
        assert_eq!(sent(&check), ["PING", "\r\n"]);
        // Without the option the lines do nothing.
        assert_eq!(read(&[("tcp-check", "send x")]).unwrap(), HealthCheck::default());
        for words in [
            "",
            "nope",
            "send",
            "send a b",
            "send-binary xy",
            "expect",
            "expect nope x",
            "expect rstring (",
            "connect port 0",
            "connect nope",
        ] {
            assert!(read(&[("tcp-check", words)]).is_err(), "{words}");
        }
        for words in ["", "nope", "send nope", "expect status x", "expect hdr x"] {
            assert!(read(&[("http-check", words)]).is_err(), "{words}");
        }
    }

    #[test]
    fn protocols_have_scripts_of_their_own() {
        for (name, words, count) in [
            ("option redis-check", "", 3),
            ("option ssl-hello-chk", "", 3),
            ("option ldap-check", "", 4),
            ("option smtpchk", "EHLO me", 7),
            ("option pgsql-check", "user xlb", 4),
            ("option mysql-check", "", 2),
            ("option mysql-check", "user xlb", 4),
        ] {
            let check = read(&[(name, words)]).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
            assert_eq!((check.kind, check.steps.len()), (CheckKind::Protocol, count), "{name}");
        }
        assert!(read(&[("option pgsql-check", "")]).is_err());
        assert!(read(&[("option mysql-check", "user x post-42")]).is_err());
    }
}
