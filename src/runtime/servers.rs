//! Commands about servers.
//!
//! In:    the name of a server, and what is wanted of it
//! Out:   orders to its backend; HAProxy's words about what cannot be had
//! Never: changes a configuration

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::commands::Call;
use super::view::{ProxyView, View};
use super::{Runtime, stat};
use crate::backend::{Backend, ServerSurvey, server_address};
use crate::config::model::{
    Algorithm, Carrier, CheckStatus, HashMethod, ProxyIndex, Server, ServerId, SourceAddress,
};
use crate::health::{Admin, Checker, Operation, Outcome};
use crate::lb::WEIGHT_SCALE;

type Answer = Result<String, String>;

/// The greatest weight.
const WEIGHT_MAX: u32 = 256;

fn done() -> Answer {
    Ok(String::new())
}

fn backend_of(runtime: &Runtime, id: ServerId) -> &Backend {
    runtime.shared.backend(id.proxy)
}

fn config_of(runtime: &Runtime, id: ServerId) -> &Server {
    &backend_of(runtime, id).config.servers[id.index]
}

/// `set server <backend>/<server> ...`
pub fn set(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let id = runtime.server(call.argument(0))?;
    match call.argument(1) {
        Some("weight") => set_weight(runtime, id, call.argument(2)),
        Some("state") => set_state(runtime, id, call.argument(2)),
        Some("health") => set_health(runtime, id, call.argument(2)),
        Some("agent") => set_agent(runtime, id, call.argument(2)),
        Some("addr") => set_address(runtime, id, &call.arguments[2..]),
        Some(
            what @ ("agent-addr" | "agent-port" | "agent-send" | "check-addr" | "check-port"
            | "fqdn" | "ssl"),
        ) => Err(format!("'set server <srv> {what}' is not part of this version.\n")),
        _ => {
            Err("usage: set server <backend>/<server> addr | agent | health | state | weight\n"
                .into())
        }
    }
}

/// `set weight <backend>/<server> <weight>`
pub fn set_weight_alone(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    set_weight(runtime, runtime.server(call.argument(0))?, call.argument(1))
}

fn set_weight(runtime: &Runtime, id: ServerId, word: Option<&str>) -> Answer {
    let word = word.filter(|word| !word.is_empty()).ok_or("Require <weight> or <weight%>.\n")?;
    let backend = backend_of(runtime, id);
    let (digits, is_relative) = match word.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let number: i64 = digits.parse().map_err(|_| "Trailing garbage in weight string")?;
    let initial = u64::from(config_of(runtime, id).weight);
    let weight = if is_relative {
        let percent = u64::try_from(number).map_err(|_| "Relative weight must be positive.\n")?;
        (initial * percent.min(25_600) / 100).min(u64::from(WEIGHT_MAX)) as u32
    } else {
        u32::try_from(number)
            .ok()
            .filter(|weight| *weight <= WEIGHT_MAX)
            .ok_or("Absolute weight can only be between 0 and 256 inclusive.\n")?
    };
    let balance = &backend.config.balance;
    let is_static = match balance.algorithm {
        Algorithm::StaticRr => true,
        Algorithm::Source | Algorithm::RdpCookie(_) => {
            balance.hash_type.method == HashMethod::MapBased
        }
        _ => false,
    };
    if is_static && weight != 0 && u64::from(weight) != initial {
        return Err(
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n"
                .into(),
        );
    }
    backend.set_weight(id.index, weight * WEIGHT_SCALE, runtime.clock.now());
    done()
}

/// `get weight <backend>/<server>`
pub fn get_weight(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let id = runtime.server(call.argument(0))?;
    let (_, weight) = backend_of(runtime, id).weights(id.index);
    Ok(format!("{weight} (initial {})\n", config_of(runtime, id).weight))
}

fn set_state(runtime: &Runtime, id: ServerId, word: Option<&str>) -> Answer {
    let admin = match word {
        Some("ready") => Admin::default(),
        Some("drain") => Admin { drain: true, maintenance: false },
        Some("maint") => Admin { drain: false, maintenance: true },
        _ => return Err("'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n".into()),
    };
    runtime.say(runtime.shared.administer(id, admin, runtime.clock.now()));
    done()
}

