//! `show stat`: a row for each frontend, listener, server and backend.
//!
//! In:    what workers have counted, what backends are like
//! Out:   rows of HAProxy's columns, in its forms
//! Never: counts anything itself
//! Read:  HAProxy's management guide, "CSV format"; docs/management.md, "show stat"

use std::net::SocketAddr;

use super::typed::{self, Field, Owner, Tags, Value};
use super::view::{ProxyView, View};
use crate::backend::{ServerSurvey, Survey, server_address};
use crate::config::model::{Carrier, CheckStatus, Server, UnixAddress};
use crate::counters::{BackCounters, FrontCounters, Times};
use crate::health::{Checker, Operation, Outcome, description};
use crate::shared::FrontendState;

macro_rules! columns {
    ($($name:ident $tags:literal)*) => {
        /// A column of `show stat`, in HAProxy's order.
        #[allow(non_camel_case_types, missing_docs, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column { $($name),* }

        /// Names and natures of the columns.
        const COLUMNS: &[(&str, &str)] = &[$((stringify!($name), $tags)),*];
    };
}

columns! {
    pxname "KNSV" svname "KNSV" qcur "MGPV" qmax "MMPV" scur "MGPV" smax "MMPV" slim "CLPV" stot "MCPP" bin "MCPP"
    bout "MCPP" dreq "MCPP" dresp "MCPP" ereq "MCPP" econ "MCPP" eresp "MCPP" wretr "MCPP" wredis "MCPP"
    status "SGPV" weight "MaPV" act "SGPV" bck "SGPV" chkfail "MCPP" chkdown "MCPP" lastchg "MAPP"
    downtime "MCPV" qlimit "CGSV" pid "KGPV" iid "KGSV" sid "KGSV" throttle "MaPV" lbtot "MCPP" tracked "CNSV"
    r#type "CGSV" rate "MRPP" rate_lim "CLPV" rate_max "MMPV" check_status "MOPV" check_code "MOPV"
    check_duration "MDPV" hrsp_1xx "MCPP" hrsp_2xx "MCPP" hrsp_3xx "MCPP" hrsp_4xx "MCPP" hrsp_5xx "MCPP"
    hrsp_other "MCPP" hanafail "MCPP" req_rate "MRPP" req_rate_max "MMPV" req_tot "MCPP" cli_abrt "MCPP"
    srv_abrt "MCPP" comp_in "MCPP" comp_out "MCPP" comp_byp "MCPP" comp_rsp "MCPP" lastsess "MAPP"
    last_chk "MOPV" last_agt "MOPV" qtime "MaPV" ctime "MaPV" rtime "MaPV" ttime "MaPV" agent_status "MOPV"
    agent_code "MOPV" agent_duration "MDPV" check_desc "MOPV" agent_desc "MOPV" check_rise "CGSV"
    check_fall "CGSV" check_health "CGSV" agent_rise "CGSV" agent_fall "CGSV" agent_health "CGSV" addr "CGSV"
    cookie "CGSV" mode "CGSV" algo "CGSV" conn_rate "MRPP" conn_rate_max "MMPV" conn_tot "MCPP"
    intercepted "MCPP" dcon "MCPP" dses "MCPP" wrew "MCPP" connect "MCPP" reuse "MCPP" cache_lookups "MCPP"
    cache_hits "MCPP" srv_icur "MGPV" src_ilim "CLSV" qtime_max "MMPV" ctime_max "MMPV" rtime_max "MMPV"
    ttime_max "MMPV" eint "MCPP" idle_conn_cur "MGPV" safe_conn_cur "MGPV" used_conn_cur "MGPV"
    need_conn_est "MGPV" uweight "MaPV" agg_server_status "MGPV" agg_server_check_status "MGPV"
    agg_check_status "MGPV"
}

use Column as C;

