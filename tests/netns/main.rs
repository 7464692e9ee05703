//! Black-box tests: xlb between real kernels, in namespaces, on AF_XDP.
//!
//! In:    the binary `xlb`; `scripts/lab` for the network; programs that people run through load balancers
//! Out:   one verdict for each test; a test that cannot run fails
//! Owns:  namespaces named `xlb-t<pid>-...`
//! Never: runs two tests at a time; leaves namespaces or processes behind
//! Read:  `balancer.rs` for the variables XLB_TEST_BALANCER, XLB_TEST_TRANSPORT and XLB_TEST_BINARY
//!
//! `cargo test --test netns NAME` runs the tests whose names contain NAME.

mod addresses;
mod balancer;
mod bytes;
mod command;
mod crowd;
mod differential;
mod failures;
mod flood;
mod lab;
mod limits;
mod logs;
mod pages;
mod peer;
mod process;
mod proxy_header;
mod reload;
mod rules;
mod runtime;
mod sockets;
mod sources;
mod stuck;
mod tagged;
mod traffic;
mod wire;
mod workers;

use libtest_mimic::{Arguments, Trial};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use balancer::Kind;

/// What a test asks of the balancer.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    /// Only what HAProxy has too.
    Any,
    /// Dumps, XDP or addresses of its own.
    Xlb,
}
use Needs::{Any, Xlb};

