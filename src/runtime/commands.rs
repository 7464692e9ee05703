//! Which words do what.
//!
//! In:    the words of a command
//! Out:   its answer; or what it was taken for
//! Never: does anything itself but for the session: the other files of the room do

use std::fmt::Write;
use std::time::Duration;

use super::session::{Session, Severity};
use super::stat::{self, Wish};
use super::{acls, frontends, info, inside, reload, servers, streams};
use crate::config::model::Level;
use crate::config::units;

/// What a command finds.
pub struct Call<'s, 'r> {
    /// The words behind its name.
    pub arguments: Vec<&'s str>,
    /// Who asks.
    pub session: &'s mut Session<'r>,
}

impl<'s> Call<'s, '_> {
    /// The word at this place behind the name.
    pub fn argument(&self, at: usize) -> Option<&'s str> {
        self.arguments.get(at).copied()
    }
}

/// A command.
struct Command {
    words: &'static [&'static str],
    /// What stands behind its name, for help.
    usage: &'static str,
    meaning: &'static str,
    level: Level,
    run: fn(&mut Call<'_, '_>) -> Result<String, String>,
}

macro_rules! commands {
    ($($level:ident [$($word:literal)*] $usage:literal $meaning:literal $run:expr;)*) => {
        &[$(Command {
            words: &[$($word),*],
            usage: $usage,
            meaning: $meaning,
            level: Level::$level,
            run: $run,
        }),*]
    };
}

const COMMANDS: &[Command] = commands! {
    Operator ["add" "acl"] "#<id>|<file> <value>" "add a value to those that an acl compares with" acls::add;
    Admin ["add" "server"] "<bk>/<srv> <addr>[:<port>] ..." "add a server to a backend, in maintenance" reload::add_server;
    Operator ["clear" "acl"] "#<id>|<file>" "take all values of an acl away" acls::clear;
    Operator ["clear" "counters"] "[all]" "clear max statistics counters (or all counters)" clear_counters;
    Admin ["debug" "dev" "loop"] "[<ms>]" "expert: have a worker loop for so long" inside::stall;
    Admin ["debug" "dev" "panic"] "" "expert: have a worker panic" inside::panic;
    Operator ["del" "acl"] "#<id>|<file> <value>" "take a value of an acl away" acls::del;
    Admin ["del" "server"] "<bk>/<srv>" "take a server away that is in maintenance" reload::del_server;
    Admin ["disable" "agent"] "<bk>/<srv>" "disable agent checks" servers::disable_agent;
    Admin ["disable" "frontend"] "<frontend>" "let who comes to a frontend wait" frontends::disable;
    Admin ["disable" "health"] "<bk>/<srv>" "disable health checks" servers::disable_health;
    Admin ["disable" "server"] "<bk>/<srv>" "put a server into maintenance" servers::disable;
    Admin ["enable" "agent"] "<bk>/<srv>" "enable agent checks" servers::enable_agent;
    Admin ["enable" "frontend"] "<frontend>" "take connections of a frontend again" frontends::enable;
    Admin ["enable" "health"] "<bk>/<srv>" "enable health checks" servers::enable_health;
    Admin ["enable" "server"] "<bk>/<srv>" "take a server out of maintenance" servers::enable;
    Admin ["expert-mode"] "[on|off]" "permit commands that are dangerous, in this session" expert_mode;
    User ["get" "weight"] "<bk>/<srv>" "report a server's current weight" servers::get_weight;
    User ["help"] "[<command>]" "list matching or all commands" help;
    User ["operator"] "" "lower the level of the current CLI session to operator" |call| lower(call, Level::Operator);
    User ["prompt"] "" "toggle interactive mode with prompt" prompt;
    User ["quit"] "" "disconnect" quit;
    Admin ["reload"] "" "take the configuration as its files are now" reload::reload;
    Admin ["reload" "check"] "" "tell what a reload would do" reload::check;
    Admin ["set" "maxconn" "frontend"] "<frontend> <value>" "change a frontend's maxconn setting" frontends::set_maxconn;
    Admin ["set" "maxconn" "global"] "<value>" "change the per-process maxconn setting" frontends::set_maxconn_global;
    Admin ["set" "maxconn" "server"] "<bk>/<srv> <value>" "change a server's maxconn setting" servers::set_maxconn;
    Admin ["set" "rate-limit"] "<setting> <value>" "change a rate limiting value" frontends::set_rate_limit;
    Admin ["set" "server"] "<bk>/<srv> [opts]" "change a server's state, weight or address" servers::set;
    User ["set" "severity-output"] "[none|number|string]" "set presence of severity level in feedback information" set_severity;
    User ["set" "timeout" "cli"] "<delay>" "change the idle limit of this session" set_timeout;
    Admin ["set" "weight"] "<bk>/<srv> <weight>" "change a server's weight" servers::set_weight_alone;
    Operator ["show" "acl"] "[#<id>|<file>]" "list what acls compare with, or the values of one" acls::show;
    User ["show" "activity"] "" "show per-worker activity" inside::activity;
    User ["show" "backend"] "" "list backends in the current running config" inside::backends;
    User ["show" "cli" "level"] "" "display the level of the current CLI session" show_level;
    Operator ["show" "cli" "sockets"] "" "dump list of cli sockets" inside::cli_sockets;
    Operator ["show" "conns"] "[<ip>[:<port>]]" "userspace TCP connections: state, rtt, windows, queues" inside::connections;
    Operator ["show" "env"] "[var]" "dump environment variables known to the process" inside::environment;
    Operator ["show" "errors"] "[<px>]" "report last request and response errors for each proxy" inside::errors;
    User ["show" "info"] "[desc|json|typed]*" "report information about the running process" show_info;
    User ["show" "latency"] "" "percentiles of what streams wait for, and of turns" inside::latency;
    Operator ["show" "neighbors"] "" "neighbours that the wires send to" inside::neighbors;
    Operator ["show" "nic"] "" "queues: mode, rings, drops, hand-overs" inside::queues;
    User ["show" "pools"] "" "report information about the memory pools usage" inside::pools;
    Operator ["show" "ports"] "" "listeners, and source ports towards servers" inside::ports;
    User ["show" "profiling"] "" "show profiling state" inside::profiling;
    Operator ["show" "routes"] "" "addresses and routes of the wires" inside::routes;
    User ["show" "servers" "conn"] "[<backend>]" "dump server connections status (all or for a single backend)" servers::show_connections;
    User ["show" "servers" "state"] "[<backend>]" "dump volatile server information (all or for a single backend)" servers::show_state;
    Operator ["show" "sess"] "[id|all|older <age>]" "report the list of current sessions or dump this exact session" streams::show;
    User ["show" "stat"] "[json|no-maint|typed|up|<iid> <type> <sid>]*" "report counters for each proxy and server" show_stat;
    User ["show" "table"] "[<table>]" "report table usage stats or dump this table's contents" inside::tables;
    User ["show" "tasks"] "" "show running tasks" inside::tasks;
    User ["show" "threads"] "" "show workers" inside::threads;
    User ["show" "version"] "" "show version of the current process" show_version;
    Admin ["shutdown" "frontend"] "<frontend>" "stop a specific frontend" frontends::shutdown;
    Admin ["shutdown" "session"] "<id>" "kill a specific session" streams::shutdown;
    Admin ["shutdown" "sessions" "server"] "<bk>/<srv>" "kill sessions on a server" streams::shutdown_of_server;
    User ["user"] "" "lower the level of the current CLI session to user" |call| lower(call, Level::User);
};