/// What a row is of; the number is HAProxy's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A frontend.
    Frontend = 0,
    /// A backend.
    Backend = 1,
    /// A server.
    Server = 2,
    /// A listener.
    Listener = 3,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is of.
    pub kind: RowKind,
    /// The number of the proxy.
    pub proxy: u32,
    /// The number of the server or listener.
    pub id: u32,
    values: Vec<Option<Value>>,
}

impl Row {
    fn new(kind: RowKind, name: &str, proxy: u32, id: u32, proxy_name: &str) -> Self {
        let mut row = Row { kind, proxy, id, values: vec![None; COLUMNS.len()] };
        row.set(C::pxname, proxy_name);
        row.set(C::svname, name);
        row.set(C::pid, 1_u32);
        row.set(C::iid, proxy);
        row.set(C::sid, id);
        row.set(C::r#type, kind as u32);
        row.set(C::mode, "tcp");
        row
    }

    fn set(&mut self, column: Column, value: impl Into<Value>) {
        self.values[column as usize] = Some(value.into());
    }

    fn set_all(&mut self, columns: &[(Column, u64)]) {
        for (column, value) in columns {
            self.set(*column, *value);
        }
    }

    /// What stands in a column.
    pub fn get(&self, column: Column) -> Option<&Value> {
        self.values[column as usize].as_ref()
    }

    /// A number that stands in a column; 0 for nothing.
    pub fn number(&self, column: Column) -> f64 {
        match self.get(column) {
            Some(Value::U32(number)) => f64::from(*number),
            Some(Value::S32(number)) => f64::from(*number),
            Some(Value::U64(number)) => *number as f64,
            _ => 0.0,
        }
    }

    /// What a column says; nothing for nothing.
    pub fn text(&self, column: Column) -> String {
        self.get(column).map(Value::to_string).unwrap_or_default()
    }

    fn figures(&self) -> impl Iterator<Item = (Field<'static>, &Value)> {
        self.values.iter().enumerate().filter_map(|(position, value)| {
            let (name, tags) = COLUMNS[position];
            let name = name.trim_start_matches("r#");
            // Of a backend they are counts.
            let is_count = self.kind == RowKind::Backend && matches!(name, "act" | "bck");
            let tags = if is_count { "MGPV" } else { tags };
            Some((Field { position, name, tags: Tags(tags) }, value.as_ref()?))
        })
    }
}

/// What `show stat` is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Servers that are down are left out.
    pub only_up: bool,
    /// Servers in maintenance are left out.
    pub no_maint: bool,
    /// Only the proxy of this number.
    pub proxy: Option<u32>,
    /// Only rows of these kinds, a bit for each (1, 2, 4, 8 in HAProxy's order).
    pub kinds: Option<u32>,
    /// Only the server or listener of this number.
    pub id: Option<u32>,
}

impl Wish {
    fn wants(&self, row: &Row) -> bool {
        self.proxy.is_none_or(|proxy| proxy == row.proxy)
            && self.kinds.is_none_or(|kinds| kinds & (1 << row.kind as u32) != 0)
            && self.id.is_none_or(|id| id == row.id || !matches!(row.kind, RowKind::Server))
    }
}

/// All rows that are asked for, in the order of the configuration.
pub fn rows(view: &View, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, proxy) in view.shown() {
        if proxy.config.kind.is_frontend() {
            rows.push(frontend(proxy));
            if proxy.config.options.socket_stats {
                rows.extend(proxy.config.binds.placed().map(|(place, _)| listener(proxy, place)));
            }
        }
        if proxy.config.kind.is_backend() {
            let places = proxy.config.servers.placed().map(|(place, _)| place);
            let servers = places.filter(|&place| {
                let server = &proxy.survey.servers[place];
                let is_maintained = server.is_maintained();
                let is_down = server.operation == Operation::Stopped || is_maintained;
                !(is_maintained && wish.no_maint || is_down && wish.only_up)
            });
            rows.extend(servers.map(|place| server(view, proxy, place)));
            rows.push(backend(view, proxy, wish));
        }
    }
    rows.retain(|row| wish.wants(row));
    rows
}

