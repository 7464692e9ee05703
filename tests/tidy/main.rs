//! The rules of the tree that no compiler checks: who may know whom, where `unsafe` and clocks are, what every file has.
//!
//! In:    every file of the repository, as text
//! Out:   each place that breaks a rule, with file and line
//! Owns:  the lists of exceptions, each with its reason
//! Never: builds or runs anything but `bash -n`
//!
//! Every rule is first tried on small trees with a mistake planted in them: a rule that sees nothing there would see
//! nothing in the real one either.

mod text;
mod tree;

use std::collections::BTreeSet;

use text::{depends_on, has_word, is_at, is_word, leads_somewhere, links, shell_error};
use tree::{File, code_of, counters, holds, names_within, texts};

// Exceptions, each with its reason. A path that is gone fails `every_exception_is_there`.

/// The proxy core: what a stream is made of, whatever carries its bytes. A folder stands for its files.
const CORE: [&str; 26] = [
    "src/acl.rs",
    "src/backend.rs",
    "src/backend/",
    "src/channel.rs",
    "src/check.rs",
    "src/check/",
    "src/counters.rs",
    "src/health.rs",
    "src/proxies.rs",
    "src/proxy_protocol.rs",
    "src/idle.rs",
    "src/latency.rs",
    "src/lb.rs",
    "src/lb/",
    "src/limit.rs",
    "src/listener.rs",
    "src/queue.rs",
    "src/rate.rs",
    "src/sample.rs",
    "src/sample/",
    "src/shared.rs",
    "src/stream.rs",
    "src/stream/",
    "src/task.rs",
    "src/transport.rs",
    "src/watch.rs",
];

/// The doors between the wire and the rest: they pass queues on, tie them to the stack, wake by them, report of them.
const NAMES_NIC: [&str; 7] = [
    "src/bell.rs",
    "src/boot.rs",
    "src/boot/plan.rs",
    "src/wires.rs",
    "src/report.rs",
    // A command is called so.
    "src/runtime/commands.rs",
    "src/worker.rs",
];

/// The time itself, and the timer wheel, which is a data structure that both rooms use.
const CORE_NAMES_NETSTACK: [&str; 1] = ["src/task.rs"];

/// Asks the driver by ioctl; shares memory with the kernel.
const UNSAFE: [&str; 2] = ["nic/src/interface.rs", "nic/src/xsk.rs"];

/// The one clock of the program; the wait for a queue that another process has just left, before the first packet.
const CLOCKS: [&str; 2] = ["src/clock.rs", "nic/src/patience.rs"];

/// Files, environment and names, behind a trait that tests replace.
const CONFIG_IO: [&str; 1] = ["src/config.rs"];

/// A table with a line per word; the language seen from outside, section by section.
const LONG: [&str; 2] = ["src/config/keywords.rs", "tests/config.rs"];

/// A measurement, which a machine with other work would fail.
const IGNORED: [&str; 1] = ["nic/tests/kernel/queue.rs"];

/// Beyond this a reader loses the thread.
const LINES_MAX: usize = 750;

const SELF: &str = "tests/tidy/main.rs";

// Rooms.

