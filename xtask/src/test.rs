//! `cargo xtask test`: every check of the workspace, in parts.
//!
//! The parts run in the order of [`Part`], and the first that fails ends the run. The tests come last and
//! only one line is printed after the test runner's own summary: the brokers that the conformance suite was passed by.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use manyhands_test_support::servers::RabbitMq;

use crate::servers;
use crate::targets::{self, Selection};
use crate::workspace::Workspace;

/// The flags of `cargo xtask test`.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Run the long tests too (sets MANYHANDS_TEST_LONG=1 for the tests).
    #[arg(long)]
    long: bool,

    /// Run only the tests of this target, as `hosts` for `tests/hosts/`, and what they need; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = target)]
    only: Vec<String>,

    /// Leave this part, or the tests of this target, out; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = left_out)]
    without: Vec<LeftOut>,
}

/// What `--without` names.
#[derive(Clone, Debug, Eq, PartialEq)]
enum LeftOut {
    /// A part.
    Part(Part),
    /// A test target.
    Target(String),
}

/// Reads the name of a test target.
fn target(name: &str) -> Result<String, String> {
    let all =
        Workspace::find().and_then(|workspace| targets::all(&workspace)).map_err(|e| format!("{e:#}"))?;
    let names: Vec<_> = all.iter().map(String::as_str).collect();
    let unknown = || format!("there are no tests of this name; there are: {}", names.join(", "));
    all.get(name).cloned().ok_or_else(unknown)
}

/// Reads the name of a part or of a test target.
fn left_out(name: &str) -> Result<LeftOut, String> {
    if let Ok(part) = Part::from_str(name, false) {
        return Ok(LeftOut::Part(part));
    }
    let parts: Vec<_> = Part::value_variants().iter().map(Part::to_string).collect();
    let unknown = |why| format!("it is none of the parts {}; {why}", parts.join(", "));
    target(name).map(LeftOut::Target).map_err(unknown)
}

impl Options {
    /// Tells whether this part is not wanted.
    fn leaves_out(&self, part: Part) -> bool {
        // A few tests are wanted, and what they need.
        let beside = !self.only.is_empty() && ![Part::Servers, Part::Tests].contains(&part);
        beside || self.without.contains(&LeftOut::Part(part))
    }

    /// The test targets that are wanted.
    fn selection(&self) -> Selection {
        let target = |left: &LeftOut| match left {
            LeftOut::Target(name) => Some(name.clone()),
            LeftOut::Part(_) => None,
        };
        Selection { only: self.only.clone(), without: self.without.iter().filter_map(target).collect() }
    }
}

/// One part of the checks; they run in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// That the servers are there which the tests start, each on a free port.
    Servers,
    /// The formatting of the sources.
    Fmt,
    /// Clippy over every target, warnings denied.
    Clippy,
    /// The documentation, broken links denied.
    Doc,
    /// That those who want fewer features can still compile.
    Features,
    /// Licences, duplicates and sources of the dependencies.
    Deny,
    /// The examples in the documentation.
    Doctests,
    /// The tests themselves.
    Tests,
}

impl fmt::Display for Part {
    /// Writes the name that `--without` takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Part {
    /// Returns the calls of cargo that make up this part.
    fn calls(self, long: bool, nextest: bool) -> Vec<Call> {
        match self {
            // No call of cargo: see `servers::install`.
            Part::Servers => Vec::new(),
            Part::Fmt => vec![Call::new("fmt --all --check")],
            Part::Clippy => {
                vec![Call::new("clippy --workspace --all-targets --all-features --locked -- -D warnings")]
            }
            Part::Doc => vec![
                Call::new("doc --workspace --no-deps --all-features --locked")
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ],
            Part::Features => vec![
                Call::new("check --locked -p manyhands --no-default-features"),
                Call::new("check --locked -p manyhands-broker --no-default-features"),
                Call::new("check --locked -p manyhands --no-default-features --features local"),
                Call::new("check --locked -p manyhands --no-default-features --features redis"),
                Call::new("check --locked -p manyhands --no-default-features --features rabbitmq"),
            ],
            // Offline, and so without the advisories, whose list comes over the network. The crates of other
            // systems are looked at too, and a build here has not fetched those.
            Part::Deny => {
                vec![Call::new("fetch --locked"), Call::new("deny --offline check bans licenses sources")]
            }
            Part::Doctests => vec![Call::new("test --doc --workspace --all-features --locked")],
            Part::Tests => {
                let call = if nextest {
                    // Long forms may take what would be a hang otherwise.
                    let profile = if long { "--profile long " } else { "" };
                    Call::new(format!(
                        "nextest run {profile}--workspace --all-features --locked --test-threads {}",
                        threads()
                    ))
                } else {
                    Call::new("test --workspace --all-features --locked")
                };
                vec![if long { call.env("MANYHANDS_TEST_LONG", "1") } else { call }]
            }
        }
    }
}