/// The names of the columns, as the first line of CSV has them.
fn header() -> String {
    let names = COLUMNS.iter().map(|(name, _)| name.trim_start_matches("r#"));
    // HAProxy separates the columns of its modules by a dash; here there are none.
    format!("# {},-,\n", names.collect::<Vec<_>>().join(","))
}

/// Rows as CSV.
pub fn csv(rows: &[Row]) -> String {
    rows.iter().fold(header(), |mut out, row| {
        for value in &row.values {
            if let Some(value) = value {
                typed::csv_value(&mut out, value);
            }
            out.push(',');
        }
        out.push_str("-,\n");
        out
    })
}

/// Rows as typed lines: `F.2.0.4.scur.1:MGPV:u32:0`, rows apart by an empty line.
pub fn typed(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let letter = match row.kind {
            RowKind::Frontend => 'F',
            RowKind::Backend => 'B',
            RowKind::Server => 'S',
            RowKind::Listener => 'L',
        };
        let prefix = format!("{letter}.{}.{}.", row.proxy, row.id);
        for (field, value) in row.figures() {
            typed::typed_line(&mut out, &prefix, field, value);
        }
        out.push('\n');
    }
    out
}

/// Rows as a JSON array of arrays.
pub fn json(rows: &[Row]) -> String {
    let kind = |row: &Row| match row.kind {
        RowKind::Frontend => "Frontend",
        RowKind::Backend => "Backend",
        RowKind::Server => "Server",
        RowKind::Listener => "Listener",
    };
    let all: Vec<String> = rows
        .iter()
        .map(|row| {
            let owner = Owner { kind: kind(row), proxy: row.proxy, id: row.id };
            typed::json(Some(owner), row.figures())
        })
        .collect();
    format!("[{}]\n", all.join(","))
}

fn front_counters(row: &mut Row, counters: &FrontCounters) {
    row.set_all(&[
        (C::stot, counters.sessions),
        (C::bin, counters.bytes_in),
        (C::bout, counters.bytes_out),
        (C::dreq, counters.denied_requests),
        (C::dresp, counters.denied_responses),
        (C::ereq, counters.failed_requests),
        (C::dcon, counters.denied_connections),
        (C::dses, counters.denied_sessions),
        (C::wrew, 0),
        (C::eint, 0),
    ]);
}

fn frontend(proxy: &ProxyView) -> Row {
    let config = &proxy.config;
    let mut row = Row::new(RowKind::Frontend, "FRONTEND", config.id, 0, &config.name);
    if config.service.is_some() {
        row.set(C::mode, "http");
    }
    let front = &proxy.front;
    row.set(C::scur, front.current);
    row.set(C::smax, front.peak);
    row.set(C::slim, front.maxconn);
    front_counters(&mut row, &proxy.counters.frontend);
    let status = match front.state {
        FrontendState::Open => "OPEN",
        FrontendState::Paused => "PAUSED",
        FrontendState::Stopped => "STOP",
    };
    row.set(C::status, if config.disabled { "STOP" } else { status });
    row.set(C::rate, front.session_rate.0);
    row.set(C::rate_max, front.session_rate.1);
    row.set(C::rate_lim, front.session_limit);
    row.set(C::conn_rate, front.connection_rate.0);
    row.set(C::conn_rate_max, front.connection_rate.1);
    row.set(C::conn_tot, proxy.counters.frontend.connections);
    row.set(C::req_rate, 0_u32);
    row.set(C::req_rate_max, 0_u32);
    row.set_all(&[(C::req_tot, 0)]);
    no_compression(&mut row);
    row
}

fn no_compression(row: &mut Row) {
    row.set_all(&[(C::comp_in, 0), (C::comp_out, 0), (C::comp_byp, 0), (C::comp_rsp, 0)]);
}