#[test]
fn nic_and_netstack_do_not_know_each_other() {
    fn rule(tree: &[File]) -> Vec<String> {
        let rooms: [(&str, &[&str]); 5] = [
            ("nic/", &["netstack", "smoltcp", "xlb_netstack", "xlb"]),
            ("netstack/", &["nic", "xlb_nic", "xsk_rs", "aya", "libc", "rustix", "xlb"]),
            // It measures both, but a test of the proxy uses it: the proxy is beyond it. The wires carry anything.
            ("bench/", &["xlb"]),
            ("bench/src/faulty_wire.rs", &["netstack"]),
            ("bench/src/packet_socket.rs", &["netstack"]),
        ];
        let mut broken = Vec::new();
        for (room, strangers) in rooms {
            for file in tree.iter().filter(|file| file.path.starts_with(room)) {
                for stranger in strangers {
                    if file.is_rust() {
                        broken.extend(file.code_with(stranger));
                    } else if file.path.ends_with("Cargo.toml") {
                        let package = stranger.replace('_', "-");
                        broken.extend(file.lines_where(|line| depends_on(line, &package)));
                    }
                }
            }
        }
        broken
    }
    holds(
        rule,
        &[
            &[("nic/src/xsk.rs", "use netstack::Stack;\n")],
            &[("netstack/src/stack.rs", "fn f(wire: &mut dyn nic::Wire) {}\n")],
            &[("netstack/Cargo.toml", "[dependencies]\nnic.workspace = true\n")],
            &[("nic/Cargo.toml", "[dependencies]\nsmoltcp = { workspace = true }\n")],
            &[("bench/Cargo.toml", "[dependencies]\nxlb = { path = \"..\" }\n")],
            &[("bench/src/host.rs", "use xlb::worker::Worker;\n")],
            &[("bench/src/faulty_wire.rs", "use netstack::Stack;\n")],
        ],
    );
}

#[test]
fn the_proxy_core_knows_no_packet_no_nic_and_no_system() {
    fn rule(tree: &[File]) -> Vec<String> {
        let strangers =
            ["nic", "smoltcp", "libc", "netlink", "rustix", "nix", "std::fs", "std::io"];
        let mut broken = Vec::new();
        let is_core = |file: &&File| CORE.iter().any(|core| is_at(&file.path, core));
        for file in tree.iter().filter(is_core) {
            for stranger in strangers {
                broken.extend(file.production_with(stranger));
            }
            if !CORE_NAMES_NETSTACK.contains(&file.path.as_str()) {
                broken.extend(file.production_with("netstack"));
            }
        }
        broken
    }
    holds(
        rule,
        &[
            &[("src/stream.rs", "use nic::Frame;\n")],
            &[("src/lb.rs", "use netstack::Instant;\n")],
            &[("src/proxies.rs", "fn f() { let _ = std::fs::read(\"x\"); }\n")],
            &[("src/transport.rs", "use crate::netlink::Snapshot;\n")],
        ],
    );
}

#[test]
fn only_doors_name_the_nic() {
    fn rule(tree: &[File]) -> Vec<String> {
        let elsewhere = |file: &&File| {
            file.path.starts_with("src/") && !NAMES_NIC.contains(&file.path.as_str())
        };
        tree.iter().filter(elsewhere).flat_map(|file| file.production_with("nic")).collect()
    }
    holds(rule, &[&[("src/control.rs", "use nic::Wire;\n")]]);
}

#[test]
fn the_stack_does_no_io() {
    fn rule(tree: &[File]) -> Vec<String> {
        let io = ["std::fs", "std::io", "std::thread", "std::env", "TcpStream", "UdpSocket"];
        let stack = tree.iter().filter(|file| file.path.starts_with("netstack/src/"));
        stack.flat_map(|file| io.iter().flat_map(|word| file.production_with(word))).collect()
    }
    holds(rule, &[&[("netstack/src/stack.rs", "fn f() { std::thread::yield_now(); }\n")]]);
}

#[test]
fn configuration_and_balancing_are_pure() {
    fn rule(tree: &[File]) -> Vec<String> {
        let io = [
            "std::fs",
            "std::io",
            "std::env",
            "std::thread",
            "ToSocketAddrs",
            "clock",
            "Instant",
            "println",
            "eprintln",
        ];
        let pure = |file: &&File| {
            let path = file.path.as_str();
            (path.starts_with("src/config") || path.starts_with("src/lb"))
                && !CONFIG_IO.contains(&path)
        };
        let pure = tree.iter().filter(pure);
        pure.flat_map(|file| io.iter().flat_map(|word| file.production_with(word))).collect()
    }
    holds(
        rule,
        &[
            &[("src/lb.rs", "use crate::clock::Instant;\n")],
            &[("src/config/parser.rs", "fn f() { eprintln!(\"x\"); }\n")],
        ],
    );
}