/// Runs a command; its answer without the empty line at the end.
pub fn run(session: &mut Session<'_>, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // As HAProxy: a line without a word asks for help.
    if words.is_empty() {
        return usage(
            "Unknown command. Please enter one of the following commands only:",
            session.level,
            |_| true,
        );
    }
    let Some(command) = find(&words) else { return unknown(session.level, &words) };
    let severity = session.severity;
    let marked = |level: u8, text: String| match severity {
        Severity::Number if !text.is_empty() => format!("[{level}]:{text}"),
        Severity::Text if !text.is_empty() && level == 3 => format!("[err]:{text}"),
        Severity::Text if !text.is_empty() => format!("[info]:{text}"),
        _ => text,
    };
    if session.level < command.level {
        return marked(3, "Permission denied\n".into());
    }
    let arguments = words[command.words.len()..].to_vec();
    match (command.run)(&mut Call { arguments, session }) {
        // Only messages are marked, not what was asked for.
        Ok(text) if command.words[0] == "show" => text,
        Ok(text) => marked(6, text),
        Err(text) => marked(3, text),
    }
}

/// The command with the most words that these begin with.
fn find(words: &[&str]) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .filter(|command| words.starts_with(command.words))
        .max_by_key(|one| one.words.len())
}

fn unknown(level: Level, words: &[&str]) -> String {
    const BETTER: &str = "Unknown command, but maybe one of the following ones is a better match:";
    const ONLY: &str = "Unknown command. Please enter one of the following commands only:";
    let text = words.join(" ");
    let first_fits = |command: &Command| command.words[0].starts_with(words[0]);
    let names: Vec<String> = COMMANDS.iter().map(|command| command.words.join(" ")).collect();
    let nearest = crate::config::nearest::nearest(&text, names.iter().map(String::as_str));
    let is_near = |command: &Command| {
        first_fits(command) || nearest == Some(command.words.join(" ").as_str())
    };
    if COMMANDS.iter().any(is_near) {
        let is_always = |command: &Command| matches!(command.words[0], "help" | "prompt" | "quit");
        usage(BETTER, level, |command| is_near(command) || is_always(command))
    } else {
        usage(ONLY, level, |_| true)
    }
}

fn usage(title: &str, level: Level, wanted: impl Fn(&Command) -> bool) -> String {
    let shown = COMMANDS.iter().filter(|command| command.level <= level && wanted(command));
    shown.fold(format!("{title}\n"), |mut out, Command { words, usage, meaning, .. }| {
        let name = format!("{} {usage}", words.join(" "));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {:<39} : {meaning}", name.trim_end());
        out
    })
}

type Answer = Result<String, String>;