fn listener(proxy: &ProxyView, place: usize) -> Row {
    let (config, bind) = (&proxy.config, &proxy.config.binds[place]);
    let name = bind.name.clone().unwrap_or_else(|| format!("sock-{}", bind.id));
    let mut row = Row::new(RowKind::Listener, &name, config.id, bind.id, &config.name);
    let listener = &proxy.listeners[place];
    row.set(C::scur, listener.current);
    row.set(C::smax, listener.peak);
    row.set(C::slim, listener.maxconn);
    front_counters(&mut row, &proxy.counters.listeners[place]);
    let status = match proxy.front.state {
        FrontendState::Stopped => "STOP",
        FrontendState::Paused => "WAITING",
        FrontendState::Open if listener.current >= listener.maxconn => "FULL",
        FrontendState::Open => "OPEN",
    };
    row.set(C::status, status);
    let address = match (&bind.carrier, bind.address) {
        (Carrier::Unix(_), _) => "unix".to_string(),
        (_, Some(ip)) => SocketAddr::new(ip, bind.port).to_string(),
        (_, None) if bind.families == crate::config::model::Families::V4 => {
            format!("0.0.0.0:{}", bind.port)
        }
        (_, None) => format!("[::]:{}", bind.port),
    };
    row.set(C::addr, address);
    row
}

fn back_counters(row: &mut Row, view: &View, counters: &BackCounters) {
    row.set_all(&[
        (C::stot, counters.sessions),
        (C::bin, counters.bytes_in),
        (C::bout, counters.bytes_out),
        (C::dresp, counters.denied_responses),
        (C::econ, counters.failed_connections),
        (C::eresp, 0),
        (C::wretr, counters.retries),
        (C::wredis, counters.redispatched),
        (C::lbtot, counters.chosen),
        (C::cli_abrt, counters.client_aborts),
        (C::srv_abrt, counters.server_aborts),
        (C::wrew, 0),
        (C::reuse, 0),
        (C::eint, 0),
    ]);
    let since = counters.last_at.map(|at| view.now.since(at).as_secs() as i32);
    row.set(C::lastsess, Value::S32(since.unwrap_or(-1)));
    let times = |times: &Times| times.average() as u32;
    row.set(C::qtime, times(&counters.queue_ms));
    row.set(C::ctime, times(&counters.connect_ms));
    row.set(C::rtime, 0_u32);
    row.set(C::ttime, times(&counters.total_ms));
    row.set(C::qtime_max, counters.queue_ms.max as u32);
    row.set(C::ctime_max, counters.connect_ms.max as u32);
    row.set(C::rtime_max, 0_u32);
    row.set(C::ttime_max, counters.total_ms.max as u32);
}

fn server(view: &View, proxy: &ProxyView, place: usize) -> Row {
    let (config, server) = (&proxy.config, &proxy.config.servers[place]);
    let (survey, counters) = (&proxy.survey.servers[place], &proxy.counters.servers[place]);
    let mut row = Row::new(RowKind::Server, &server.name, config.id, server.id, &config.name);
    row.set(C::qcur, survey.queued);
    row.set(C::qmax, survey.peaks.queued);
    row.set(C::scur, survey.served);
    row.set(C::smax, survey.peaks.streams);
    if survey.maxconn > 0 {
        row.set(C::slim, survey.maxconn);
    }
    back_counters(&mut row, view, counters);
    row.set(C::connect, counters.sessions);
    row.set(C::status, status(view, proxy, place));
    row.set(C::weight, survey.weights.0);
    row.set(C::uweight, survey.weights.1);
    row.set(C::act, u32::from(!server.backup));
    row.set(C::bck, u32::from(server.backup));
    row.set(C::lastchg, view.now.since(survey.history.changed_at).as_secs() as u32);
    if server.maxqueue > 0 {
        row.set(C::qlimit, server.maxqueue);
    }
    if survey.warmth < 100 && survey.operation == Operation::Running {
        row.set(C::throttle, survey.warmth);
    }
    if let Some(tracked) = server.track {
        let backend = &view.proxies[tracked.proxy.0].config;
        row.set(C::tracked, format!("{}/{}", backend.name, backend.servers[tracked.index].name));
    }
    row.set(C::rate, survey.rate.0);
    row.set(C::rate_max, survey.rate.1);
    checks(&mut row, survey);
    row.set(C::addr, address_of(server, survey));
    for column in [C::srv_icur, C::idle_conn_cur, C::safe_conn_cur] {
        row.set(column, 0_u32);
    }
    row.set(C::used_conn_cur, counters.current as u32);
    row.set(C::need_conn_est, survey.peaks.streams);
    row
}