// Code.

#[test]
fn unsafe_is_where_the_kernel_is() {
    fn rule(tree: &[File]) -> Vec<String> {
        let elsewhere = |file: &&File| file.is_rust() && !UNSAFE.contains(&file.path.as_str());
        tree.iter().filter(elsewhere).flat_map(|file| file.code_with("unsafe")).collect()
    }
    holds(rule, &[&[("src/proxies.rs", "fn f() { unsafe { g() } }\n")]]);
}

#[test]
fn time_is_read_in_one_place() {
    fn rule(tree: &[File]) -> Vec<String> {
        let handed_down = |file: &&File| {
            let path = file.path.as_str();
            let is_test = path.contains("tests/") || path.starts_with("bench/");
            file.is_rust() && !is_test && !CLOCKS.contains(&path)
        };
        let clocks = ["Instant::now", "SystemTime", "clock_gettime"];
        let files = tree.iter().filter(handed_down);
        files.flat_map(|file| clocks.iter().flat_map(|word| file.production_with(word))).collect()
    }
    holds(
        rule,
        &[
            &[("src/worker.rs", "fn f() { let _ = std::time::Instant::now(); }\n")],
            &[("netstack/src/stack.rs", "use std::time::SystemTime;\n")],
        ],
    );
}

#[test]
fn an_allowance_has_a_reason() {
    fn rule(tree: &[File]) -> Vec<String> {
        let mut broken = Vec::new();
        for file in tree.iter().filter(|file| file.is_rust() && file.path != SELF) {
            let mut before = "";
            for (number, line) in (1..).zip(file.text.lines()) {
                let line = line.trim_start();
                let is_allowance = line.starts_with("#[allow(") || line.starts_with("#![allow(");
                if is_allowance && !before.starts_with("//") && !line.contains("reason =") {
                    broken.push(format!("{}:{number}: {line}", file.path));
                }
                before = line;
            }
        }
        broken
    }
    holds(rule, &[&[("src/proxies.rs", "//! A file.\n\n#[allow(dead_code)]\nfn f() {}\n")]]);
}

#[test]
fn nothing_is_left_for_later() {
    fn rule(tree: &[File]) -> Vec<String> {
        let words = ["TODO", "FIXME", "XXX", "HACK", "unimplemented!", "todo!", "dbg!"];
        let files = tree.iter().filter(|file| file.path != SELF);
        files
            .flat_map(|file| {
                words.iter().flat_map(|word| file.lines_where(|line| has_word(line, word)))
            })
            .collect()
    }
    holds(
        rule,
        &[
            &[("src/proxies.rs", "// TODO: more\n")],
            &[("nic/src/xsk.rs", "fn f() { todo!() }\n")],
            &[("docs/management.md", "FIXME\n")],
        ],
    );
}

#[test]
fn no_test_is_switched_off() {
    fn rule(tree: &[File]) -> Vec<String> {
        let elsewhere = |file: &&File| {
            file.is_rust() && file.path != SELF && !IGNORED.contains(&file.path.as_str())
        };
        let files = tree.iter().filter(elsewhere);
        files.flat_map(|file| file.lines_where(|line| line.contains("#[ignore"))).collect()
    }
    holds(rule, &[&[("tests/config.rs", "#[test]\n#[ignore]\nfn f() {}\n")]]);
}

