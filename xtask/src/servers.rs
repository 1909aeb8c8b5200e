//! The servers that the tests and the benchmark start: installed from Debian's packages where that is possible.

mod policy;
pub(crate) mod running;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use manyhands_test_support::servers::RabbitMq;

use self::policy::Policy;

/// A program or library that is needed.
pub(crate) struct Needed {
    /// The Debian package that brings it.
    package: &'static str,
    /// Whether it is there.
    there: fn() -> bool,
}

/// What the tests need.
pub(crate) const TESTS: &[Needed] = &[
    Needed { package: "redis-server", there: has_redis },
    Needed { package: "rabbitmq-server", there: RabbitMq::is_installed },
    // Moves the clock of a server under test.
    Needed { package: "libfaketime", there: has_faketime },
    // Hosts of their own, and what is lost between them.
    Needed { package: "iproute2", there: has_ip },
    Needed { package: "nftables", there: has_nft },
    // Handlers in other languages.
    Needed { package: "python3", there: has_python },
    Needed { package: "nodejs", there: has_node },
    // Real pages, to be crawled.
    Needed { package: "python3-doc", there: has_documentation },
];

/// What other releases are unpacked with.
pub(crate) const RELEASES: &[Needed] = &[Needed { package: "debootstrap", there: has_debootstrap }];

/// What the benchmark needs, beside which it measures.
pub(crate) const BENCHMARK: &[Needed] = &[Needed { package: "nats-server", there: has_nats }];

/// What the benchmark of the broker over Redis cannot do without.
pub(crate) const BENCHMARK_REDIS: &[Needed] = &[Needed { package: "redis-server", there: has_redis }];

/// The same of the broker over RabbitMQ.
pub(crate) const BENCHMARK_RABBITMQ: &[Needed] =
    &[Needed { package: "rabbitmq-server", there: RabbitMq::is_installed }];

/// The packages of what is not there.
fn missing(needed: &[Needed]) -> Vec<&'static str> {
    needed.iter().filter(|needed| !(needed.there)()).map(|needed| needed.package).collect()
}

/// Something is missing that cannot be installed from here.
#[derive(Debug)]
pub(crate) struct Missing {
    /// The packages.
    packages: Vec<&'static str>,
}

impl fmt::Display for Missing {
    /// Writes what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages = self.packages.join(" ");
        write!(
            f,
            "servers: {packages}: missing, and can be installed here only by you. Run\n{INSTALL} {packages}"
        )
    }
}

impl std::error::Error for Missing {}

/// Ends with [`Missing`] if something is not there.
pub(crate) fn check(needed: &[Needed]) -> Result<()> {
    let packages = missing(needed);
    if packages.is_empty() { Ok(()) } else { Err(Missing { packages }.into()) }
}

/// What a person types.
const INSTALL: &str = "sudo apt-get install --yes --no-install-recommends";

/// Installs what is missing, as root on a Debian system; elsewhere says how and ends with [`Missing`].
pub(crate) fn install(needed: &[Needed]) -> Result<()> {
    let packages = missing(needed);
    if packages.is_empty() {
        return Ok(());
    }
    if !is_root() || !Path::new("/etc/debian_version").exists() {
        return Err(Missing { packages }.into());
    }
    println!("   installing {}", packages.join(" "));
    // Only the programs are wanted: a package's own server would run from now on, and RabbitMQ's take its ports.
    let policy = Policy::start_nothing()?;
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    drop(policy);
    // A package that is there but brings something else than was looked for would fail in every test.
    check(needed)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    // Its talk is of no interest unless it fails, and then it is on standard error.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("cannot start apt-get")?;
    anyhow::ensure!(status.success(), "apt-get {} failed ({status})", arguments.join(" "));
    Ok(())
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

fn has_redis() -> bool {
    starts("redis-server")
}

fn has_ip() -> bool {
    says_its_version("ip", "-Version")
}

fn has_nft() -> bool {
    starts("nft")
}

fn has_python() -> bool {
    starts("python3")
}

fn has_node() -> bool {
    starts("node")
}

fn has_debootstrap() -> bool {
    starts("debootstrap")
}

fn has_nats() -> bool {
    starts("nats-server")
}

/// Whether a server is there that can say its version.
fn starts(server: &str) -> bool {
    says_its_version(server, "--version")
}

fn says_its_version(program: &str, flag: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_faketime() -> bool {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).any(|library| library.exists())
}

/// Whether there is the documentation of Rust, a component of most toolchains, or that of Python.
fn has_documentation() -> bool {
    let told = Command::new("rustc").args(["--print", "sysroot"]).stdin(Stdio::null()).output();
    let sysroot =
        told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default();
    let places = [Path::new(&sysroot).join("share/doc/rust/html"), "/usr/share/doc/python3/html".into()];
    places.iter().any(|place| place.join("index.html").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_as_one_command() {
        let text = Missing { packages: vec!["redis-server", "libfaketime"] }.to_string();
        assert!(
            text.ends_with("\nsudo apt-get install --yes --no-install-recommends redis-server libfaketime"),
            "{text}"
        );
    }
}