/// How many tests run at a time: most of them wait for a server, a lease or another process. Those that want the machine for themselves say so in
/// `.config/nextest.toml`.
pub(crate) fn threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// One call of cargo.
#[derive(Debug)]
struct Call {
    /// What follows `cargo`, its words parted by single spaces.
    words: String,
    /// A variable to set for this call.
    env: Option<(&'static str, &'static str)>,
}

impl Call {
    /// Makes a call from what follows `cargo`.
    fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), env: None }
    }

    /// Adds further words, each after a space.
    fn with(mut self, words: &str) -> Self {
        self.words.push_str(words);
        self
    }

    /// Sets a variable for this call.
    fn env(self, name: &'static str, value: &'static str) -> Self {
        Self { env: Some((name, value)), ..self }
    }
}

impl fmt::Display for Call {
    /// Writes the call as one would type it into a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, value)) = self.env {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "cargo {}", self.words)
    }
}

/// How a part ended that did not fail.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It ran, for so long.
    Passed(Duration),
    /// A program that it needs is not installed.
    NotInstalled(&'static str),
    /// `--without` named it.
    LeftOut,
}

impl fmt::Display for Outcome {
    /// Writes what stands behind the part's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed(took) => write!(f, "ok, {:.1} s", took.as_secs_f64()),
            Outcome::NotInstalled(program) => write!(f, "not run, {program} is not installed"),
            Outcome::LeftOut => write!(f, "left out"),
        }
    }
}

/// Runs the calls of a part one after the other, up to the first that fails, each with these variables set.
fn run_part(workspace: &Workspace, part: Part, calls: &[Call], env: &[(&str, String)]) -> Result<Duration> {
    println!("== {part}");
    let start = Instant::now();
    for call in calls {
        let mut command = workspace.cargo();
        command.args(call.words.split(' ')).envs(call.env).envs(env.iter().cloned());
        let status = command.status().with_context(|| format!("{part}: cannot start `{call}`"))?;
        if !status.success() {
            let seconds = start.elapsed().as_secs_f64();
            let root = workspace.root().display();
            bail!("{part}: FAILED, {seconds:.1} s ({status})\n== to repeat it, in {root}:\n{call}");
        }
    }
    Ok(start.elapsed())
}

/// Returns the calls that run these tests. Some of them run examples, which cargo builds for itself only where it is to run all: else they
/// would be missing, or those of an earlier build.
fn calls_of_tests(long: bool, nextest: bool, chosen: &str) -> Vec<Call> {
    let examples = || Call::new("build --workspace --all-features --locked --examples");
    let first = (!chosen.is_empty()).then(examples);
    let tests = Part::Tests.calls(long, nextest).into_iter().map(|call| call.with(chosen));
    first.into_iter().chain(tests).collect()
}

/// Runs the tests, and beside them the RabbitMQ server that those share which keep to namespaces of their own.
fn run_tests(workspace: &Workspace, options: &Options) -> Result<()> {
    servers::check(servers::TESTS)?;
    // Ends when it is dropped, and also if this process is killed.
    let rabbit = RabbitMq::start()?;
    let chosen = options.selection().arguments(&targets::all(workspace)?)?;
    let calls = calls_of_tests(options.long, workspace.has("nextest"), &chosen);
    // A message says more than where it came from, and the two together bury each other in a log.
    let env = [("MANYHANDS_TEST_RABBITMQ", rabbit.url()), ("RUST_BACKTRACE", "0".to_owned())];
    run_part(workspace, Part::Tests, &calls, &env)?;
    Ok(())
}

/// Runs the parts that the options choose.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut rows = Vec::new();
    for &part in Part::value_variants() {
        let outcome = if options.leaves_out(part) {
            Outcome::LeftOut
        } else if part == Part::Tests {
            continue; // after the table
        } else if part == Part::Servers {
            println!("== {part}");
            let start = Instant::now();
            servers::install(servers::TESTS)?;
            Outcome::Passed(start.elapsed())
        } else if part == Part::Deny && !workspace.has("deny") {
            Outcome::NotInstalled("cargo-deny")
        } else {
            Outcome::Passed(run_part(&workspace, part, &part.calls(options.long, false), &[])?)
        };
        println!("== {part}: {outcome}");
        rows.push((part, outcome));
    }
    print!("{}", table(&rows));
    if !options.leaves_out(Part::Tests) {
        run_tests(&workspace, options)?;
        let Selection { only, without } = options.selection();
        let suite = "conformance".to_owned();
        if (only.is_empty() || only.contains(&suite)) && !without.contains(&suite) {
            println!("{}", conformance(&workspace)?);
        }
    }
    Ok(())
}