#[test]
fn every_counter_counts() {
    fn rule(tree: &[File]) -> Vec<String> {
        let all = code_of(tree, "netstack/src/");
        let mut broken = Vec::new();
        for counter in counters(tree) {
            let adds = all.contains(&format!("counters.{counter} +="));
            let lent = all.contains(&format!("&mut self.{counter},"));
            if !adds && !lent {
                broken.push(format!("the counter '{counter}' of netstack is never incremented"));
            }
        }
        for reason in names_within(tree, "netstack/src/counters.rs", "pub enum DropReason {") {
            // Once where it is counted; a second time where a packet is dropped for it.
            let uses = all.matches(&format!("DropReason::{reason}")).count();
            if uses < 2 {
                broken.push(format!("no packet is ever dropped as '{reason}'"));
            }
        }
        let all = code_of(tree, "nic/src/xsk.rs");
        for figure in names_within(tree, "nic/src/wire.rs", "pub struct WireStats {") {
            if !all.contains(&format!("stats.{figure} +="))
                && !all.contains(&format!("stats.{figure} ="))
            {
                broken.push(format!("the figure '{figure}' of a wire is never set"));
            }
        }
        broken
    }
    let counters = "counters! {\n    Counters {\n        /// Frames.\n        frames,\n    }\n}\n";
    let reasons =
        "pub enum DropReason {\n    Malformed,\n}\nfn f() { DropReason::Malformed => 1 }\n";
    let figures = "pub struct WireStats {\n    pub kicks: u64,\n}\n";
    holds(
        rule,
        &[
            &[("netstack/src/counters.rs", counters)],
            &[("netstack/src/counters.rs", reasons)],
            &[("nic/src/wire.rs", figures)],
        ],
    );
}

// Files.

#[test]
fn every_file_says_what_it_is() {
    fn rule(tree: &[File]) -> Vec<String> {
        let silent = |file: &&File| file.is_rust() && !file.text.starts_with("//! ");
        tree.iter()
            .filter(silent)
            .map(|file| format!("{} has no `//!` on top", file.path))
            .collect()
    }
    holds(rule, &[&[("src/proxies.rs", "use std::fmt;\n")], &[("src/lb.rs", "")]]);
}

#[test]
fn no_file_is_too_long() {
    fn rule(tree: &[File]) -> Vec<String> {
        let long = |file: &&File| {
            file.is_rust()
                && file.text.lines().count() > LINES_MAX
                && !LONG.contains(&file.path.as_str())
        };
        let tell = |file: &File| {
            format!("{} has {} lines, more than {LINES_MAX}", file.path, file.text.lines().count())
        };
        tree.iter().filter(long).map(tell).collect()
    }
    holds(rule, &[&[("src/proxies.rs", &"\n".repeat(LINES_MAX + 1))]]);
}

#[test]
fn scripts_are_executable() {
    fn rule(tree: &[File]) -> Vec<String> {
        let is_script = |file: &&File| file.is_script() || file.path.ends_with(".sh");
        let cannot_run = |file: &&File| !file.is_executable || !file.is_script();
        let files = tree.iter().filter(is_script).filter(cannot_run);
        files.map(|file| format!("{} is not executable or has no `#!` on top", file.path)).collect()
    }
    holds(rule, &[&[("scripts/x", "#!/usr/bin/env bash\ntrue\n")], &[("scripts/z.sh", "true\n")]]);
}

#[test]
fn scripts_parse() {
    fn rule(tree: &[File]) -> Vec<String> {
        let is_shell = |file: &&File| {
            file.is_script() && file.text.lines().next().is_some_and(|first| first.contains("sh"))
        };
        let tell =
            |file: &File| shell_error(&file.text).map(|error| format!("{}: {error}", file.path));
        tree.iter().filter(is_shell).filter_map(tell).collect()
    }
    holds(rule, &[&[("scripts/x", "#!/usr/bin/env bash\nif true\n")]]);
}

#[test]
fn nothing_names_a_machine() {
    fn rule(tree: &[File]) -> Vec<String> {
        let places = ["/home/", "/root/", "/Users/", "/mnt/", "/opt/", "/srv/"];
        let files = tree.iter().filter(|file| file.path != SELF);
        let names = |line: &str| places.iter().any(|place| line.contains(place));
        files.flat_map(|file| file.lines_where(names)).collect()
    }
    holds(
        rule,
        &[
            &[("scripts/x", "cd /home/me/xlb\n")],
            &[("tests/config.rs", "let path = \"/root/x\";\n")],
        ],
    );
}

