//! What checks and agents find out, what is said of it, and what becomes of streams.

use super::{Scene, Stage, differences};
use crate::lab::Lab;

/// One after the other, each with balancers of its own: checks of other scenes would speak in between.
///
/// A check may take as long as the time between two, and a machine that stalls for longer makes one fail that should
/// not: what differs has to differ twice.
fn compare_alone(scenes: Vec<Scene>) {
    let lab = Lab::up();
    let of_each = scenes.into_iter().map(|scene| {
        let scene = [scene];
        let first = differences(&lab, &scene);
        if first.is_empty() { first } else { differences(&lab, &scene) }
    });
    let differences: String = of_each.collect();
    assert!(differences.is_empty(), "{differences}");
}

/// Which server is checked how, and what is said to it in turn.
fn scene(check: &str, server: &str, act: fn(&mut Stage<'_>)) -> Scene {
    let lines =
        format!("{check}\n    server a {server} inter 100ms fall 2 rise 2\n    server b @b backup");
    Scene { name: check.to_owned().leak(), lines: lines.leak(), act }
}

pub fn checks_are_alike() {
    const ON_CHECK: &str = "@a check port 9101";
    compare_alone(vec![
        scene("option log-health-checks", "@a check", |stage| {
            stage.lines();
            stage.ask(1);
            stage.down("a");
            stage.ask(2);
            stage.up("a");
            stage.ask(1);
        }),
        scene("option httpchk", ON_CHECK, |stage| {
            stage.lines();
            stage.say("HTTP/1.0 503 Service Unavailable\r\n\r\n");
            stage.say("HTTP/1.0 200 OK\r\n\r\n");
            stage.say("HTTP/1.0 404 Not Found\r\n\r\n");
            stage.say("HTTP/1.1 302 Found\r\n\r\n");
            stage.say("220 smtp ready\r\n");
            stage.ask(2);
        }),
        scene(
            "option httpchk GET /health\n    http-check disable-on-404\n    http-check expect string up",
            ON_CHECK,
            |stage| {
                stage.lines();
                stage.say("HTTP/1.0 200 OK\r\n\r\nall is down");
                stage.say("HTTP/1.0 200 OK\r\n\r\nall is up");
                stage.say("HTTP/1.0 404 Not Found\r\n\r\n");
                stage.ask(2);
                stage.say("HTTP/1.0 200 OK\r\n\r\nall is up");
                stage.ask(1);
            },
        ),
        scene("option httpchk\n    http-check expect ! rstatus ^5", ON_CHECK, |stage| {
            stage.lines();
            stage.say("HTTP/1.0 502 Bad Gateway\r\n\r\n");
            stage.say("HTTP/1.0 404 Not Found\r\n\r\n");
        }),
        scene(
            "option tcp-check\n    tcp-check send PING\\r\\n\n    tcp-check expect string PONG",
            ON_CHECK,
            |stage| {
                stage.lines();
                stage.say("NO\r\n");
                stage.say("PONG\r\n");
                stage.say("");
            },
        ),
        scene(
            "option tcp-check\n    tcp-check connect\n    tcp-check comment hello\n    tcp-check send-binary 50\n    tcp-check expect rstring ^[a-c]+$",
            ON_CHECK,
            |stage| {
                stage.lines();
                stage.say("abd");
                stage.say("abc");
            },
        ),
        scene("option redis-check", ON_CHECK, |stage| {
            stage.lines();
            stage.say("-ERR no\r\n");
            stage.say("+PONG\r\n");
        }),
        scene("option smtpchk", "@a check port 9102", |stage| {
            stage.lines();
            stage.say("421 busy\r\n");
            stage.say("what?\r\n");
        }),
        scene("option mysql-check", "@a check port 9102", |stage| {
            stage.lines();
            stage.say("no mysql");
            stage.say("\x4a\0\0\0\x0a8.0.1-a-version\0abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdef");
        }),
        scene("option pgsql-check user postgres", ON_CHECK, |stage| {
            stage.lines();
            stage.say("E00000");
            stage.say("R\0\0\0\x08\0\0\0\0");
        }),
        scene("option ldap-check", ON_CHECK, |stage| {
            stage.lines();
            stage.say("no ldap at all, but long enough");
            stage.say("0\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0");
        }),
        scene("option ssl-hello-chk", ON_CHECK, |stage| {
            stage.lines();
            stage.say("HTTP/1.0 400 Bad Request\r\n\r\n");
            stage.say("\x16\x03\x01\0\x05hello");
        }),
    ]);
}

pub fn agents_are_heard_alike() {
    const AGENT: &str = "@a weight 4 agent-check agent-port 9102 agent-inter 100ms";
    compare_alone(vec![
        scene("balance roundrobin", AGENT, |stage| {
            for word in ["down\n", "up\n", "drain\n", "ready\n", "maint\n", "ready\n"] {
                stage.say(word);
                stage.ask(1);
            }
            for word in
                ["fail #too hot\n", "up\n", "stopped\t# by hand\n", "up ready 50%\n", "down foo\n"]
            {
                stage.say(word);
            }
            stage.say("drain maint\n");
            stage.say("ready\n");
            stage.say("up\n");
            stage.ask(2);
        }),
        scene(
            "option log-health-checks",
            "@a check agent-check agent-port 9102 agent-inter 100ms",
            |stage| {
                stage.down("a");
                stage.up("a");
                stage.say("drain\n");
                stage.ask(1);
                stage.say("ready\n");
            },
        ),
    ]);
}

pub fn what_follows_from_checks_is_alike() {
    let of_two = |name, lines, act| Scene { name, lines, act };
    compare_alone(vec![
        of_two(
            "streams of a server that goes down end",
            "server a @a check inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions\n    server b @b backup",
            |stage| {
                stage.hold(1);
                stage.down("a");
                stage.held.clear();
                stage.ask(1);
            },
        ),
        of_two(
            "streams of a backup end when the server is back",
            "server a @a check inter 100ms fall 1 rise 1 on-marked-up shutdown-backup-sessions\n    server b @b backup",
            |stage| {
                stage.down("a");
                stage.hold(1);
                stage.up("a");
                stage.held.clear();
                stage.ask(1);
            },
        ),
        of_two(
            "a section without any server left",
            "server a @a check inter 100ms fall 1 rise 1\n    server b @b track l80/a",
            |stage| {
                stage.ask(3);
                stage.down("a");
                stage.ask(2);
                stage.up("a");
                stage.ask(2);
            },
        ),
        of_two(
            "backups in turn",
            "server a @a check inter 100ms fall 1 rise 1\n    server b @b check inter 100ms fall 1 rise 1 backup\n    server c @c backup",
            |stage| {
                stage.down("a");
                stage.ask(1);
                stage.down("b");
                stage.ask(1);
                stage.up("a");
                stage.ask(1);
            },
        ),
        of_two(
            "what clients see counts",
            "server a @a check port 9101 inter 10s observe layer4 error-limit 3 on-error mark-down\n    option redispatch 1\n    retries 3\n    server b @b",
            |stage| {
                stage.servers.remove("a");
                for _ in 0..8 {
                    let stream = stage.connect();
                    stage.end_quietly(stream);
                }
                stage.lines();
            },
        ),
        of_two(
            "a tracker of one that begins disabled",
            "server a @a check inter 100ms disabled\n    server b @b track l80/a\n    server c @c",
            |stage| stage.ask(4),
        ),
        of_two(
            "a tracker of one in maintenance",
            "server a @a check inter 100ms agent-check agent-port 9102 agent-inter 100ms\n    server b @b track l80/a\n    server c @c",
            |stage| {
                stage.ask(3);
                for word in ["maint\n", "ready\n", "drain\n", "ready\n"] {
                    stage.say(word);
                    stage.ask(3);
                }
            },
        ),
        of_two(
            "one that begins disabled",
            "server a @a check inter 100ms disabled\n    server b @b check inter 100ms fall 1 rise 1",
            |stage| {
                stage.ask(2);
                stage.down("b");
                stage.ask(1);
                stage.up("b");
                stage.ask(1);
            },
        ),
    ]);
}
