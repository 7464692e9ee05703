//! Commands about streams.
//!
//! In:    the name of a stream, or of a server
//! Out:   what streams do, page by page; orders to end them
//! Never: walks all streams of a worker in one turn

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::Runtime;
use super::commands::Call;
use crate::config::model::{Carrier, ProxyIndex, ServerId};
use crate::config::units;
use crate::stream::StreamView;
use crate::transport::Token;
use crate::worker::Command;

type Answer = Result<String, String>;

/// `0x<worker><name>`: what HAProxy shows as the address of a stream.
fn shown_id((worker, name): (usize, u64)) -> String {
    format!("0x{:x}{name:016x}", worker + 1)
}

fn read_id(word: &str) -> Option<(usize, u64)> {
    let digits = word.strip_prefix("0x")?;
    let (worker, name) = digits.split_at_checked(digits.len().checked_sub(16)?)?;
    let worker = usize::from_str_radix(worker, 16).ok()?.checked_sub(1)?;
    Some((worker, u64::from_str_radix(name, 16).ok()?))
}

fn views(runtime: &Runtime) -> Vec<StreamView> {
    let mut views = Vec::new();
    runtime.pages(Command::Streams, |_, view| views.push(view));
    views
}

/// `show sess [all|<id>|older <age>]`
pub fn show(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    match call.argument(0) {
        None => Ok(lines(runtime, &views(runtime), Duration::ZERO)),
        Some("all") => Ok(views(runtime).iter().fold(String::new(), |mut out, view| {
            full(&mut out, runtime, view);
            out
        })),
        Some("older") => {
            let word = call.argument(1).unwrap_or("");
            let age = units::time_in_seconds(word)
                .map_err(|_| "Expects a minimum age (in seconds by default).\n")?;
            Ok(lines(runtime, &views(runtime), age))
        }
        Some(word) => {
            let id = read_id(word);
            let found = views(runtime).into_iter().find(|view| Some(view.id) == id);
            let mut out = String::new();
            // HAProxy answers to a stream that is gone by nothing.
            if let Some(view) = found {
                full(&mut out, runtime, &view);
            }
            Ok(out)
        }
    }
}

fn lines(runtime: &Runtime, views: &[StreamView], older: Duration) -> String {
    let shown = views.iter().filter(|view| view.age >= older);
    shown.fold(String::new(), |mut out, view| {
        line(&mut out, runtime, view);
        out
    })
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or(String::new(), |time| format!("{}s", time.as_secs()))
}

fn protocol(view: &StreamView) -> &'static str {
    match (&view.bind.carrier, view.client.remote) {
        (Carrier::Unix(_), _) | (_, None) => "unix_stream",
        (_, Some(SocketAddr::V4(_))) => "tcpv4",
        (_, Some(SocketAddr::V6(_))) => "tcpv6",
    }
}

fn address(at: Option<SocketAddr>) -> String {
    at.map_or("unix".to_string(), |at| at.to_string())
}

/// Names of the frontend, the backend and the server.
fn names(runtime: &Runtime, view: &StreamView) -> [String; 3] {
    let proxy = |index: ProxyIndex| &runtime.shared.backend(index).config;
    let backend = view.backend.map_or("<NONE>".to_string(), |at| proxy(at).name.to_string());
    let server = match (view.backend, view.server) {
        (Some(backend), Some(server)) => proxy(backend).servers[server].name.to_string(),
        _ => "<none>".to_string(),
    };
    [proxy(view.frontend).name.to_string(), backend, server]
}

fn line(out: &mut String, runtime: &Runtime, view: &StreamView) {
    let [frontend, backend, server] = names(runtime, view);
    let waiting = |side: usize| view.connections[side].map_or(0, |status| status.readable);
    let expires = seconds(view.expires_in);
    // Flags and analysers are HAProxy's own and always 0; states are words.
    let front =
        if view.connections[0].is_some_and(|status| status.is_open) { "EST" } else { "CLO" };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: proto={} src={} fe={frontend} be={backend} srv={server} ts=00 epoch=0 age={} calls={} rate=0 cpu=0 \
         lat=0 rq[f=0h,i={},an=00h,rx={expires},wx=,ax=] rp[f=0h,i={},an=00h,rx={expires},wx=,ax=] \
         scf=[{front},0h,fd=-1] scb=[{},0h,fd=-1] exp={expires} rc={} c_exp=",
        shown_id(view.id),
        protocol(view),
        address(view.client.remote),
        seconds(Some(view.age)),
        view.calls,
        waiting(0),
        waiting(1),
        view.state,
        view.retries,
    );
}

