//! What an expression can begin with.
//!
//! In:    a name with its arguments
//! Out:   a [`Fetch`], and the kind of value that it finds
//! Never: finds a value

use super::super::model::{
    Fetch, Kind, LvStart, Part, ProxyFact, ProxyName, ServerFact, ServerName, TimeoutOf, TlsFact,
    Value, Way, Whose,
};
use super::super::nearest::suggestion;
use super::super::parser::Context;
use super::super::report::Fault;
use super::Call;

/// Every fetch of layer 4 that is known, for suggestions.
const NAMES: &[&str] = &[
    "act_conn",
    "always_false",
    "always_true",
    "avg_queue",
    "bc_dst",
    "bc_dst_port",
    "bc_src",
    "bc_src_port",
    "be_conn",
    "be_conn_free",
    "be_id",
    "be_name",
    "be_server_timeout",
    "be_sess_rate",
    "be_tunnel_timeout",
    "bin",
    "bool",
    "connslots",
    "dst",
    "dst_conn",
    "dst_is_local",
    "dst_port",
    "env",
    "fc_dst",
    "fc_dst_is_local",
    "fc_dst_port",
    "fc_rcvd_proxy",
    "fc_src",
    "fc_src_is_local",
    "fc_src_port",
    "fe_client_timeout",
    "fe_conn",
    "fe_defbe",
    "fe_id",
    "fe_name",
    "fe_sess_rate",
    "int",
    "ipv4",
    "ipv6",
    "nbsrv",
    "nbthread",
    "payload",
    "payload_lv",
    "prio_class",
    "prio_offset",
    "proc",
    "queue",
    "rand",
    "rdp_cookie",
    "rdp_cookie_cnt",
    "rep_ssl_hello_type",
    "req.len",
    "req.payload",
    "req.payload_lv",
    "req.rdp_cookie",
    "req.rdp_cookie_cnt",
    "req.ssl_alpn",
    "req.ssl_ec_ext",
    "req.ssl_hello_type",
    "req.ssl_sni",
    "req.ssl_ver",
    "req_len",
    "req_rdp_cookie",
    "req_rdp_cookie_cnt",
    "req_ssl_hello_type",
    "req_ssl_sni",
    "req_ssl_ver",
    "res.len",
    "res.payload",
    "res.payload_lv",
    "res.ssl_hello_type",
    "so_id",
    "so_name",
    "src",
    "src_is_local",
    "src_port",
    "srv_conn",
    "srv_conn_free",
    "srv_id",
    "srv_is_up",
    "srv_iweight",
    "srv_name",
    "srv_queue",
    "srv_sess_rate",
    "srv_uweight",
    "srv_weight",
    "stopping",
    "str",
    "thread",
    "var",
    "wait_end",
];

/// Beginnings of fetches that look at HTTP, at TLS that is ended here, or at tables.
const LATER: &[(&str, &str)] = &[
    ("base", "'mode http'"),
    ("capture.", "'mode http'"),
    ("cook", "'mode http'"),
    ("hdr", "'mode http'"),
    ("http_", "'mode http'"),
    ("method", "'mode http'"),
    ("path", "'mode http'"),
    ("req.body", "'mode http'"),
    ("req.cook", "'mode http'"),
    ("req.fhdr", "'mode http'"),
    ("req.hdr", "'mode http'"),
    ("req.ver", "'mode http'"),
    ("req_proto_http", "'mode http'"),
    ("req_ver", "'mode http'"),
    ("res.cook", "'mode http'"),
    ("res.hdr", "'mode http'"),
    ("res.ver", "'mode http'"),
    ("resp_ver", "'mode http'"),
    ("scook", "'mode http'"),
    ("shdr", "'mode http'"),
    ("status", "'mode http'"),
    ("unique-id", "'mode http'"),
    ("url", "'mode http'"),
    ("query", "'mode http'"),
    ("ssl_bc", "TLS"),
    ("ssl_c_", "TLS"),
    ("ssl_f_", "TLS"),
    ("ssl_fc", "TLS"),
    ("ssl_s_", "TLS"),
    ("sc0_", "stick tables"),
    ("sc1_", "stick tables"),
    ("sc2_", "stick tables"),
    ("sc_", "stick tables"),
    ("src_", "stick tables"),
    ("table_", "stick tables"),
];