// The session itself.

fn help(call: &mut Call<'_, '_>) -> Answer {
    let level = call.session.level;
    let wanted = call.arguments.clone();
    let fits = |command: &Command| {
        let pairs = command.words.iter().zip(&wanted);
        pairs.clone().all(|(word, wanted)| word.starts_with(wanted))
    };
    Ok(usage("The following commands are valid at this level:", level, fits))
}

fn expert_mode(call: &mut Call<'_, '_>) -> Answer {
    match call.argument(0) {
        None if call.session.is_expert => return Ok("expert-mode is ON\n".into()),
        None => return Ok("expert-mode is OFF\n".into()),
        Some(word) => call.session.is_expert = word == "on",
    }
    Ok(String::new())
}

fn prompt(call: &mut Call<'_, '_>) -> Answer {
    call.session.is_interactive = !call.session.is_interactive;
    Ok(String::new())
}

fn quit(call: &mut Call<'_, '_>) -> Answer {
    call.session.is_over = true;
    Ok(String::new())
}

fn lower(call: &mut Call<'_, '_>, level: Level) -> Answer {
    call.session.level = call.session.level.min(level);
    Ok(String::new())
}

fn show_level(call: &mut Call<'_, '_>) -> Answer {
    Ok(format!("{}\n", level_name(call.session.level)))
}

/// The word of a level.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::User => "user",
        Level::Operator => "operator",
        Level::Admin => "admin",
    }
}

fn set_severity(call: &mut Call<'_, '_>) -> Answer {
    call.session.severity = match call.argument(0) {
        Some("none") => Severity::None,
        Some("number") => Severity::Number,
        Some("string") => Severity::Text,
        _ => return Err("one of 'none', 'number', 'string' is a required argument\n".into()),
    };
    Ok(String::new())
}

fn set_timeout(call: &mut Call<'_, '_>) -> Answer {
    let Some(word) = call.argument(0) else { return Err("Expects an integer value.\n".into()) };
    match units::time_in_seconds(word) {
        Ok(time) if time > Duration::ZERO => {
            call.session.timeout = time;
            Ok(String::new())
        }
        _ => Err("Invalid timeout value.\n".into()),
    }
}

// Figures.

fn clear_counters(call: &mut Call<'_, '_>) -> Answer {
    let all = call.argument(0) == Some("all");
    let admin_only = all && call.session.level < Level::Admin;
    if admin_only {
        return Err("Permission denied\n".into());
    }
    call.session.runtime.clear_counters(all);
    Ok(String::new())
}

fn show_info(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let figures = info::figures(runtime, &runtime.reports());
    let wants = |word| call.arguments.contains(&word);
    Ok(match () {
        () if wants("json") => info::json(&figures),
        () if wants("typed") => info::typed(&figures),
        () => info::plain(&figures, wants("desc")),
    })
}

fn show_version(_: &mut Call<'_, '_>) -> Answer {
    Ok(concat!(env!("CARGO_PKG_VERSION"), "\n").into())
}

fn show_stat(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let wants = |word| call.arguments.contains(&word);
    let mut wish = Wish { only_up: wants("up"), no_maint: wants("no-maint"), ..Wish::default() };
    let first = call.argument(0);
    let of_name = |name: &str| {
        let (_, proxy) = runtime.shared.proxies().find(|(_, proxy)| *proxy.name == *name)?;
        Some(proxy.id)
    };
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<i64>().ok());
    if let (Some(kinds), Some(id)) = (number(call.argument(1)), number(call.argument(2))) {
        let proxy = number(first).or_else(|| first.and_then(of_name).map(i64::from));
        let Some(proxy) = proxy else { return Err("No such proxy.\n".into()) };
        // -1 is all of them.
        wish.proxy = u32::try_from(proxy).ok();
        wish.kinds = u32::try_from(kinds).ok();
        wish.id = u32::try_from(id).ok();
    }
    let rows = stat::rows(&runtime.view(), &wish);
    Ok(match () {
        () if wants("json") => stat::json(&rows),
        () if wants("typed") => stat::typed(&rows),
        () => stat::csv(&rows),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_and_every_name_is_there_once() {
        assert_eq!(find(&["show", "servers", "state", "x"]).unwrap().words.len(), 3);
        assert!(find(&["show", "servers"]).is_none());
        assert!(find(&["show"]).is_none());
        let mut names: Vec<_> = COMMANDS.iter().map(|command| command.words).collect();
        let sorted = names.clone();
        names.sort_unstable();
        assert_eq!(names, sorted, "in order");
        names.dedup();
        assert_eq!(names.len(), COMMANDS.len());
    }

    #[test]
    fn what_is_unknown_is_told_with_what_was_meant() {
        let text = unknown(Level::Admin, &["show", "inof"]);
        assert!(text.starts_with("Unknown command, but maybe"), "{text}");
        assert!(text.contains("  show info [desc|json|typed]*"), "{text}");
        let text = unknown(Level::User, &["%&$"]);
        assert!(text.starts_with("Unknown command. Please enter one of"), "{text}");
        assert!(!text.contains("set server"), "not at this level: {text}");
    }
}