fn set_health(runtime: &Runtime, id: ServerId, word: Option<&str>) -> Answer {
    if config_of(runtime, id).track.is_some() {
        return Err("cannot change health on a tracking server.\n".into());
    }
    let operation = match word {
        Some("up") => Operation::Running,
        Some("stopping") => Operation::Stopping,
        Some("down") => Operation::Stopped,
        _ => return Err("'set server <srv> health' expects 'up', 'stopping', or 'down'.\n".into()),
    };
    runtime.say(runtime.shared.force(id, Checker::Health, operation, runtime.clock.now()));
    done()
}

fn set_agent(runtime: &Runtime, id: ServerId, word: Option<&str>) -> Answer {
    let is_enabled = config_of(runtime, id).agent.is_some()
        && backend_of(runtime, id).is_watched(id.index, Checker::Agent);
    if !is_enabled {
        return Err("agent checks are not enabled on this server.\n".into());
    }
    let operation = match word {
        Some("up") => Operation::Running,
        Some("down") => Operation::Stopped,
        _ => return Err("'set server <srv> agent' expects 'up' or 'down'.\n".into()),
    };
    runtime.say(runtime.shared.force(id, Checker::Agent, operation, runtime.clock.now()));
    done()
}

/// `addr <ip> [port <port>]`
fn set_address(runtime: &Runtime, id: ServerId, words: &[&str]) -> Answer {
    const EXPECTS: &str = "set server <b>/<s> addr requires an address and optionally a port.\n";
    let backend = backend_of(runtime, id);
    let server = config_of(runtime, id);
    let (word, rest) = words.split_first().ok_or(EXPECTS)?;
    let invalid = |_| format!("Invalid addr '{word}' by 'stats socket command'\n");
    let ip: IpAddr = word.parse().map_err(invalid)?;
    let port = match rest {
        [] => None,
        ["port", port] => {
            Some(port.parse::<u16>().map_err(|_| "provided port is not an integer.\n")?)
        }
        _ => return Err(EXPECTS.into()),
    };
    let is_loopback = ip.is_loopback();
    match server.carrier {
        Carrier::Unix(_) | Carrier::Fd(_) => {
            return Err("Cannot change the address of a server that is a UNIX socket.\n".into());
        }
        Carrier::Wire if is_loopback => {
            return Err(format!(
                "The server is on the wires, where {ip} is not: it is the kernel's own.\n"
            ));
        }
        Carrier::Wire | Carrier::Kernel => {}
    }
    let is_foreign = backend.config.source_of(server).is_some_and(|source| {
        !matches!(source.address, SourceAddress::Any | SourceAddress::Fixed(_))
    });
    if is_foreign {
        return Err("The server is connected to from addresses of others, and their replies are known by its \
                    address: change the configuration.\n"
            .into());
    }
    let configured = || server_address(server, None);
    let Some(before) = backend.moved_to(id.index).or_else(configured) else {
        return Err(
            "The server has the port that clients came to: change the configuration.\n".into()
        );
    };
    let after = SocketAddr::new(ip, port.unwrap_or(before.port()));
    let mut changes = Vec::new();
    if before.ip() == after.ip() {
        changes.push("no need to change the addr".to_string());
    } else {
        changes.push(format!("IP changed from '{}' to '{}'", before.ip(), after.ip()));
    }
    match port {
        Some(port) if port != before.port() => {
            changes.push(format!("port changed from '{}' to '{port}'", before.port()));
        }
        Some(_) => changes.push("no need to change the port".into()),
        None => {}
    }
    if before != after {
        backend.move_to(id.index, after);
        let name = format!("{}/{}", backend.config.name, server.name);
        let text =
            format!("{name} changed its address from {before} to {after} by stats socket command.");
        runtime.logger.say(id.proxy, crate::health::Loudness::Notice.level(), &text);
        crate::log::notice(format_args!("{text}"));
    }
    Ok(format!("{} by 'stats socket command'\n", changes.join(", ")))
}

/// `set maxconn server <backend>/<server> <value>`
pub fn set_maxconn(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let id = runtime.server(call.argument(0))?;
    let word = call.argument(1).ok_or("Require <maxconn>.\n")?;
    let garbage = "maxconn string empty or preceded by garbage";
    backend_of(runtime, id).set_maxconn(id.index, word.parse().map_err(|_| garbage)?);
    done()
}