/// Names that are an ACL with a method of matching of its own: the fetch, and the method.
pub(in super::super) fn acl_alias(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "payload" => ("req.payload", "bin"),
        "payload_lv" => ("req.payload_lv", "bin"),
        "req.ssl_ver" | "req_ssl_ver" => ("req.ssl_ver", "int"),
        "req_rdp_cookie" => ("req.rdp_cookie", "str"),
        "req_rdp_cookie_cnt" => ("req.rdp_cookie_cnt", "int"),
        "req_ssl_sni" => ("req.ssl_sni", "str"),
        _ => return None,
    })
}

/// Reads a fetch.
pub(super) fn fetch(call: &Call<'_>, context: &Context<'_>) -> Result<(Fetch, Kind), Fault> {
    if let Some(found) = plain(call.name) {
        call.count(0, 0)?;
        return Ok(found);
    }
    if let Some(found) = of_proxy(call)? {
        return Ok((found, Kind::Int));
    }
    if let Some(found) = of_server(call)? {
        return Ok(found);
    }
    if let Some(found) = of_bytes(call)? {
        return Ok(found);
    }
    if let Some(found) = constant(call, context)? {
        return Ok((Fetch::Constant(found.0), found.1));
    }
    if call.name == "var" {
        call.count(1, 1)?;
        return Ok((Fetch::Variable(super::variable(&call.arguments[0])?), Kind::Any));
    }
    if call.name == "rand" {
        call.count(0, 1)?;
        let below = call.integer(0, 1, i64::from(i32::MAX))?.unwrap_or(1 << 32);
        return Ok((Fetch::Random(below as u64), Kind::Int));
    }
    Err(unknown(call.name))
}

fn unknown(name: &str) -> Fault {
    let needs = LATER.iter().find(|(beginning, _)| name.starts_with(beginning));
    let near = suggestion(name, NAMES.iter().copied());
    match needs {
        Some((_, what)) if near.is_empty() => {
            format!("fetch method '{name}' needs {what}, which xlb does not have yet.").into()
        }
        _ => format!("unknown fetch method '{name}'{near}").into(),
    }
}

/// Those without arguments.
fn plain(name: &str) -> Option<(Fetch, Kind)> {
    use Kind::{Bool, Int, Ip, Text};
    let constant = |value| Fetch::Constant(Value::Bool(value));
    Some(match name {
        "always_true" => (constant(true), Bool),
        "always_false" => (constant(false), Bool),
        "act_conn" => (Fetch::ActiveConns, Int),
        "src" => (Fetch::Address(Whose::Source), Ip),
        "dst" => (Fetch::Address(Whose::Destination), Ip),
        "fc_src" => (Fetch::Address(Whose::FrontSource), Ip),
        "fc_dst" => (Fetch::Address(Whose::FrontDestination), Ip),
        "bc_src" => (Fetch::Address(Whose::BackSource), Ip),
        "bc_dst" => (Fetch::Address(Whose::BackDestination), Ip),
        "src_port" => (Fetch::Port(Whose::Source), Int),
        "dst_port" => (Fetch::Port(Whose::Destination), Int),
        "fc_src_port" => (Fetch::Port(Whose::FrontSource), Int),
        "fc_dst_port" => (Fetch::Port(Whose::FrontDestination), Int),
        "bc_src_port" => (Fetch::Port(Whose::BackSource), Int),
        "bc_dst_port" => (Fetch::Port(Whose::BackDestination), Int),
        "src_is_local" => (Fetch::IsLocal(Whose::Source), Bool),
        "dst_is_local" => (Fetch::IsLocal(Whose::Destination), Bool),
        "fc_src_is_local" => (Fetch::IsLocal(Whose::FrontSource), Bool),
        "fc_dst_is_local" => (Fetch::IsLocal(Whose::FrontDestination), Bool),
        "fe_id" => (Fetch::Id(Part::Frontend), Int),
        "be_id" => (Fetch::Id(Part::Backend), Int),
        "so_id" => (Fetch::Id(Part::Listener), Int),
        "srv_id" => (Fetch::Id(Part::Server), Int),
        "fe_name" => (Fetch::Name(Part::Frontend), Text),
        "be_name" => (Fetch::Name(Part::Backend), Text),
        "so_name" => (Fetch::Name(Part::Listener), Text),
        "srv_name" => (Fetch::Name(Part::Server), Text),
        "fe_defbe" => (Fetch::Name(Part::DefaultBackend), Text),
        "dst_conn" => (Fetch::ListenerConns, Int),
        "prio_class" => (Fetch::PriorityClass, Int),
        "prio_offset" => (Fetch::PriorityOffset, Int),
        "fe_client_timeout" => (Fetch::Timeout(TimeoutOf::Client), Int),
        "be_server_timeout" => (Fetch::Timeout(TimeoutOf::Server), Int),
        "be_tunnel_timeout" => (Fetch::Timeout(TimeoutOf::Tunnel), Int),
        "thread" => (Fetch::Thread, Int),
        "nbthread" => (Fetch::Threads, Int),
        // One process does everything.
        "proc" => (Fetch::Constant(Value::Int(1)), Int),
        "stopping" => (Fetch::Stopping, Bool),
        "wait_end" => (Fetch::WaitEnd, Bool),
        "fc_rcvd_proxy" => (Fetch::ReceivedProxy, Bool),
        "req.len" | "req_len" => (Fetch::Len(Way::Request), Int),
        "res.len" => (Fetch::Len(Way::Response), Int),
        "req.ssl_hello_type" | "req_ssl_hello_type" => {
            (Fetch::Tls(Way::Request, TlsFact::HelloType), Int)
        }
        "res.ssl_hello_type" | "rep_ssl_hello_type" => {
            (Fetch::Tls(Way::Response, TlsFact::HelloType), Int)
        }
        "req.ssl_ver" | "req_ssl_ver" => (Fetch::Tls(Way::Request, TlsFact::Version), Int),
        "req.ssl_sni" | "req_ssl_sni" => (Fetch::Tls(Way::Request, TlsFact::Sni), Text),
        "req.ssl_alpn" => (Fetch::Tls(Way::Request, TlsFact::Alpn), Text),
        "req.ssl_ec_ext" => (Fetch::Tls(Way::Request, TlsFact::Groups), Bool),
        _ => return None,
    })
}

