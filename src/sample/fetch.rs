//! Finds what an expression begins with.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Sample, Scene, payload};
use crate::config::model::{
    Fetch, Part, ProxyFact, ProxyIndex, ServerFact, ServerId, TimeoutOf, Value, Whose,
};
use crate::transport::Ends;

/// What a fetch finds.
pub(super) fn fetch(fetch: &Fetch, scene: &mut Scene<'_>) -> Sample {
    let int = |number: i64| Sample::settled(Value::Int(number));
    match fetch {
        Fetch::Constant(value) => Sample::settled(value.clone()),
        Fetch::Random(below) => int(scene.random.u64(..*below) as i64),
        Fetch::ActiveConns => int(i64::from(scene.shared.global.used())),
        Fetch::Thread => int(scene.at.worker as i64),
        Fetch::Threads => int(scene.shared.mail.workers() as i64),
        Fetch::Stopping => Sample::settled(Value::Bool(scene.shared.is_stopping())),
        Fetch::Address(whose) => {
            Sample::settled(end(*whose, scene).map(|end| Value::Ip(end.ip().to_canonical())))
        }
        Fetch::Port(whose) => {
            Sample::settled(end(*whose, scene).map(|end| Value::Int(i64::from(end.port()))))
        }
        Fetch::IsLocal(whose) => {
            let is_local = |end: SocketAddr| (scene.is_own)(end.ip().to_canonical());
            Sample::settled(end(*whose, scene).map(|end| Value::Bool(is_local(end))))
        }
        Fetch::Id(part) => Sample::settled(id(*part, scene).map(|id| Value::Int(i64::from(id)))),
        Fetch::Name(part) => {
            Sample::settled(name(*part, scene).map(|name| Value::Text(name.into())))
        }
        Fetch::Proxy(fact, named) => {
            let proxy = named.as_ref().and_then(|named| named.index);
            int(of_proxy(*fact, proxy, scene))
        }
        Fetch::Server(fact, name) => {
            Sample::settled(name.id.map(|server| of_server(*fact, server, scene)))
        }
        Fetch::ListenerConns => int(i64::from(scene.entrance.limit.used())),
        Fetch::PriorityClass => int(i64::from(scene.at.priority.class)),
        Fetch::PriorityOffset => int(i64::from(scene.at.priority.offset_ms)),
        Fetch::Variable(variable) => Sample::settled(scene.variable(variable)),
        Fetch::Timeout(which) => {
            let of = |proxy: ProxyIndex| scene.proxies[proxy.0].timeouts;
            let time = match which {
                TimeoutOf::Client => of(scene.at.frontend).client,
                TimeoutOf::Server => of(scene.at.backend).server,
                TimeoutOf::Tunnel => of(scene.at.backend).tunnel,
            };
            let millis = |time: Duration| Value::Int(time.as_millis() as i64);
            Sample::settled(time.map(millis))
        }
        Fetch::Len(way) => payload::len(*way, &scene.heard),
        Fetch::Payload { way, offset, len } => payload::part(*way, *offset, *len, &scene.heard),
        Fetch::PayloadLv { way, offset, size, from } => {
            payload::part_lv(*way, *offset, *size, *from, &scene.heard)
        }
        Fetch::Tls(way, fact) => payload::tls(*way, *fact, &scene.heard),
        Fetch::RdpCookie(name) => payload::cookie(name.as_deref(), &scene.heard),
        Fetch::RdpCookieCount(name) => {
            let found = payload::cookie(name.as_deref(), &scene.heard);
            match found {
                Sample { value: None, may_change: true } => Sample::pending(),
                Sample { value, .. } => int(i64::from(value.is_some())),
            }
        }
        Fetch::WaitEnd if scene.heard.is_final => Sample::settled(Value::Bool(true)),
        Fetch::WaitEnd => Sample::pending(),
        Fetch::ReceivedProxy => Sample::settled(Value::Bool(scene.at.has_proxy_header)),
    }
}