/// What a form of the statistics page asks of a server, by HAProxy's words.
pub fn act(runtime: &Runtime, name: &str, action: &str) -> Result<(), String> {
    let id = runtime.server(Some(name))?;
    let done = match action {
        "ready" | "drain" | "maint" => set_state(runtime, id, Some(action)),
        "enable" => set_state(runtime, id, Some("ready")),
        "disable" => set_state(runtime, id, Some("maint")),
        "ehlth" => set_watched(runtime, id, Checker::Health, true),
        "dhlth" => set_watched(runtime, id, Checker::Health, false),
        "hrunn" => set_health(runtime, id, Some("up")),
        "hnolb" => set_health(runtime, id, Some("stopping")),
        "hdown" => set_health(runtime, id, Some("down")),
        "eagent" => set_watched(runtime, id, Checker::Agent, true),
        "dagent" => set_watched(runtime, id, Checker::Agent, false),
        "arunn" => set_agent(runtime, id, Some("up")),
        "adown" => set_agent(runtime, id, Some("down")),
        "shutdown" => {
            runtime.end_streams_of(id);
            done()
        }
        _ => return Err("No such action.\n".into()),
    };
    done.map(|_| ())
}

/// `disable server`
pub fn disable(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    set_state(runtime, runtime.server(call.argument(0))?, Some("maint"))
}

/// `enable server`
pub fn enable(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    set_state(runtime, runtime.server(call.argument(0))?, Some("ready"))
}

fn watch(call: &mut Call<'_, '_>, checker: Checker, is_watched: bool) -> Answer {
    let runtime = &*call.session.runtime;
    set_watched(runtime, runtime.server(call.argument(0))?, checker, is_watched)
}

fn set_watched(runtime: &Runtime, id: ServerId, checker: Checker, is_watched: bool) -> Answer {
    let server = config_of(runtime, id);
    let is_configured = match checker {
        Checker::Health => server.check.is_some(),
        Checker::Agent => server.agent.is_some(),
    };
    if !is_configured {
        return match (checker, is_watched) {
            (_, false) => done(),
            (Checker::Health, true) => {
                Err("Health check was not configured on this server, cannot enable.\n".into())
            }
            (Checker::Agent, true) => {
                Err("Agent was not configured on this server, cannot enable.\n".into())
            }
        };
    }
    backend_of(runtime, id).set_watched(id.index, checker, is_watched);
    done()
}

/// `disable health`
pub fn disable_health(call: &mut Call<'_, '_>) -> Answer {
    watch(call, Checker::Health, false)
}

/// `enable health`
pub fn enable_health(call: &mut Call<'_, '_>) -> Answer {
    watch(call, Checker::Health, true)
}

/// `disable agent`
pub fn disable_agent(call: &mut Call<'_, '_>) -> Answer {
    watch(call, Checker::Agent, false)
}

/// `enable agent`
pub fn enable_agent(call: &mut Call<'_, '_>) -> Answer {
    watch(call, Checker::Agent, true)
}

/// The backends that a command is about: the named one, or all.
fn wanted<'v>(
    runtime: &Runtime,
    view: &'v View,
    name: Option<&str>,
) -> Result<Vec<&'v ProxyView>, String> {
    let only: Option<ProxyIndex> = match name {
        Some(name) => Some(runtime.backend(name).ok_or("Can't find backend.\n")?),
        None => None,
    };
    let backends = view.shown().filter(|(index, proxy)| match only {
        Some(only) => only == *index,
        None => proxy.config.kind.is_backend() && !proxy.config.servers.is_empty(),
    });
    Ok(backends.map(|(_, proxy)| proxy).collect())
}

/// `show servers state [<backend>]`
pub fn show_state(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let view = runtime.view();
    let mut out = String::from(
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
         srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
         srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port \
         srv_check_addr srv_agent_addr srv_agent_port\n",
    );
    for proxy in wanted(runtime, &view, call.argument(0))? {
        for (place, server) in proxy.config.servers.placed() {
            state_line(&mut out, &view, proxy, server, &proxy.survey.servers[place]);
        }
    }
    Ok(out)
}