const TESTS: &[(&str, Needs, fn())] = &[
    ("command::a_mistake_is_named_with_file_line_and_word", Any, command::a_mistake_is_named),
    ("command::a_good_configuration_passes_the_check", Any, command::a_good_configuration_passes),
    ("command::sigterm_ends_in_good_order", Any, command::sigterm_ends_in_good_order),
    (
        "command::sigusr1_ends_with_the_last_connection",
        Xlb,
        command::sigusr1_ends_with_the_last_connection,
    ),
    ("command::sighup_tells_its_state", Xlb, command::sighup_tells_its_state),
    ("command::setup_script_restores_what_it_changed", Any, command::setup_script_restores),
    ("traffic::curl_over_both_families", Any, traffic::curl_over_both_families),
    ("traffic::wrk_keep_alive", Any, traffic::wrk_keep_alive),
    ("traffic::wrk_new_connections", Any, traffic::wrk_new_connections),
    ("traffic::iperf3_in_all_directions", Any, traffic::iperf3_in_all_directions),
    ("traffic::redis_benchmark", Any, traffic::redis_benchmark),
    ("traffic::pgbench", Any, traffic::pgbench),
    ("traffic::one_gib_each_way", Any, traffic::one_gib_each_way),
    ("traffic::bytes_over_ipv6", Any, traffic::bytes_over_ipv6),
    ("traffic::bytes_in_large_frames", Any, traffic::bytes_in_large_frames),
    ("traffic::many_small_exchanges", Any, traffic::many_small_exchanges),
    ("workers::both_queues_carry_traffic", Xlb, workers::both_queues_carry_traffic),
    ("workers::one_worker_on_one_queue", Any, workers::one_worker_on_one_queue),
    ("workers::maxconn_is_exact", Any, workers::maxconn_is_exact),
    ("workers::the_kernel_keeps_the_rest", Any, workers::the_kernel_keeps_the_rest),
    ("workers::kill_9_leaves_no_program", Xlb, workers::kill_9_leaves_no_program),
    ("addresses::an_address_of_its_own", Xlb, addresses::an_address_of_its_own),
    ("addresses::two_interfaces", Xlb, addresses::two_interfaces),
    ("addresses::an_interface_of_its_own", Xlb, addresses::an_interface_of_its_own),
    ("addresses::a_bound_address_that_nobody_has", Xlb, addresses::a_bound_address_that_nobody_has),
    ("addresses::an_address_on_lo_and_wildcards", Any, addresses::an_address_on_lo_and_wildcards),
    ("addresses::an_address_in_a_vlan", Xlb, addresses::an_address_in_a_vlan),
    ("addresses::clients_behind_a_router", Any, addresses::clients_behind_a_router),
    ("addresses::servers_behind_a_router", Any, addresses::servers_behind_a_router),
    ("wire::clean", Any, wire::clean),
    ("wire::one_percent_loss", Any, wire::one_percent_loss),
    ("wire::five_percent_loss", Any, wire::five_percent_loss),
    ("wire::reordering", Any, wire::reordering),
    ("wire::duplication", Any, wire::duplication),
    ("wire::corruption", Any, wire::corruption),
    ("wire::all_at_once_over_ipv6", Any, wire::all_at_once_over_ipv6),
    ("failures::a_server_that_refuses", Any, failures::a_server_that_refuses),
    ("failures::a_server_that_drops_syns", Any, failures::a_server_that_drops_syns),
    ("failures::a_server_that_is_not_there", Any, failures::a_server_that_is_not_there),
    ("failures::no_server_at_all", Any, failures::no_server_at_all),
    ("failures::a_server_killed_in_mid_transfer", Any, failures::a_server_killed_in_mid_transfer),
    ("failures::a_server_that_resets_in_mid_transfer", Any, failures::a_server_that_resets),
    ("failures::a_server_whose_link_goes_down", Any, failures::a_server_whose_link_goes_down),
    ("failures::a_client_that_vanishes_while_idle", Any, failures::a_client_that_vanishes_idle),
    (
        "failures::a_client_that_vanishes_in_mid_transfer",
        Any,
        failures::a_client_that_vanishes_busy,
    ),
    ("failures::a_client_that_resets", Any, failures::a_client_that_resets),
    ("failures::the_client_closes_its_half_first", Any, failures::client_closes_first),
    ("failures::the_server_closes_its_half_first", Any, failures::server_closes_first),
    (
        "flood::clients_get_through_and_nothing_is_left",
        Xlb,
        flood::clients_get_through_and_nothing_is_left,
    ),
    ("pages::the_statistics_page", Xlb, pages::the_statistics_page),
    ("pages::servers_are_changed_by_the_page", Xlb, pages::servers_are_changed_by_the_page),
    ("pages::metrics_have_haproxys_names", Any, pages::metrics_have_haproxys_names),
    (
        "process::in_the_background_and_without_rights",
        Xlb,
        process::in_the_background_and_without_rights,
    ),
    (
        "process::a_failure_in_the_background_is_told",
        Xlb,
        process::a_failure_in_the_background_is_told,
    ),
    ("process::signals_pause_resume_and_end", Xlb, process::signals_pause_resume_and_end),
    ("process::one_takes_the_place_of_another", Xlb, process::one_takes_the_place_of_another),
    ("process::a_worker_at_rest_sleeps", Xlb, process::a_worker_at_rest_sleeps),
    ("process::managers_and_scripts_are_told", Xlb, process::managers_and_scripts_are_told),
    ("proxy_header::servers_hear_of_the_client", Any, proxy_header::servers_hear_of_the_client),
    ("proxy_header::a_header_says_where_to", Any, proxy_header::a_header_says_where_to),
    ("proxy_header::a_header_is_passed_on", Any, proxy_header::a_header_is_passed_on),
    ("logs::lines_are_haproxys", Any, logs::lines_are_haproxys),
    ("logs::rings_tell_over_tcp", Any, logs::rings_tell_over_tcp),
    ("logs::other_lines_are_haproxys", Any, logs::other_lines_are_haproxys),
    ("differential::servers_are_chosen_alike", Any, differential::servers_are_chosen_alike),
    (
        "differential::servers_that_are_not_to_be_had_alike",
        Any,
        differential::servers_that_are_not_to_be_had_alike,
    ),
    ("differential::chance_is_fair_with_both", Any, differential::chance_is_fair_with_both),
    ("differential::queues_are_alike", Any, differential::queues_are_alike),
    ("differential::checks_are_alike", Any, differential::checks_are_alike),
    ("differential::agents_are_heard_alike", Any, differential::agents_are_heard_alike),
    (
        "differential::what_follows_from_checks_is_alike",
        Any,
        differential::what_follows_from_checks_is_alike,
    ),
    ("runtime::orders_about_servers_are_followed", Any, runtime::orders_about_servers_are_followed),
    (
        "runtime::orders_about_frontends_are_followed",
        Xlb,
        runtime::orders_about_frontends_are_followed,
    ),
    ("runtime::answers_are_haproxys", Any, runtime::answers_are_haproxys),
    (
        "runtime::what_the_kernel_does_not_see_is_shown",
        Xlb,
        runtime::what_the_kernel_does_not_see_is_shown,
    ),
    ("runtime::bad_input_disturbs_nobody", Xlb, runtime::bad_input_disturbs_nobody),
    ("runtime::an_exporter_of_others_reads_it", Any, runtime::an_exporter_of_others_reads_it),
    ("reload::a_hundred_reloads_lose_nothing", Xlb, reload::a_hundred_reloads_lose_nothing),
    ("reload::a_bad_file_changes_nothing", Xlb, reload::a_bad_file_changes_nothing),
    ("reload::what_is_gone_ends_in_good_order", Xlb, reload::what_is_gone_ends_in_good_order),
    ("reload::servers_keep_their_state", Xlb, reload::servers_keep_their_state),
    (
        "reload::without_rights_and_under_another_root",
        Xlb,
        reload::without_rights_and_under_another_root,
    ),
    ("reload::sockets_and_logs_come_and_go", Xlb, reload::sockets_and_logs_come_and_go),
    ("reload::servers_come_and_go_by_command", Xlb, reload::servers_come_and_go_by_command),
    ("reload::a_check_tells_the_difference", Xlb, reload::a_check_tells_the_difference),
    ("reload::acls_are_changed_by_command", Any, reload::acls_are_changed_by_command),
    ("rules::the_door", Any, rules::the_door),
    ("rules::a_monitor_is_let_go", Xlb, rules::a_monitor_is_let_go),
    ("rules::what_the_client_says", Any, rules::what_the_client_says),
    ("rules::what_the_server_says", Any, rules::what_the_server_says),
    ("sockets::two_layers", Any, sockets::two_layers),
    ("sockets::unix_sockets_at_both_ends", Any, sockets::unix_sockets_at_both_ends),
    ("sockets::an_inherited_socket", Any, sockets::an_inherited_socket),
    ("limits::no_limit_is_ever_exceeded", Any, limits::no_limit_is_ever_exceeded),
    ("limits::rates_hold_and_resume", Any, limits::rates_hold_and_resume),
    ("limits::a_handful_of_buffers_is_enough", Xlb, limits::a_handful_of_buffers_is_enough),
    (
        "limits::a_flood_does_not_starve_who_says_little",
        Any,
        limits::a_flood_does_not_starve_who_says_little,
    ),
    ("sources::addresses_of_others", Xlb, sources::addresses_of_others),
    ("sources::ports_of_a_range", Any, sources::ports_of_a_range),
    ("sources::a_stated_mss", Any, sources::a_stated_mss),
    ("sources::silence_lasts", Xlb, sources::silence_lasts),
    ("stuck::a_stuck_worker_is_told_of", Xlb, stuck::a_stuck_worker_is_told_of),
    ("stuck::a_lost_stderr_ends_nothing", Xlb, stuck::a_lost_stderr_ends_nothing),
    ("stuck::a_panic_names_the_last_packet", Xlb, stuck::a_panic_names_the_last_packet),
    ("crowd::fifteen_thousand_connections", Any, crowd::fifteen_thousand_connections),
];

fn main() {
    if let Some(code) = peer::run_if_asked() {
        std::process::exit(code);
    }
    let mut arguments = Arguments::from_args();
    // Labs share two cores: tests beside each other would measure each other.
    arguments.test_threads = Some(1);
    if !arguments.list {
        lab::remove_stale();
        lab::raise_file_limit();
        clean_up_on_signals();
    }
    let lacks_xdp = balancer::kind() == Kind::HaProxy || balancer::is_on_kernel();
    let trials = TESTS
        .iter()
        .map(|&(name, needs, test)| {
            let run = move || {
                test();
                Ok(())
            };
            Trial::test(name, run).with_ignored_flag(lacks_xdp && needs == Xlb)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A run that is interrupted takes its lab along.
fn clean_up_on_signals() {
    let mut signals = Signals::new([SIGINT, SIGTERM]).expect("signals can be taken");
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            lab::remove_own();
            std::process::exit(128 + signal);
        }
    });
}
