//! `cargo xtask releases`: the servers of other Debian releases must do what those of this one do.
//!
//! Each release is unpacked into a folder of its own, with its servers, and the tests of the brokers run with that folder as their root. They
//! are those of this machine, so the C library of the release must be as new.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use manyhands_test_support::servers::{RabbitMq, Redis};

use crate::servers;
use crate::test::threads;
use crate::workspace::Workspace;

/// The flags of `cargo xtask releases`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The releases, by their names.
    #[arg(default_values = ["trixie", "forky"], value_parser = name)]
    names: Vec<String>,

    /// Which tests of the brokers, as an expression of nextest.
    #[arg(short = 'E', long, value_name = "EXPRESSION", default_value = TESTS)]
    filter: String,

    /// Run these tests here, with the servers of this root.
    #[arg(long, hide = true, value_name = "ARCHIVE")]
    here: Option<PathBuf>,
}

/// What each broker promises, and what only it does.
const TESTS: &str = "test(/^(redis|rabbitmq)::/) + binary(redis) + binary(rabbitmq)";

/// Where releases come from.
const MIRROR: &str = "http://deb.debian.org/debian";

/// What a release needs beside its smallest set.
const PACKAGES: &str = "redis-server,rabbitmq-server,libfaketime,ca-certificates,procps";

/// Written when a release is complete.
const COMPLETE: &str = "manyhands-complete";

/// Gives a process the release as its root, and what it needs of this machine; all of that ends with it. The root, how many paths are to be there, too, those,
/// and then the program.
const ENTER: &str = r#"set -e
root=$1; paths=$2; shift 2
for path in /proc /sys /dev /tmp; do mount --rbind "$path" "$root$path"; done
cp /etc/hosts "$root/etc/"
while [ "$paths" -gt 0 ]; do
  mkdir -p "$root$1"; mount --rbind "$1" "$root$1"
  paths=$((paths - 1)); shift
done
exec chroot "$root" "$@""#;

/// Reads the name of a release.
fn name(name: &str) -> Result<String, String> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_name { Ok(name.to_owned()) } else { Err("the name of a Debian release, as trixie".to_owned()) }
}

/// Runs the tests with the servers of each release.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(archive) = &options.here {
        return run_here(archive, &options.filter);
    }
    let workspace = Workspace::find()?;
    workspace.needs_nextest()?;
    ensure!(servers::is_root(), "only root may give a process another root: sudo -E cargo xtask releases");
    servers::install(servers::RELEASES)?;
    let folder = workspace.target()?.join("releases");
    fs::create_dir_all(&folder)?;
    println!("== build");
    let archive = folder.join("tests.tar.zst");
    let mut build = workspace.cargo();
    build.args(["nextest", "archive", "--package", "manyhands-broker", "--all-features", "--locked"]);
    succeed(build.arg("--archive-file").arg(&archive), "the tests cannot be built")?;
    let mut failed = Vec::new();
    for name in &options.names {
        println!("== {name}");
        let root = folder.join(name);
        if !root.join(COMPLETE).exists() {
            unpack(name, &root)?;
        }
        if let Err(error) = run_in(&workspace, &root, &archive, &options.filter) {
            eprintln!("== {name}: {error:#}");
            failed.push(name.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "the servers of {} do not do what those of this machine do",
        failed.join(", ")
    );
    Ok(())
}

/// Unpacks a release.
fn unpack(name: &str, root: &Path) -> Result<()> {
    println!("   unpacking it");
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| root.display().to_string())?;
    }
    // What it mounts there ends with it, also when it is killed: the next one removes what is there.
    let mut unpack = Command::new("unshare");
    unpack.args(["--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]);
    unpack.arg(format!("--include={PACKAGES}")).arg(name).arg(root).arg(MIRROR);
    // It knows no release that is newer than itself by name, and makes all newer ones alike.
    if !Path::new("/usr/share/debootstrap/scripts").join(name).exists() {
        unpack.arg("/usr/share/debootstrap/scripts/sid");
    }
    let log = root.with_extension("log");
    let output = fs::File::create(&log).with_context(|| log.display().to_string())?;
    succeed(unpack.stdout(output), &format!("{name} cannot be unpacked, see {}", log.display()))?;
    fs::write(root.join(COMPLETE), "")?;
    Ok(())
}

/// Runs this program with another root.
fn run_in(workspace: &Workspace, root: &Path, archive: &Path, filter: &str) -> Result<()> {
    let (us, nextest) = (env::current_exe()?, which("cargo-nextest")?);
    let folders = [workspace.root(), &workspace.target()?, folder_of(&us)?, folder_of(&nextest)?];
    let mut enter = Command::new("unshare");
    enter.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]).arg(root);
    enter.arg(folders.len().to_string()).args(folders).arg(us).args(["releases", "--filter", filter]);
    enter.arg("--here").arg(archive).env("CARGO_MANIFEST_DIR", workspace.root().join("xtask"));
    succeed(&mut enter, "its tests failed")
}

/// Runs the tests of an archive here, and beside them the RabbitMQ server that those share which keep to namespaces of their own.
fn run_here(archive: &Path, filter: &str) -> Result<()> {
    let workspace = Workspace::find()?;
    let ((redis, of_redis), (rabbit, of_rabbit)) = (Redis::release()?, RabbitMq::release()?);
    println!("   Redis {redis}.{of_redis}, RabbitMQ {rabbit}.{of_rabbit}");
    let rabbit = RabbitMq::start()?;
    let mut tests = Command::new("cargo-nextest");
    tests.args(["nextest", "run", "--no-fail-fast", "--archive-file"]).arg(archive);
    tests.arg("--workspace-remap").arg(workspace.root()).arg("--filterset").arg(filter);
    tests.arg("--test-threads").arg(threads().to_string()).current_dir(workspace.root());
    tests.env("MANYHANDS_TEST_RABBITMQ", rabbit.url()).env("RUST_BACKTRACE", "0");
    succeed(&mut tests, "not all of them passed")
}

/// Runs a program, which must end well.
fn succeed(command: &mut Command, otherwise: &str) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(status.success(), "{otherwise} ({status})");
    Ok(())
}

/// Finds a program on the PATH.
fn which(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    match found {
        Some(found) => Ok(found),
        None => bail!("{program} is not on the PATH"),
    }
}

fn folder_of(program: &Path) -> Result<&Path> {
    program.parent().with_context(|| program.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_name_that_is_no_path() {
        assert_eq!(name("trixie"), Ok("trixie".to_owned()));
        for other in ["", "..", "a/b", "--help", "Trixie"] {
            assert!(name(other).is_err(), "{other}");
        }
    }
}
