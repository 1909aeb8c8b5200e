//! Processes and pools. This program is what they run, too: it begins as any program that has them does.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod functions;
mod over_workers;
mod parents;
mod pool_deaths;
mod pools;
mod processes;
#[path = "../programs/mod.rs"]
mod programs;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use manyhands::multiprocessing;

/// What this process is, if it is not the one that runs the tests: a worker, or a parent that is killed.
const ROLE: &str = "MANYHANDS_TEST_ROLE";

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("worker") => manyhands::main(functions::register),
        Ok(role) => multiprocessing::main(functions::register, || parents::run(role)),
        Err(_) => {
            let mut code = ExitCode::FAILURE;
            let ended = multiprocessing::main(functions::register, || -> Result<(), String> {
                code = libtest_mimic::run(&Arguments::from_args(), trials()).exit_code();
                Ok(())
            });
            if ended == ExitCode::SUCCESS && !multiprocessing_child() { code } else { ended }
        }
    }
}

/// Whether this process was started by another one of this program, and has run no tests.
fn multiprocessing_child() -> bool {
    multiprocessing::current_process().is_ok_and(|here| here.parent.is_some())
}

fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($module:ident: $($name:ident),+;)+) => {
            vec![$($(Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
                $module::$name();
                Ok(())
            })),+),+]
        };
    }
    trials! {
        processes:
            a_function_and_a_value_run_in_processes_of_their_own,
            three_processes_run_at_a_time,
            joining_can_be_given_up,
            a_process_is_asked_to_end_and_killed,
            how_a_process_ended_is_told,
            nothing_is_shared,
            a_process_has_processes_and_a_daemon_has_none,
            a_thousand_short_processes_leave_no_zombie,
            what_is_wrong_is_told_before_anything_starts,
            a_parent_that_returns_waits_for_all_but_daemons,
            a_parent_that_is_killed_leaves_nobody;
        pools:
            every_kind_of_call_gives_its_results,
            chunks_of_any_size_come_out_in_order,
            callbacks_hear_of_every_end,
            a_result_can_be_awaited_and_waited_for,
            a_panic_fails_its_call_alone,
            quick_calls_do_not_wait_behind_a_slow_one,
            no_more_is_taken_from_the_source_than_is_needed,
            a_pool_is_closed_joined_and_terminated,
            every_process_is_initialized,
            processes_are_replaced_after_their_tasks,
            the_same_processes_serve_all_calls,
            what_is_wrong_with_a_call_is_told;
        pool_deaths:
            a_process_that_is_killed_costs_nothing,
            a_call_that_kills_is_found_among_others,
            a_call_that_may_not_run_twice_does_not,
            a_call_that_nobody_began_is_not_lost,
            processes_that_die_while_they_write_are_typed_ends,
            a_call_that_takes_too_long_is_ended,
            a_pool_that_is_gone_leaves_nobody;
        over_workers:
            the_same_calls_over_the_store_of_one_box,
            the_same_calls_over_redis,
            the_same_calls_over_rabbitmq,
            a_worker_that_is_killed_costs_nothing,
            a_call_that_kills_workers_is_told,
            nobody_who_does_the_calls_is_told,
            a_full_queue_that_nobody_empties_is_told,
            a_server_that_is_gone_is_told,
            quick_calls_do_not_wait_for_a_slow_worker,
            a_pool_that_is_terminated_takes_its_calls_back;
    }
}
