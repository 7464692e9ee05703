//! The statistics page: HAProxy's table, and above it cores and latencies.
//!
//! In:    figures, rows, reports
//! Out:   HTML without a program in it
//! Never: trusts a name: whatever comes from the configuration or a peer is escaped

use std::fmt::Write;

use super::info::{self, Figure};
use super::stat::{Column as C, Row, RowKind};
use super::view;
use crate::config::model::StatsPage;
use crate::worker::WorkerReport;

/// What is to be shown, and how.
pub struct Shown<'a> {
    /// `stats ...`
    pub stats: &'a StatsPage,
    /// The page reloads itself, if `stats refresh` says so.
    pub refreshes: bool,
    /// Servers that are down are left out.
    pub only_up: bool,
    /// Only proxies whose names contain this.
    pub scope: &'a str,
    /// What its forms have to tell, if it may change servers.
    pub token: Option<&'a str>,
    /// What has come of the last form.
    pub outcome: Option<&'a str>,
}

const STYLE: &str = "\
body{font-family:arial,helvetica,sans-serif;font-size:12px;margin:8px;background:#fff}\
h1{font-size:20px;margin:0;background:#10427b;color:#fff;padding:4px}h2{font-size:13px;margin:10px 0 2px}\
table{border-collapse:collapse;margin:4px 0}th,td{border:1px solid #ccc;padding:1px 4px;text-align:right;white-space:nowrap}\
th{background:#e0e0d8;text-align:center}td.n{text-align:left}\
tr.frontend{background:#ffffd0}tr.listener{background:#ffffe8}tr.backend{background:#e8e8d0;font-weight:bold}\
tr.up{background:#c0ffc0}tr.going_down{background:#ffffa0}tr.going_up{background:#ffd020}tr.down{background:#ff9090}\
tr.maint{background:#c07820}tr.drain{background:#20a0ff}tr.nolb{background:#20a0ff}tr.nocheck{background:#e0e0e0}\
.bar{background:#ddd;width:120px;height:9px;display:inline-block}.bar i{background:#1a7;height:9px;display:block}";

/// Makes text harmless in HTML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, char| {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
        out
    })
}

/// The page.
pub fn html(
    shown: &Shown<'_>,
    figures: &[Figure],
    rows: &[Row],
    reports: &[WorkerReport],
    node: &str,
) -> String {
    let stats = shown.stats;
    let figure = |name: &str| {
        figures
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.value.to_string())
            .unwrap_or_default()
    };
    let node = match &stats.node {
        None => String::new(),
        Some(name) => format!(" on {}", escaped(name.as_deref().unwrap_or(node))),
    };
    let version = if stats.hides_version {
        String::new()
    } else {
        format!(" {}", escaped(&figure("Version")))
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Statistics Report for xlb{node}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>xlb{version}: statistics report for pid {}{node}</h1>\n",
        figure("Pid")
    );
    if let Some(description) = &stats.description {
        line(&mut out, format_args!("<p><b>{}</b></p>", escaped(description)));
    }
    line(
        &mut out,
        format_args!(
            "<p>uptime = {}; workers = {}; maxconn = {}; current conns = {}; conn rate = {}/s; running tasks = {}/{}; \
             idle = {}%</p>",
            escaped(&figure("Uptime")),
            figure("Nbthread"),
            figure("Maxconn"),
            figure("CurrConns"),
            figure("ConnRate"),
            figure("Run_queue"),
            figure("Tasks"),
            figure("Idle_pct"),
        ),
    );
    cores(&mut out, reports);
    latencies(&mut out, reports);
    let uri = escaped(&stats.uri);
    line(
        &mut out,
        format_args!(
            "<p><a href=\"{uri}\">all</a> | <a href=\"{uri};up\">hide servers that are down</a> | <a href=\"{uri};norefresh\">no \
             refresh</a> | <a href=\"{uri};csv\">CSV</a> | <a href=\"{uri};json\">JSON</a></p>"
        ),
    );
    if let Some(outcome) = shown.outcome {
        let sentence = match outcome {
            "DONE" => "Action processed successfully.",
            "PART" => "Action partially processed. Some of the servers could not be changed.",
            "NONE" => "Nothing has changed.",
            "DENY" => "Action denied: it did not come from this page.",
            _ => "Action not processed because of invalid parameters.",
        };
        line(&mut out, format_args!("<p id=\"outcome\"><b>{sentence}</b></p>"));
    }
    if shown.only_up || !shown.scope.is_empty() {
        line(
            &mut out,
            format_args!(
                "<p>shown: {}{}</p>",
                if shown.only_up { "servers that are up " } else { "" },
                escaped(shown.scope)
            ),
        );
    }
    proxies(&mut out, shown, rows);
    out.push_str("</body></html>\n");
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn cores(out: &mut String, reports: &[WorkerReport]) {
    out.push_str("<h2>Cores</h2><table id=\"cores\"><tr><th>worker</th><th>core</th><th>busy</th><th>idle</th><th>spinning</th><th>streams</th><th>connections</th><th>handed in</th><th>queues</th></tr>\n");
    for one in reports {
        let busy = (100.0 - one.idle_pct).clamp(0.0, 100.0);
        let queues: Vec<String> = one
            .queues
            .iter()
            .map(|(name, mode, _)| format!("{} {}", escaped(name), escaped(mode)))
            .collect();
        line(
            out,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td><span class=\"bar\"><i style=\"width:{busy:.0}%\"></i></span></td><td>{:.0}%</td>\
                 <td>{:.0}%</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
                one.worker,
                one.core,
                one.idle_pct,
                one.spin_pct,
                one.streams[0],
                one.stack.connections.used,
                one.handed_in,
                queues.join(", ")
            ),
        );
    }
    line(out, format_args!("</table><p>idle of all workers: {:.0}%</p>", info::idle_pct(reports)));
}