fn state_line(
    out: &mut String,
    view: &View,
    proxy: &ProxyView,
    server: &Server,
    survey: &ServerSurvey,
) {
    let is_maintained = survey.is_maintained();
    let operation = match survey.operation {
        _ if is_maintained => 0,
        Operation::Stopped => 0,
        Operation::Running if survey.warmth < 100 => 1,
        Operation::Running => 2,
        Operation::Stopping => 3,
    };
    // The bits of HAProxy's server states: forced, inherited and configured maintenance, forced and inherited drain.
    let bits = [
        (survey.own.maintenance, 1),
        (survey.inherited.maintenance, 2),
        (server.disabled && survey.own.maintenance, 4),
        (survey.own.drain, 8),
        (survey.inherited.drain, 16),
    ];
    let admin: u32 = bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum();
    let last = survey.history.last[Checker::Health as usize].as_ref();
    let (status, result) = last.map_or((1, 0), numbers);
    let [check, agent] = survey.counters;
    let health = match check {
        Some(check) => check.health,
        None if is_maintained => 0,
        // HAProxy's `rise` of a server that is not checked.
        None => 2,
    };
    let state = |is_configured: bool, is_watched: bool, is_paused: bool| {
        let bits = [(is_configured, 2), (is_configured && is_watched, 4), (is_paused, 8)];
        bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum::<u32>()
    };
    let (address, port) = match stat::address_of(server, survey).parse::<SocketAddr>() {
        Ok(at) => (at.ip().to_string(), at.port()),
        Err(_) => ("-".to_string(), 0),
    };
    let dash = |ip: Option<IpAddr>| ip.map_or("-".to_string(), |ip| ip.to_string());
    let of_check = server.check.as_ref();
    let of_agent = server.agent.as_ref();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} {} {} {} {address} {operation} {admin} {} {} {} {status} {result} {health} {} {} 0 0 - {port} - 0 {} {} {} {}",
        proxy.config.id,
        proxy.config.name,
        server.id,
        server.name,
        survey.weights.1,
        server.weight,
        view.now.since(survey.history.changed_at).as_secs(),
        state(check.is_some(), survey.is_watched[0], is_maintained),
        state(agent.is_some(), survey.is_watched[1], false),
        of_check.and_then(|check| check.port).unwrap_or(0),
        dash(of_check.and_then(|check| check.address)),
        dash(of_agent.and_then(|agent| agent.address)),
        of_agent.map_or(0, |agent| agent.port),
    );
}

/// HAProxy's numbers of a check's status and result.
fn numbers(outcome: &Outcome) -> (u32, u32) {
    let (failed, passed, conditionally) = (2, 3, 4);
    match outcome.status {
        CheckStatus::Hana => (3, failed),
        CheckStatus::SockErr => (4, failed),
        CheckStatus::L4Ok => (6, passed),
        CheckStatus::L4TimedOut => (7, failed),
        CheckStatus::L4Con => (8, failed),
        CheckStatus::L6Ok => (9, passed),
        CheckStatus::L6TimedOut => (10, failed),
        CheckStatus::L6Rsp => (11, failed),
        CheckStatus::L7TimedOut => (12, failed),
        CheckStatus::L7Rsp => (13, failed),
        CheckStatus::L7Ok => (15, passed),
        CheckStatus::L7OkConditional => (16, conditionally),
        CheckStatus::L7Status => (17, failed),
    }
}

/// `show servers conn [<backend>]`
pub fn show_connections(call: &mut Call<'_, '_>) -> Answer {
    let runtime = &*call.session.runtime;
    let view = runtime.view();
    let workers = runtime.workers.len();
    let mut out = format!(
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb \
         idle_lim idle_cur idle_per_thr[{workers}]\n"
    );
    for proxy in wanted(runtime, &view, call.argument(0))? {
        for (place, server) in proxy.config.servers.placed() {
            let (survey, counters) = (&proxy.survey.servers[place], &proxy.counters.servers[place]);
            let (address, port) = match stat::address_of(server, survey).parse::<SocketAddr>() {
                Ok(at) => (at.ip().to_string(), at.port()),
                Err(_) => ("-".to_string(), 0),
            };
            let idle = " 0".repeat(workers);
            let _ = writeln!(
                out,
                "{}/{} {}/{} {address} {port} - 5000 {} {} {} 0 0 -1 0{idle}",
                proxy.config.name,
                server.name,
                proxy.config.id,
                server.id,
                counters.current,
                survey.peaks.streams,
                survey.peaks.streams,
            );
        }
    }
    Ok(out)
}