/// Where new connections to a server go.
pub fn address_of(server: &Server, survey: &ServerSurvey) -> String {
    match &server.carrier {
        Carrier::Unix(UnixAddress::Path(_) | UnixAddress::Abstract { .. }) => "unix".to_string(),
        _ => {
            let configured = server_address(server, None);
            let fallback = SocketAddr::new(server.address, 0);
            survey.moved_to.or(configured).unwrap_or(fallback).to_string()
        }
    }
}

fn checks(row: &mut Row, survey: &ServerSurvey) {
    if let Some(counter) = survey.counters[Checker::Health as usize]
        && survey.is_watched[Checker::Health as usize]
    {
        let last = survey.history.last[Checker::Health as usize].as_ref();
        row.set(C::chkfail, counter.failures);
        row.set(C::chkdown, survey.history.falls);
        row.set(C::downtime, survey.down_for.as_secs() as u32);
        let columns =
            [C::check_status, C::check_code, C::check_duration, C::check_desc, C::last_chk];
        outcome(row, columns, last);
        row.set(C::check_rise, counter.rise);
        row.set(C::check_fall, counter.fall);
        row.set(C::check_health, counter.health);
    }
    if let Some(counter) = survey.counters[Checker::Agent as usize]
        && survey.is_watched[Checker::Agent as usize]
    {
        let last = survey.history.last[Checker::Agent as usize].as_ref();
        let columns =
            [C::agent_status, C::agent_code, C::agent_duration, C::agent_desc, C::last_agt];
        outcome(row, columns, last);
        row.set(C::agent_rise, counter.rise);
        row.set(C::agent_fall, counter.fall);
        row.set(C::agent_health, counter.health);
    }
}

/// What a check has found, in five columns.
fn outcome(row: &mut Row, columns: [Column; 5], last: Option<&Outcome>) {
    let [in_status, in_code, in_duration, in_desc, in_info] = columns;
    let Some(last) = last else {
        row.set(in_status, "INI");
        row.set(in_desc, "Initializing");
        return;
    };
    row.set(in_status, last.status.code());
    row.set(in_desc, description(last.status));
    let has_code = matches!(
        last.status,
        CheckStatus::L7Ok | CheckStatus::L7OkConditional | CheckStatus::L7Status
    );
    if has_code {
        row.set(in_code, last.code);
    }
    if let Some(time) = last.duration {
        row.set(in_duration, time.as_millis() as u64);
    }
    row.set(in_info, last.info.as_str());
}