fn end(whose: Whose, scene: &Scene<'_>) -> Option<SocketAddr> {
    let Ends { local, remote } = match whose {
        Whose::Source | Whose::Destination => scene.at.client,
        Whose::FrontSource | Whose::FrontDestination => scene.at.front,
        Whose::BackSource | Whose::BackDestination => scene.at.back,
    };
    match whose {
        // Ours is the end that a connection to a server comes from.
        Whose::Source | Whose::FrontSource | Whose::BackDestination => remote,
        Whose::Destination | Whose::FrontDestination | Whose::BackSource => local,
    }
}

fn id(part: Part, scene: &Scene<'_>) -> Option<u32> {
    let at = &scene.at;
    match part {
        Part::Frontend => Some(scene.proxies[at.frontend.0].id),
        Part::Backend => Some(scene.proxies[at.backend.0].id),
        Part::Listener => Some(scene.entrance.bind.id),
        Part::Server => Some(scene.proxies[at.backend.0].servers[at.server?].id),
        Part::DefaultBackend => None,
    }
}

fn name(part: Part, scene: &Scene<'_>) -> Option<String> {
    let at = &scene.at;
    Some(match part {
        Part::Frontend => scene.proxies[at.frontend.0].name.to_string(),
        Part::Backend => scene.proxies[at.backend.0].name.to_string(),
        Part::Listener => scene.entrance.bind.name.clone()?,
        Part::Server => scene.proxies[at.backend.0].servers[at.server?].name.to_string(),
        Part::DefaultBackend => {
            let default = scene.proxies[at.frontend.0].default_backend?;
            scene.proxies[default.0].name.to_string()
        }
    })
}

/// -1 stands for "no limit".
fn or_unlimited(number: Option<i64>) -> i64 {
    number.unwrap_or(-1)
}

fn of_proxy(fact: ProxyFact, named: Option<ProxyIndex>, scene: &Scene<'_>) -> i64 {
    let at = &scene.at;
    let frontend = scene.shared.frontend(named.unwrap_or(at.frontend));
    let backend = scene.shared.backend(named.unwrap_or(at.asker));
    match fact {
        ProxyFact::FrontendConns => i64::from(frontend.connections.used()),
        ProxyFact::FrontendRate => i64::from(frontend.sessions.per_second(at.now)),
        ProxyFact::BackendConns => i64::from(backend.streams()),
        ProxyFact::BackendRate => i64::from(backend.rate(at.now)),
        ProxyFact::FreeConns => or_unlimited(backend.free_places()),
        ProxyFact::ConnSlots => or_unlimited(backend.slots()),
        ProxyFact::Queue => backend.waiting() as i64,
        ProxyFact::AverageQueue => {
            let (waiting, servers) = (backend.waiting(), backend.in_use());
            // Without servers the whole queue counts twice, as in HAProxy.
            if servers > 0 { waiting.div_ceil(servers) as i64 } else { 2 * waiting as i64 }
        }
        ProxyFact::UsableServers => backend.in_use() as i64,
    }
}

fn of_server(fact: ServerFact, id: ServerId, scene: &Scene<'_>) -> Value {
    let backend = scene.shared.backend(id.proxy);
    Value::Int(match fact {
        ServerFact::IsUp => return Value::Bool(backend.is_up(id.index)),
        ServerFact::Conns => i64::from(backend.load(id.index).served),
        ServerFact::FreeConns => or_unlimited(backend.free_places_of(id.index)),
        ServerFact::Queue => i64::from(backend.load(id.index).queued),
        ServerFact::Rate => i64::from(backend.server_rate(id.index, scene.at.now)),
        ServerFact::Weight => i64::from(backend.weights(id.index).0),
        ServerFact::UserWeight => i64::from(backend.weights(id.index).1),
        ServerFact::InitialWeight => i64::from(backend.config.servers[id.index].weight),
    })
}