#[test]
fn every_exception_is_there() {
    fn rule(tree: &[File]) -> Vec<String> {
        let lists: [&[&str]; 8] = [
            &CORE,
            &NAMES_NIC,
            &CORE_NAMES_NETSTACK,
            &UNSAFE,
            &CLOCKS,
            &CONFIG_IO,
            &LONG,
            &IGNORED,
        ];
        let all = lists.into_iter().flatten();
        let gone = all.filter(|path| !tree.iter().any(|file| is_at(&file.path, path)));
        gone.map(|path| format!("{SELF} excepts {path}, which is not there")).collect()
    }
    holds(rule, &[&[]]);
}

// Documents.

#[test]
fn every_link_leads_somewhere() {
    fn rule(tree: &[File]) -> Vec<String> {
        let mut broken = Vec::new();
        for file in tree.iter().filter(|file| file.path.ends_with(".md")) {
            for (number, line) in (1..).zip(file.text.lines()) {
                for link in links(line).filter(|link| !link.contains("://")) {
                    if !leads_somewhere(tree, file, link) {
                        broken.push(format!("{}:{number}: ({link}) leads nowhere", file.path));
                    }
                }
            }
        }
        broken
    }
    holds(
        rule,
        &[
            &[("docs/x.md", "see [y](y.md)\n")],
            &[("docs/x.md", "see [y](#why)\n\n# Where\n")],
            &[("docs/x.md", "see [y](../README.md#why)\n"), ("README.md", "# Where\n")],
        ],
    );
}

#[test]
fn every_example_is_in_the_manual() {
    fn rule(tree: &[File]) -> Vec<String> {
        let manual: String = texts(tree, |path| path.ends_with(".md"));
        let examples = tree.iter().filter(|file| file.path.starts_with("configs/"));
        let unnamed = examples.filter(|file| !manual.contains(&file.path));
        unnamed.map(|file| format!("no document names {}", file.path)).collect()
    }
    holds(rule, &[&[("configs/x.cfg", ""), ("README.md", "configs/y.cfg\n")]]);
}

#[test]
fn every_figure_is_explained() {
    fn rule(tree: &[File]) -> Vec<String> {
        let manual = texts(tree, |path| path == "docs/management.md");
        let report = texts(tree, |path| path == "src/report.rs");
        let keys = report.match_indices("={").map(|(at, _)| {
            let key = report[..at].rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
            key.to_owned()
        });
        let all: BTreeSet<String> =
            keys.filter(|key| !key.is_empty()).chain(counters(tree)).collect();
        let unexplained = all.into_iter().filter(|key| !manual.contains(&format!("`{key}`")));
        unexplained.map(|key| format!("docs/management.md does not explain '{key}'")).collect()
    }
    let counters = "counters! {\n    Counters {\n        frames,\n    }\n}\n";
    holds(
        rule,
        &[&[("src/report.rs", "\"turns={}\"\n")], &[("netstack/src/counters.rs", counters)]],
    );
}

#[test]
fn every_option_of_the_setup_is_explained() {
    fn rule(tree: &[File]) -> Vec<String> {
        let manual = texts(tree, |path| path == "docs/management.md");
        let script = texts(tree, |path| path == "scripts/setup-xdp.sh");
        let usage = script.split("USAGE").nth(1).unwrap_or_default();
        let options = usage.split_whitespace().filter(|word| word.starts_with("--"));
        let unexplained = options.filter(|option| !manual.contains(&format!("`{option}")));
        unexplained.map(|option| format!("docs/management.md does not explain {option}")).collect()
    }
    holds(rule, &[&[("scripts/setup-xdp.sh", "cat <<'USAGE'\n  --queues N  queues\nUSAGE\n")]]);
}
