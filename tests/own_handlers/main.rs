//! Handlers in Rust that run in processes of their own, by one word of the configuration. This program is the worker, too.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod cases;
mod handlers;
#[path = "../programs/mod.rs"]
mod programs;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Says that this process is the worker, or one of its children.
const ROLE: &str = "MANYHANDS_TEST_WORKER";

fn main() -> ExitCode {
    if std::env::var_os(ROLE).is_some() {
        return handlers::worker();
    }
    let case = |name: &str, case: fn()| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    };
    let trials = vec![
        case("the_pipe_changes_nothing_for_a_handler", cases::the_pipe_changes_nothing_for_a_handler),
        case("what_a_handler_does_wrong_costs_its_task", cases::what_a_handler_does_wrong_costs_its_task),
        case("a_handler_that_takes_too_much_is_killed", cases::a_handler_that_takes_too_much_is_killed),
        case("what_is_enqueued_and_told_passes_the_pipe", cases::what_is_enqueued_and_told_passes_the_pipe),
        case("the_children_end_with_the_worker", cases::the_children_end_with_the_worker),
        case(
            "a_handler_without_the_word_runs_in_the_worker",
            cases::a_handler_without_the_word_runs_in_the_worker,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