/// The state of a server in HAProxy's words.
fn status(view: &View, proxy: &ProxyView, place: usize) -> String {
    let survey = &proxy.survey.servers[place];
    if survey.inherited.maintenance
        && let Some(tracked) = proxy.config.servers[place].track
    {
        let backend = &view.proxies[tracked.proxy.0].config;
        return format!("MAINT (via {}/{})", backend.name, backend.servers[tracked.index].name);
    }
    if survey.own.maintenance {
        return "MAINT".into();
    }
    // Who tracks another is as that one is.
    let mut root = (proxy, place);
    while let Some(tracked) = root.0.config.servers[root.1].track {
        root = (&view.proxies[tracked.proxy.0], tracked.index);
    }
    let of_root = &root.0.survey.servers[root.1];
    let [check, agent] = [Checker::Health, Checker::Agent].map(|checker| {
        of_root.counters[checker as usize].filter(|_| of_root.is_watched[checker as usize])
    });
    let upper = |counter: crate::health::Counter| {
        format!("{}/{}", (counter.health + 1).saturating_sub(counter.rise), counter.fall)
    };
    let falling = check.filter(|counter| counter.health < counter.rise + counter.fall - 1);
    match survey.operation {
        Operation::Running if survey.own.drain || survey.inherited.drain => match falling {
            _ if agent.is_some() => "DRAIN (agent)".into(),
            Some(counter) => format!("DRAIN {}", upper(counter)),
            None => "DRAIN".into(),
        },
        Operation::Running => match (falling, check) {
            (Some(counter), _) => format!("UP {}", upper(counter)),
            (None, Some(_)) => "UP".into(),
            (None, None) => "no check".into(),
        },
        Operation::Stopping => match falling {
            Some(counter) => format!("NOLB {}", upper(counter)),
            None => "NOLB".into(),
        },
        Operation::Stopped => match (agent, check) {
            (Some(agent), _) if agent.health == 0 => "DOWN (agent)".into(),
            (_, Some(check)) if check.health > 0 => format!("DOWN {}/{}", check.health, check.rise),
            _ => "DOWN".into(),
        },
    }
}

fn backend(view: &View, proxy: &ProxyView, wish: &Wish) -> Row {
    let config = &proxy.config;
    let mut row = Row::new(RowKind::Backend, "BACKEND", config.id, 0, &config.name);
    let Survey { streams, queued, peaks, fullconn, usable, weight, standing, rate, .. } =
        &proxy.survey;
    row.set(C::qcur, *queued);
    row.set(C::qmax, peaks.queued);
    row.set(C::scur, *streams);
    row.set(C::smax, peaks.streams);
    row.set(C::slim, *fullconn);
    back_counters(&mut row, view, &proxy.counters.backend);
    row.set(C::dreq, proxy.counters.backend.denied_requests);
    let places = || config.servers.placed().map(|(place, _)| place);
    let connects: u64 = places().map(|place| proxy.counters.servers[place].sessions).sum();
    row.set(C::connect, connects);
    let is_up = *weight > 0 || config.servers.is_empty();
    let word = if is_up { "UP" } else { "DOWN" };
    let shown = if wish.only_up || wish.no_maint {
        let running = places().map(|place| &proxy.survey.servers[place]);
        let running = running
            .filter(|server| server.operation == Operation::Running && !server.is_maintained());
        format!("{word} ({}/{})", running.count(), config.servers.len())
    } else {
        word.to_string()
    };
    row.set(C::status, shown);
    row.set(C::weight, *weight);
    row.set(C::uweight, *weight);
    row.set(C::act, usable.0);
    row.set(C::bck, usable.1);
    row.set(C::chkdown, standing.falls);
    row.set(C::lastchg, view.now.since(standing.changed_at).as_secs() as u32);
    let down_for = proxy.survey.down_for.as_secs() as u32;
    row.set(C::downtime, if config.servers.is_empty() { 0 } else { down_for });
    row.set(C::rate, rate.0);
    row.set(C::rate_max, rate.1);
    row.set(C::algo, config.balance.algorithm.name());
    no_compression(&mut row);
    for column in [C::agg_server_status, C::agg_server_check_status, C::agg_check_status] {
        row.set(column, 0_u32);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_where_haproxy_has_them() {
        let places = [
            (C::svname, 1),
            (C::status, 17),
            (C::r#type, 32),
            (C::check_status, 36),
            (C::lastsess, 55),
            (C::addr, 73),
            (C::conn_tot, 79),
            (C::ttime_max, 93),
            (C::agg_check_status, 102),
        ];
        for (column, place) in places {
            assert_eq!(column as usize, place, "{column:?}");
        }
        assert!(header().starts_with("# pxname,svname,qcur,"), "{}", header());
        assert!(header().contains(",tracked,type,rate,"), "{}", header());
    }
}
