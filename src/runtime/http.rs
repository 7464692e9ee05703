//! Answers to browsers and to Prometheus: the statistics page in its forms, and the metrics.
//!
//! In:    requests that workers have read
//! Out:   answers of HTTP/1.1, each the last of its connection
//! Owns:  a thread
//! Never: changes anything
//! Read:  RFC 9110, RFC 9112; docs/management.md, "Statistics page"

use std::sync::Arc;

use base64::Engine;
use crossbeam::channel::Receiver;

use super::stat::{self, Wish};
use super::{Runtime, info, metrics, page};
use crate::config::model::{Service, StatsPage};
use crate::stream::ServiceCall;
use crate::worker::Command;

/// Answers calls until there are no workers any more.
pub fn serve(calls: Receiver<ServiceCall>, runtime: Arc<Runtime>) -> std::io::Result<()> {
    let answer_all = move || {
        for call in calls {
            let proxy = runtime.shared.backend(call.frontend).config.clone();
            let service = proxy.service.clone().unwrap_or_default();
            let answer = runtime.answer(&service, &proxy.name, &call.request);
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
    fn answer(&self, service: &Service, proxy: &str, request: &[u8]) -> Vec<u8> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let is_whole = matches!(parsed.parse(request), Ok(httparse::Status::Complete(_)));
        let (Some(method), Some(target), true) = (parsed.method, parsed.path, is_whole) else {
            let sentence = "Your browser sent an invalid request.";
            return Answer::error("400 Bad request", sentence).bytes(true);
        };
        let has_body = method != "HEAD";
        if !matches!(method, "GET" | "HEAD") {
            let mut answer = Answer::error("405 Method Not Allowed", "Only GET and HEAD are.");
            answer.headers = "allow: GET, HEAD\r\n".into();
            return answer.bytes(has_body);
        }
        let path = target.split('?').next().unwrap_or_default();
        if let Some(wanted) = &service.metrics
            && wanted.path.as_ref().is_none_or(|wanted| wanted == path)
        {
            return Answer::ok(metrics::CONTENT_TYPE, self.metrics()).bytes(has_body);
        }
        let Some(stats) = service.stats.as_ref().filter(|stats| target.starts_with(&stats.uri))
        else {
            let sentence = "No server is available to handle this request.";
            return Answer::error("503 Service Unavailable", sentence).bytes(has_body);
        };
        let authorization =
            parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("authorization"));
        if !is_allowed(stats, authorization.map(|header| header.value)) {
            let sentence = "You need a valid user and password to access this content.";
            let mut answer = Answer::error("401 Unauthorized", sentence);
            let realm = stats.realm.replace(['"', '\\'], "");
            answer.headers = format!("www-authenticate: Basic realm=\"{realm}\"\r\n");
            return answer.bytes(has_body);
        }
        self.statistics(stats, proxy, &target[stats.uri.len()..]).bytes(has_body)
    }

    fn metrics(&self) -> String {
        let reports = self.reports();
        let view = super::view::View::gather(&self.shared, &self.plans, &reports, self.clock.now());
        let rows = stat::rows(&view, &Wish::default());
        metrics::text(&info::figures(self, &reports), &rows, &reports)
    }

    /// The page, or one of its other forms, by what stands behind its URI.
    fn statistics(&self, stats: &StatsPage, proxy: &str, suffix: &str) -> Answer {
        let (options, query) = suffix.split_once('?').unwrap_or((suffix, suffix));
        let wants = |word: &str| options.split(';').any(|option| option == word);
        let scope = query.split(['&', ';']).find_map(|part| part.strip_prefix("scope="));
        let wish = Wish { only_up: wants("up"), no_maint: wants("no-maint"), ..Wish::default() };
        let reports = self.reports();
        let view = super::view::View::gather(&self.shared, &self.plans, &reports, self.clock.now());
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
        };
        let body = page::html(&shown, &info::figures(self, &reports), &rows, &reports, &self.node);
        let mut answer = Answer::ok("text/html; charset=utf-8", body);
        // Nothing in it comes from elsewhere, and nothing in it is a program.
        answer.headers =
            "content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n".into();
        if let Some(every) = stats.refresh.filter(|_| shown.refreshes) {
            answer.headers += &format!("refresh: {}\r\n", every.as_secs().max(1));
        }
        answer
    }
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
}