fn latencies(out: &mut String, reports: &[WorkerReport]) {
    out.push_str("<h2>Latencies, microseconds</h2><table id=\"latencies\"><tr><th></th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n");
    let (streams, turns) = view::latencies(reports);
    for (name, latency) in streams.iter().chain([("turn", &turns)]) {
        let shares = [50.0, 90.0, 99.0, 99.9].map(|share| latency.percentile(share));
        let cells: String = shares.iter().map(|share| format!("<td>{share}</td>")).collect();
        line(
            out,
            format_args!(
                "<tr><td class=\"n\">{}</td><td>{}</td>{cells}<td>{}</td></tr>",
                name.replace('_', " "),
                latency.count(),
                latency.max()
            ),
        );
    }
    out.push_str("</table>\n");
}

/// The columns of the table: heads of several columns, and what stands under each.
const COLUMNS: &[(&str, &[(&str, C)])] = &[
    ("Queue", &[("Cur", C::qcur), ("Max", C::qmax), ("Limit", C::qlimit)]),
    ("Session rate", &[("Cur", C::rate), ("Max", C::rate_max), ("Limit", C::rate_lim)]),
    (
        "Sessions",
        &[
            ("Cur", C::scur),
            ("Max", C::smax),
            ("Limit", C::slim),
            ("Total", C::stot),
            ("LbTot", C::lbtot),
            ("Last", C::lastsess),
        ],
    ),
    ("Bytes", &[("In", C::bin), ("Out", C::bout)]),
    ("Denied", &[("Req", C::dreq), ("Resp", C::dresp)]),
    ("Errors", &[("Req", C::ereq), ("Conn", C::econ), ("Resp", C::eresp)]),
    ("Warnings", &[("Retr", C::wretr), ("Redis", C::wredis)]),
    (
        "Server",
        &[
            ("Status", C::status),
            ("LastChk", C::check_status),
            ("Wght", C::weight),
            ("Act", C::act),
            ("Bck", C::bck),
            ("Chk", C::chkfail),
            ("Dwn", C::chkdown),
            ("Dwntme", C::downtime),
            ("Thrtle", C::throttle),
        ],
    ),
];

/// What a form can ask for: HAProxy's words, and what they mean.
const ACTIONS: &[(&str, &str)] = &[
    ("ready", "Set state to READY"),
    ("drain", "Set state to DRAIN"),
    ("maint", "Set state to MAINT"),
    ("dhlth", "Health: disable checks"),
    ("ehlth", "Health: enable checks"),
    ("hrunn", "Health: force UP"),
    ("hnolb", "Health: force NOLB"),
    ("hdown", "Health: force DOWN"),
    ("dagent", "Agent: disable checks"),
    ("eagent", "Agent: enable checks"),
    ("arunn", "Agent: force UP"),
    ("adown", "Agent: force DOWN"),
    ("shutdown", "Kill Sessions"),
];