fn full(out: &mut String, runtime: &Runtime, view: &StreamView) {
    let [frontend, backend, server] = names(runtime, view);
    let proxy = |index: ProxyIndex| &runtime.shared.backend(index).config;
    let since_us = runtime.clock.unix_us() - view.age.as_micros() as i64;
    let date = runtime.date_of(since_us);
    let expires = seconds(view.expires_in);
    let number = view.number;
    let listener = view.bind.name.as_deref().unwrap_or("?");
    let _ = writeln!(
        out,
        "{}: [{date}] id={number} proto={} source={}\n  \
           flags=0x0, conn_retries={}, worker={} nice={} calls={} age={} idle={} exp={}\n  \
           frontend={frontend} (id={} mode=tcp), listener={listener} (id={}) addr={}",
        shown_id(view.id),
        protocol(view),
        address(view.client.remote),
        view.retries,
        view.id.0,
        view.nice,
        view.calls,
        seconds(Some(view.age)),
        seconds(Some(view.idle)),
        if expires.is_empty() { "<NEVER>" } else { &expires },
        proxy(view.frontend).id,
        view.bind.id,
        address(view.client.local),
    );
    match view.backend {
        Some(at) => {
            let from = address(view.back.local);
            let _ = writeln!(out, "  backend={backend} (id={} mode=tcp) addr={from}", proxy(at).id);
        }
        None => out.push_str("  backend=<NONE> (id=-1 mode=-)\n"),
    }
    match (view.backend, view.server) {
        (Some(backend), Some(at)) => {
            let id = proxy(backend).servers[at].id;
            let to = address(view.back.remote);
            let _ = writeln!(out, "  server={server} (id={id}) addr={to}");
        }
        _ => out.push_str("  server=<NONE> (id=-1)\n"),
    }
    for (side, name) in ["req", "res"].into_iter().enumerate() {
        let connection = ["scf", "scb"][side];
        let state = match (side, view.connections[side]) {
            (_, None) => "INI",
            (0, Some(status)) if status.is_open => "EST",
            (0, Some(_)) => "CLO",
            _ => view.state,
        };
        let status = view.connections[side].unwrap_or_default();
        let _ = writeln!(
            out,
            "  {connection}=state={state} waiting={} fin={} failure={}\n  {name}=total={} shut={}",
            status.readable,
            u8::from(status.fin),
            status.failure.map_or("none".to_string(), |failure| format!("{failure:?}")),
            view.moved[side],
            u8::from(view.shut[side]),
        );
    }
}

/// `shutdown session <id>`
pub fn shutdown(call: &mut Call<'_, '_>) -> Answer {
    const UNKNOWN: &str = "No such session (use 'show sess').\n";
    let runtime = &*call.session.runtime;
    let word = call.argument(0).ok_or("Session pointer expected (use 'show sess').\n")?;
    let (worker, name) =
        read_id(word).filter(|(worker, _)| *worker < runtime.workers.len()).ok_or(UNKNOWN)?;
    match runtime.ask(worker, |to| Command::EndStream(Token(name), to)) {
        Some(true) => Ok(String::new()),
        _ => Err(UNKNOWN.into()),
    }
}

/// `shutdown sessions server <backend>/<server>`
pub fn shutdown_of_server(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    runtime.end_streams_of(runtime.server(call.argument(0))?);
    Ok(String::new())
}

impl Runtime {
    /// Ends the streams of a server, on all workers.
    pub(super) fn end_streams_of(&self, server: ServerId) {
        for worker in 0..self.workers.len() {
            let _ = self.ask(worker, |to| Command::EndStreamsOf(server, to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_as_a_name_can_be_read_as_one() {
        for id in [(0, 1), (63, u64::MAX), (7, 0x1_0000_0004)] {
            assert_eq!(read_id(&shown_id(id)), Some(id));
        }
        for wrong in ["", "0x", "0x1", "x", "0x00000000000000001", "0xg0000000000000001"] {
            assert_eq!(read_id(wrong), None, "{wrong}");
        }
    }
}
