//! `cargo xtask sabotage`: a test suite is worth what it notices.
//!
//! Defects are planted on purpose (`broker/src/sabotage.rs`), one at a time, and the tests are run that should notice. One that
//! nobody notices is a hole in the tests. All of them are in one build, and none is there unless it is named.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use manyhands_broker::sabotage::Defect;
use manyhands_test_support::servers::RabbitMq;

use crate::servers;
use crate::workspace::Workspace;

/// The flags of `cargo xtask sabotage`.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Plant only this defect; may be given more than once.
    #[arg(long, value_name = "DEFECT", value_parser = defect)]
    only: Vec<Defect>,

    /// Let every test run that could notice, not only until the first does.
    #[arg(long)]
    all: bool,
}

/// Reads the name of a defect.
fn defect(name: &str) -> Result<Defect, String> {
    let names = || Defect::ALL.iter().map(|defect| defect.name()).collect::<Vec<_>>().join(", ");
    Defect::ALL
        .iter()
        .copied()
        .find(|defect| defect.name() == name)
        .ok_or_else(|| format!("there is no such defect; there are: {}", names()))
}

/// The tests that should notice, as nextest's filter: a part of the suite, so that this takes minutes.
fn noticed_by(defect: Defect) -> &'static str {
    match defect {
        Defect::EpochUnchecked
        | Defect::ExpireSparesStarted
        | Defect::CapacityOutsideTheStep
        | Defect::KeyFreedEarly
        | Defect::PauseIgnored
        | Defect::CancelledComesBack
        | Defect::EveryoneIsBlamed
        | Defect::CrashIsAnAttempt
        | Defect::DrainReachesAll => "package(manyhands-broker) & test(memory::)",
        Defect::GenerationNotRaised | Defect::OneInTenThousandDropped => {
            "package(manyhands-broker) & binary(local)"
        }
        Defect::PromisedUnsynced => "package(manyhands-broker) & binary(power_cut)",
        Defect::ChildAfterTheEnd => "package(manyhands) & binary(crash_points)",
        Defect::LeaseByClientsClock | Defect::OneBeatKeepsAll => "package(manyhands-broker) & test(local::)",
        Defect::AcknowledgedBeforeConfirm => "package(manyhands-broker) & binary(rabbitmq)",
        Defect::HintsAreData => "package(manyhands-worker) & test(endings::)",
        Defect::RebuildLeftOut => "package(manyhands-worker) & test(watchdog::)",
        Defect::BeatsAmongHandlers => "package(manyhands-worker) & test(leases::)",
        Defect::CallsStayBehind => "package(manyhands) & binary(multiprocessing) & test(quick_calls)",
        Defect::SentAheadStays => "package(manyhands-broker) & binary(conformance) & test(/^redis::ahead::/)",
        Defect::RepliesTogether => "package(manyhands) & binary(multiprocessing) & test(pool_deaths::)",
        Defect::StopLeavesChildren => "package(manyhands) & binary(demo) & test(an_interrupted_demo)",
    }
}

/// Plants the defects one after the other.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    workspace.needs_nextest()?;
    servers::install(servers::TESTS)?;
    servers::check(servers::TESTS)?;
    println!("== build");
    let built = nextest(&workspace, &["--no-run"]).status().context("cannot start cargo nextest")?;
    ensure!(built.success(), "the tests cannot be built ({built})");
    let rabbit = RabbitMq::start()?;
    let chosen = if options.only.is_empty() { Defect::ALL } else { &options.only };
    let mut unnoticed = Vec::new();
    for &defect in chosen {
        let start = Instant::now();
        let by = plant(&workspace, defect, options.all, &rabbit.url())?;
        let seconds = start.elapsed().as_secs_f64();
        if by.is_empty() {
            println!("{:<32} UNNOTICED by {} ({seconds:.0} s)", defect.name(), noticed_by(defect));
            unnoticed.push(defect.name());
        } else {
            println!("{:<32} noticed by {} ({seconds:.0} s)", defect.name(), by.join(", "));
        }
    }
    let (noticed, count) = (chosen.len() - unnoticed.len(), unnoticed.len());
    println!("== sabotage: {noticed} of {} defects noticed", chosen.len());
    if count > 0 {
        bail!("no test noticed {}", unnoticed.join(", "));
    }
    Ok(())
}

/// Runs the tests with one defect, and returns the names of those that failed.
fn plant(workspace: &Workspace, defect: Defect, all: bool, rabbit: &str) -> Result<Vec<String>> {
    let how_far = if all { "--no-fail-fast" } else { "--fail-fast" };
    let more = ["--no-tests=fail", "--status-level=fail", "--color=never", how_far, "-E", noticed_by(defect)];
    let mut command = nextest(workspace, &more);
    command
        .env("MANYHANDS_SABOTAGE", defect.name())
        .env("MANYHANDS_TEST_RABBITMQ", rabbit)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    let output = command.output().context("cannot start cargo nextest")?;
    let text = String::from_utf8_lossy(&output.stderr);
    // Nextest's own code for tests that failed; another one says that they did not run.
    const FAILED: i32 = 100;
    match output.status.code() {
        Some(0) => Ok(Vec::new()),
        Some(FAILED) => Ok(failed(&text)),
        _ => bail!("the tests did not run with {} ({}):\n{text}", defect.name(), output.status),
    }
}

/// The tests that nextest names as failed, in the summary at the end.
fn failed(text: &str) -> Vec<String> {
    let summary = text.rfind("Summary [").map_or("", |at| &text[at..]);
    let name = |line: &str| {
        let line = line.trim_start();
        let status = line.split_whitespace().next()?;
        // `FAIL [   0.012s] (1/5) manyhands-broker::conformance memory::…`
        let rest = line.split_once(") ").or_else(|| line.split_once("] "))?.1;
        matches!(status, "FAIL" | "TIMEOUT" | "SIGABRT" | "SIGSEGV" | "SIGKILL")
            .then(|| rest.trim().to_owned())
    };
    summary.lines().filter_map(name).collect()
}

/// A call of nextest for the build that has all defects in it.
fn nextest(workspace: &Workspace, more: &[&str]) -> Command {
    let mut command = workspace.cargo();
    command.args(["nextest", "run", "--workspace", "--all-features", "--locked"]).args(more);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_noticed_is_read_from_the_summary() {
        let text = "        FAIL [   0.012s] (1/5) a::b c::d\n────────────\n     Summary [   0.020s] 2/5 tests run: 1 passed, 1 failed, 0 skipped\n        FAIL [   0.012s] (1/5) a::b c::d\n     TIMEOUT [ 240.000s] (2/5) a::b e\nerror: test run failed\n";
        assert_eq!(failed(text), ["a::b c::d", "a::b e"]);
        assert_eq!(failed("nothing of the kind"), [""; 0]);
    }

    #[test]
    fn defects_have_names_of_their_own() {
        for known in Defect::ALL {
            assert_eq!(defect(known.name()), Ok(*known));
        }
        assert!(defect("none").unwrap_err().contains("epoch-unchecked"));
    }
}
