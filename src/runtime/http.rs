//! Answers to browsers and to Prometheus: the statistics page in its forms, and the metrics.
//!
//! In:    requests that workers have read
//! Out:   answers of HTTP/1.1, each the last of its connection
//! Owns:  a thread
//! Never: changes anything for whoever has not seen the page and may change it
//! Read:  RFC 9110, RFC 9112; docs/management.md, "Statistics page"

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use crossbeam::channel::Receiver;

use super::stat::{self, Wish};
use super::{Operators, Runtime, info, metrics, page, servers};
use crate::config::model::{AdminFrom, Service, StatsPage};
use crate::stream::ServiceCall;
use crate::worker::Command;

/// Answers calls until there are no workers any more.
pub fn serve(calls: Receiver<ServiceCall>, operators: Arc<Operators>) -> std::io::Result<()> {
    let answer_all = move || {
        for call in calls {
            let runtime = operators.current();
            let proxy = runtime.shared.backend(call.frontend).config.clone();
            let service = proxy.service.clone().unwrap_or_default();
            let answer = runtime.answer(&service, &proxy.name, call.client, &call.request);
            runtime.tell(call.worker, Command::Answer(call.token, answer));
        }
    };
    std::thread::Builder::new().name("service".into()).spawn(answer_all).map(|_| ())
}

/// An answer before it is written down.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    headers: String,
    body: String,
}

impl Answer {
    fn ok(content_type: &'static str, body: String) -> Self {
        Answer { status: "200 OK", content_type, headers: String::new(), body }
    }

    fn error(status: &'static str, sentence: &str) -> Self {
        let body = format!("<html><body><h1>{status}</h1>\n{sentence}\n</body></html>\n");
        Answer { status, content_type: "text/html", headers: String::new(), body }
    }

    fn method_not_allowed() -> Self {
        let mut answer = Answer::error("405 Method Not Allowed", "Only GET and HEAD are.");
        answer.headers = "allow: GET, HEAD\r\n".into();
        answer
    }

    /// The browser is to look there.
    fn see(place: &str) -> Self {
        let mut answer = Answer::error("303 See Other", "");
        answer.headers = format!("location: {place}\r\n");
        answer
    }

    fn bytes(self, has_body: bool) -> Vec<u8> {
        let Answer { status, content_type, headers, body } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\ncache-control: no-cache\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n{headers}\r\n",
            body.len()
        );
        if has_body {
            text.push_str(&body);
        }
        text.into_bytes()
    }
}