/// The end of a proxy's table, and of its form.
fn end_proxy(out: &mut String, proxy: &str, token: Option<&str>) {
    out.push_str("</table>\n");
    let Some(token) = token else { return };
    out.push_str(
        "<p>with the servers that are marked: <select name=\"action\"><option value=\"\"></option>",
    );
    for (word, meaning) in ACTIONS {
        let _ = write!(out, "<option value=\"{word}\">{meaning}</option>");
    }
    line(
        out,
        format_args!(
            "</select> <input type=\"hidden\" name=\"b\" value=\"{proxy}\"><input type=\"hidden\" name=\"token\" \
             value=\"{token}\"><input type=\"submit\" value=\"Apply\"></p></form>"
        ),
    );
}

fn proxies(out: &mut String, shown: &Shown<'_>, rows: &[Row]) {
    let mut current: Option<(u32, String, Option<&str>)> = None;
    for row in rows {
        if current.as_ref().map(|(proxy, ..)| *proxy) != Some(row.proxy) {
            if let Some((_, name, token)) = current.take() {
                end_proxy(out, &name, token);
            }
            let name = escaped(&row.text(C::pxname));
            let has_servers =
                rows.iter().any(|one| one.proxy == row.proxy && one.kind == RowKind::Server);
            let token = shown.token.filter(|_| has_servers);
            if token.is_some() {
                let uri = escaped(&shown.stats.uri);
                line(out, format_args!("<form method=\"post\" action=\"{uri}\">"));
            }
            current = Some((row.proxy, name.clone(), token));
            line(
                out,
                format_args!("<h2 id=\"{name}\">{name}</h2><table class=\"px\"><tr><th></th>"),
            );
            COLUMNS.iter().for_each(|(head, _)| line(out, format_args!("<th>{head}</th>")));
            out.push_str("</tr>\n");
        }
        let class = class_of(row);
        let name = escaped(&row.text(C::svname));
        let legend = if shown.stats.shows_legends {
            let address = escaped(&row.text(C::addr));
            format!(" title=\"{address} id {} {}\"", row.id, escaped(&row.text(C::check_desc)))
        } else {
            String::new()
        };
        let mark = match (row.kind, shown.token) {
            (RowKind::Server, Some(_)) => {
                format!("<input type=\"checkbox\" name=\"s\" value=\"{name}\"> ")
            }
            _ => String::new(),
        };
        line(out, format_args!("<tr class=\"{class}\"><td class=\"n\"{legend}>{mark}{name}</td>"));
        for (_, column) in COLUMNS.iter().flat_map(|(_, columns)| *columns) {
            let text = match column {
                C::lastsess => match row.text(C::lastsess).as_str() {
                    "" => String::new(),
                    "-1" => "?".into(),
                    seconds => format!("{seconds}s"),
                },
                C::check_status => {
                    let (status, time) = (row.text(C::check_status), row.text(C::check_duration));
                    if time.is_empty() { status } else { format!("{status} in {time}ms") }
                }
                column => row.text(*column),
            };
            let _ = write!(out, "<td>{}</td>", escaped(&text));
        }
        out.push_str("</tr>\n");
    }
    if let Some((_, name, token)) = current {
        end_proxy(out, &name, token);
    }
}

/// The colour of a row, by HAProxy's names.
fn class_of(row: &Row) -> &'static str {
    let status = row.text(C::status);
    match row.kind {
        RowKind::Frontend => "frontend",
        RowKind::Listener => "listener",
        RowKind::Backend => "backend",
        RowKind::Server => match status.split(' ').next().unwrap_or_default() {
            "UP" if status.contains('/') => "going_down",
            "UP" => "up",
            "DOWN" if status.contains('/') => "going_up",
            "DOWN" => "down",
            "MAINT" => "maint",
            "DRAIN" => "drain",
            "NOLB" => "nolb",
            _ => "nocheck",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_no_harm() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