/// Facts of a proxy: the named one, or the one at hand.
fn of_proxy(call: &Call<'_>) -> Result<Option<Fetch>, Fault> {
    let fact = match call.name {
        "fe_conn" => ProxyFact::FrontendConns,
        "fe_sess_rate" => ProxyFact::FrontendRate,
        "be_conn" => ProxyFact::BackendConns,
        "be_conn_free" => ProxyFact::FreeConns,
        "be_sess_rate" => ProxyFact::BackendRate,
        "connslots" => ProxyFact::ConnSlots,
        "queue" => ProxyFact::Queue,
        "avg_queue" => ProxyFact::AverageQueue,
        "nbsrv" => ProxyFact::UsableServers,
        _ => return Ok(None),
    };
    call.count(0, 1)?;
    let name = call.argument(0).filter(|name| !name.is_empty());
    let name = name.map(|name| ProxyName { name: name.into(), index: None });
    Ok(Some(Fetch::Proxy(fact, name)))
}

fn of_server(call: &Call<'_>) -> Result<Option<(Fetch, Kind)>, Fault> {
    let (fact, kind) = match call.name {
        "srv_conn" => (ServerFact::Conns, Kind::Int),
        "srv_conn_free" => (ServerFact::FreeConns, Kind::Int),
        "srv_is_up" => (ServerFact::IsUp, Kind::Bool),
        "srv_queue" => (ServerFact::Queue, Kind::Int),
        "srv_sess_rate" => (ServerFact::Rate, Kind::Int),
        "srv_weight" => (ServerFact::Weight, Kind::Int),
        "srv_iweight" => (ServerFact::InitialWeight, Kind::Int),
        "srv_uweight" => (ServerFact::UserWeight, Kind::Int),
        _ => return Ok(None),
    };
    call.count(1, 1)?;
    let name = ServerName { name: call.arguments[0].as_str().into(), id: None };
    Ok(Some((Fetch::Server(fact, name), kind)))
}