impl Runtime {
    /// What is answered to a request.
    fn answer(
        &self,
        service: &Service,
        proxy: &str,
        client: Option<IpAddr>,
        request: &[u8],
    ) -> Vec<u8> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let head = match parsed.parse(request) {
            Ok(httparse::Status::Complete(head)) => Some(head),
            _ => None,
        };
        let (Some(method), Some(target), Some(head)) = (parsed.method, parsed.path, head) else {
            let sentence = "Your browser sent an invalid request.";
            return Answer::error("400 Bad request", sentence).bytes(true);
        };
        let has_body = method != "HEAD";
        let is_post = method == "POST";
        if !is_post && !matches!(method, "GET" | "HEAD") {
            return Answer::method_not_allowed().bytes(has_body);
        }
        let path = target.split('?').next().unwrap_or_default();
        if let Some(wanted) = &service.metrics
            && !is_post
            && wanted.path.as_ref().is_none_or(|wanted| wanted == path)
        {
            return Answer::ok(metrics::CONTENT_TYPE, self.metrics()).bytes(has_body);
        }
        let Some(stats) = service.stats.as_ref().filter(|stats| target.starts_with(&stats.uri))
        else {
            let sentence = "No server is available to handle this request.";
            return Answer::error("503 Service Unavailable", sentence).bytes(has_body);
        };
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value)
        };
        if !is_allowed(stats, header("authorization")) {
            let sentence = "You need a valid user and password to access this content.";
            let mut answer = Answer::error("401 Unauthorized", sentence);
            let realm = stats.realm.replace(['"', '\\'], "");
            answer.headers = format!("www-authenticate: Basic realm=\"{realm}\"\r\n");
            return answer.bytes(has_body);
        }
        let may_change = match stats.admin {
            None => false,
            Some(AdminFrom::Anywhere) => true,
            Some(AdminFrom::Localhost) => client.is_some_and(|ip| ip.is_loopback()),
        };
        if is_post {
            if !may_change {
                return Answer::method_not_allowed().bytes(has_body);
            }
            let is_own = is_same_origin(header("origin"), header("host"));
            let posted = String::from_utf8_lossy(&request[head..]);
            let outcome = if is_own { self.change(&posted) } else { "DENY" };
            return Answer::see(&format!("{};st={outcome}", stats.uri)).bytes(has_body);
        }
        self.statistics(stats, proxy, &target[stats.uri.len()..], may_change).bytes(has_body)
    }

    /// Does what a form of the page asks for; HAProxy's word for what came of it.
    fn change(&self, posted: &str) -> &'static str {
        let fields: Vec<(String, String)> =
            posted.split('&').filter_map(|field| field.split_once('=')).map(decoded).collect();
        let field =
            |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        // A page of somebody else cannot know it.
        if !field("token").is_some_and(|told| is_same(told.as_bytes(), self.form_token.as_bytes()))
        {
            return "DENY";
        }
        let (Some(action), Some(backend)) = (field("action"), field("b")) else { return "ERRP" };
        let servers = fields.iter().filter(|(name, _)| name == "s").map(|(_, server)| server);
        let (mut done, mut failed) = (0, 0);
        for server in servers {
            match servers::act(self, &format!("{backend}/{server}"), action) {
                Ok(()) => done += 1,
                Err(_) => failed += 1,
            }
        }
        match (done, failed) {
            (0, 0) => "NONE",
            (_, 0) => "DONE",
            (0, _) => "ERRP",
            _ => "PART",
        }
    }

    fn metrics(&self) -> String {
        let reports = self.reports();
        let view = self.view_of(&reports);
        let rows = stat::rows(&view, &Wish::default());
        metrics::text(&info::figures(self, &reports), &rows, &reports)
    }

    /// The page, or one of its other forms, by what stands behind its URI.
    fn statistics(&self, stats: &StatsPage, proxy: &str, suffix: &str, may_change: bool) -> Answer {
        let (options, query) = suffix.split_once('?').unwrap_or((suffix, suffix));
        let wants = |word: &str| options.split(';').any(|option| option == word);
        let scope = query.split(['&', ';']).find_map(|part| part.strip_prefix("scope="));
        let wish = Wish { only_up: wants("up"), no_maint: wants("no-maint"), ..Wish::default() };
        let reports = self.reports();
        let view = self.view_of(&reports);
        let mut rows = stat::rows(&view, &wish);
        rows.retain(|row| {
            let name = row.text(stat::Column::pxname);
            let is_in_scope = |scope: &String| *scope == name || (scope == "." && name == proxy);
            (stats.scopes.is_empty() || stats.scopes.iter().any(is_in_scope))
                && scope.is_none_or(|scope| name.contains(scope))
        });
        if wants("csv") {
            return Answer::ok("text/plain", stat::csv(&rows));
        }
        if wants("json") {
            return Answer::ok("application/json", stat::json(&rows));
        }
        let shown = page::Shown {
            stats,
            refreshes: !wants("norefresh"),
            only_up: wish.only_up,
            scope: scope.unwrap_or_default(),
            token: may_change.then_some(&*self.form_token),
            outcome: options.split(';').find_map(|option| option.strip_prefix("st=")),
        };
        let body = page::html(&shown, &info::figures(self, &reports), &rows, &reports, &self.node);
        let mut answer = Answer::ok("text/html; charset=utf-8", body);
        // Nothing in it comes from elsewhere, and nothing in it is a program.
        answer.headers =
            "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
             frame-ancestors 'none'\r\n"
                .into();
        if let Some(every) = stats.refresh.filter(|_| shown.refreshes) {
            answer.headers += &format!("refresh: {}\r\n", every.as_secs().max(1));
        }
        answer
    }
}

/// A field of a form and its value (application/x-www-form-urlencoded).
fn decoded((name, value): (&str, &str)) -> (String, String) {
    let plain = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b'0'));
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (plain(name), plain(value))
}

/// Whether a request that changes something comes from a page of ours, as far as the browser tells (RFC 6454).
fn is_same_origin(origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
    let Some(origin) = origin else { return true };
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    let at = origin.split_once("://").map(|(_, at)| at.as_bytes());
    at.is_some() && at == host
}

/// Whether the client has told the name and the password of somebody (RFC 7617).
fn is_allowed(stats: &StatsPage, authorization: Option<&[u8]>) -> bool {
    if stats.accounts.is_empty() {
        return true;
    }
    let told = authorization.and_then(|value| {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, credentials) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        base64::engine::general_purpose::STANDARD.decode(credentials.trim()).ok()
    });
    let Some(told) = told else { return false };
    // All accounts are compared, each to its end: how long it takes tells nothing.
    stats.accounts.iter().fold(false, |found, (user, password)| {
        found | is_same(format!("{user}:{password}").as_bytes(), &told)
    })
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_known_is_let_in() {
        let stats = StatsPage {
            accounts: vec![("me".into(), "secret".into()), ("you".into(), "x:y".into())],
            ..StatsPage::default()
        };
        let header = |text: &str| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
        };
        for (told, allowed) in
            [("me:secret", true), ("you:x:y", true), ("me:secre", false), (":", false)]
        {
            assert_eq!(is_allowed(&stats, Some(header(told).as_bytes())), allowed, "{told}");
        }
        assert!(!is_allowed(&stats, None));
        assert!(!is_allowed(&stats, Some(b"Bearer bWU6c2VjcmV0")));
        assert!(is_allowed(&StatsPage::default(), None));
    }

    #[test]
    fn forms_are_read_and_other_pages_are_not() {
        assert_eq!(decoded(("s", "a+b%2Fc%zz%2")), ("s".into(), "a b/c? ".into()));
        let host = Some(&b"lb:8404"[..]);
        for (origin, own) in [("http://lb:8404", true), ("http://evil", false), ("null", false)] {
            assert_eq!(is_same_origin(Some(origin.as_bytes()), host), own, "{origin}");
        }
        assert!(is_same_origin(None, host), "no browser: the token decides");
    }
}