/// Says by which brokers the conformance suite was passed: asked of the suite, which names each case after its broker. To be
/// called when all tests passed.
fn conformance(workspace: &Workspace) -> Result<String> {
    let list = "test --quiet --locked -p manyhands-broker --all-features --test conformance -- --list";
    let output =
        workspace.cargo().args(list.split(' ')).output().context("cannot list the conformance suite")?;
    anyhow::ensure!(output.status.success(), "the conformance suite cannot be listed");
    let cases = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = |broker: &str| cases.lines().filter(|line| line.starts_with(&format!("{broker}::"))).count();
    let brokers = ["memory", "local", "redis", "rabbitmq"];
    let counts: Vec<_> = brokers.map(|broker| format!("{broker} {}", count(broker))).into();
    anyhow::ensure!(
        brokers.iter().all(|broker| count(broker) > 0),
        "a broker has no conformance cases: {counts:?}"
    );
    Ok(format!("conformance: {} cases passed, 0 skipped", counts.join(", ")))
}

/// Returns the table of the parts, one line for each.
fn table(rows: &[(Part, Outcome)]) -> String {
    rows.iter().map(|(part, outcome)| format!("   {part:<9} {outcome}\n")).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    /// The flags alone, as a command line.
    #[derive(Debug, Parser)]
    struct Cli {
        /// The flags under test.
        #[command(flatten)]
        options: Options,
    }

    /// Parses a command line, given without the program's name.
    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = line.split_whitespace();
        Cli::try_parse_from(std::iter::once("test").chain(words)).map(|cli| cli.options)
    }

    /// Writes the calls of a part as typed into a shell.
    fn typed(part: Part, long: bool, nextest: bool) -> Vec<String> {
        part.calls(long, nextest).iter().map(Call::to_string).collect()
    }

    #[test]
    fn every_part_is_chosen_when_none_is_left_out() {
        let options = parse("").unwrap();
        assert!(!options.long);
        assert!(Part::value_variants().iter().all(|&part| !options.leaves_out(part)));
    }

    #[test]
    fn without_may_be_repeated() {
        let options = parse("--without fmt --without deny --long").unwrap();
        let left: Vec<_> = Part::value_variants().iter().filter(|&&part| !options.leaves_out(part)).collect();
        assert!(options.long);
        assert_eq!(
            left,
            [&Part::Servers, &Part::Clippy, &Part::Doc, &Part::Features, &Part::Doctests, &Part::Tests]
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        let error = parse("--without format").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("servers, fmt, clippy, doc, features, deny, doctests, tests"), "{text}");
        for line in ["--without format", "--only host", "--only fmt"] {
            let error = parse(line).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 2 && text.contains("hosts, layers, ledgers"), "{text}");
        }
    }

    #[test]
    fn a_few_tests_run_with_what_they_need_alone() {
        let options = parse("--only hosts --only ledgers --without servers").unwrap();
        let parts: Vec<_> =
            Part::value_variants().iter().filter(|&&part| !options.leaves_out(part)).collect();
        assert_eq!(parts, [&Part::Tests]);
        assert_eq!(options.selection().only, ["hosts", "ledgers"]);
        let options = parse("--without hosts").unwrap();
        assert!(Part::value_variants().iter().all(|&part| !options.leaves_out(part)));
        assert_eq!(options.selection().without, ["hosts"]);
    }

    #[test]
    fn the_tests_are_the_last_part() {
        assert_eq!(Part::value_variants().last(), Some(&Part::Tests));
    }

    #[test]
    fn only_the_tests_know_of_long() {
        for &part in Part::value_variants() {
            let differ = typed(part, true, true) != typed(part, false, true);
            assert_eq!(differ, part == Part::Tests, "{part}");
        }
        assert!(typed(Part::Tests, true, true)[0].starts_with("MANYHANDS_TEST_LONG='1' cargo nextest run "));
    }

    #[test]
    fn cargo_test_stands_in_for_nextest() {
        let expected = "cargo test --workspace --all-features --locked";
        assert_eq!(typed(Part::Tests, false, false), [expected]);
    }

    #[test]
    fn examples_are_built_before_tests_that_were_chosen() {
        let typed =
            |chosen| -> Vec<_> { calls_of_tests(false, false, chosen).iter().map(Call::to_string).collect() };
        let tests = "cargo test --workspace --all-features --locked";
        assert_eq!(typed(""), [tests]);
        let examples = "cargo build --workspace --all-features --locked --examples";
        assert_eq!(typed(" --test layers"), [examples, &format!("{tests} --test layers")]);
    }

    #[test]
    fn a_call_is_written_as_a_shell_takes_it() {
        let expected = "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --locked";
        assert_eq!(typed(Part::Doc, false, true), [expected]);
    }

    #[test]
    fn the_table_says_what_did_not_run() {
        let rows = [
            (Part::Fmt, Outcome::Passed(Duration::from_millis(1234))),
            (Part::Deny, Outcome::NotInstalled("cargo-deny")),
            (Part::Doctests, Outcome::LeftOut),
        ];
        let expected = "   fmt       ok, 1.2 s\n   deny      not run, cargo-deny is not installed\n   doctests  left out\n";
        assert_eq!(table(&rows), expected);
    }
}