/// What the bytes of a connection say, at places that arguments tell.
fn of_bytes(call: &Call<'_>) -> Result<Option<(Fetch, Kind)>, Fault> {
    let way = |name: &str| match name.split('.').next() {
        Some("req") => Way::Request,
        Some("res") => Way::Response,
        _ => Way::OfRule,
    };
    let way = way(call.name);
    let size = |index, name: &str| match call.integer(index, 0, i64::from(i32::MAX))? {
        Some(number) => Ok(usize::try_from(number).expect("in range")),
        None => Err(call.fault(&format!("missing {name}."))),
    };
    match call.name {
        "payload" | "req.payload" | "res.payload" => {
            call.count(2, 2)?;
            let (offset, len) = (size(0, "offset")?, size(1, "length")?);
            Ok(Some((Fetch::Payload { way, offset, len }, Kind::Bytes)))
        }
        "payload_lv" | "req.payload_lv" | "res.payload_lv" => {
            call.count(2, 3)?;
            let (offset, len) = (size(0, "offset of the length")?, size(1, "size of the length")?);
            if len == 0 || len > 8 {
                return Err(call.fault("the length has 1 to 8 bytes."));
            }
            let from = match call.argument(2).filter(|text| !text.is_empty()) {
                None => LvStart::BehindNumber(0),
                Some(text) => {
                    let number = call
                        .integer(2, i64::from(i32::MIN), i64::from(i32::MAX))?
                        .expect("it is there");
                    // A sign says that it counts from the end of the number.
                    match text.starts_with(['+', '-']) {
                        true => LvStart::BehindNumber(number),
                        false => LvStart::At(usize::try_from(number).expect("it has no sign")),
                    }
                }
            };
            Ok(Some((Fetch::PayloadLv { way, offset, size: len, from }, Kind::Bytes)))
        }
        "rdp_cookie" | "req.rdp_cookie" | "req_rdp_cookie" => {
            call.count(0, 1)?;
            Ok(Some((Fetch::RdpCookie(call.argument(0).map(Into::into)), Kind::Text)))
        }
        "rdp_cookie_cnt" | "req.rdp_cookie_cnt" | "req_rdp_cookie_cnt" => {
            call.count(0, 1)?;
            Ok(Some((Fetch::RdpCookieCount(call.argument(0).map(Into::into)), Kind::Int)))
        }
        _ => Ok(None),
    }
}

/// What is known before any connection.
fn constant(call: &Call<'_>, context: &Context<'_>) -> Result<Option<(Value, Kind)>, Fault> {
    if !matches!(call.name, "bool" | "int" | "str" | "bin" | "ipv4" | "ipv6" | "env") {
        return Ok(None);
    }
    call.count(1, 1)?;
    let text = call.arguments[0].as_str();
    let is_no = |what: &str| call.fault(&format!("'{text}' is no {what}."));
    let found = match call.name {
        "bool" => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => (Value::Bool(true), Kind::Bool),
            "false" | "0" | "no" | "off" => (Value::Bool(false), Kind::Bool),
            _ => return Err(is_no("boolean: 'true' or 'false'")),
        },
        "int" => (Value::Int(text.parse().map_err(|_| is_no("number"))?), Kind::Int),
        "str" => (Value::Text(text.into()), Kind::Text),
        "bin" => {
            let bytes = super::super::checks::binary(text)?;
            (Value::Bytes(bytes.to_vec()), Kind::Bytes)
        }
        "ipv4" => {
            let ip: std::net::Ipv4Addr = text.parse().map_err(|_| is_no("IPv4 address"))?;
            (Value::Ip(ip.into()), Kind::Ip)
        }
        "ipv6" => {
            let ip: std::net::Ipv6Addr = text.parse().map_err(|_| is_no("IPv6 address"))?;
            (Value::Ip(ip.into()), Kind::Ip)
        }
        _ => match context.variables.get(text) {
            Some(value) => (Value::Text(value.clone().into_bytes()), Kind::Text),
            None => return Err(is_no("environment variable")),
        },
    };
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::super::super::parser::tests::with_line;
    use super::super::call;
    use super::*;

    #[test]
    fn every_name_is_read() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            let arguments = match *name {
                "bool" | "int" => "(1)",
                "bin" => "(00)",
                "ipv4" => "(192.0.2.1)",
                "ipv6" => "(::1)",
                "str" => "(x)",
                "var" => "(txn.x)",
                // Nothing is set in this place.
                "env" => continue,
                name if name.contains("payload_lv") => "(0,2,+1)",
                name if name.contains("payload") => "(0,2)",
                name if name.starts_with("srv_") && !matches!(name, "srv_id" | "srv_name") => "(x)",
                _ => "",
            };
            let word = format!("{name}{arguments}");
            let (call, _) = call(&word).unwrap();
            let found = with_line("acl", "", |_, context| fetch(&call, context)).0;
            assert!(found.is_ok(), "{word}: {found:?}");
        }
    }
}
