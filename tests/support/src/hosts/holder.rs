//! Processes that keep namespaces.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use super::explain;

/// Gives the host its own /etc/hosts and its own loopback, lets it tell others of addresses that it takes, and stays as long as the test holds the
/// other end of its input.
const SCRIPT: &str = r#"
set -e
[ -z "$1" ] || mount --bind "$1" /etc/hosts
ip link set lo up
echo 1 >/proc/sys/net/ipv4/conf/default/arp_notify
echo ready
exec cat
"#;

/// A process in a namespace of its own, both of its network and of its mounts, which are there as long as it is.
#[derive(Debug)]
pub(super) struct Holder {
    process: Child,
    /// `None` while it is dropped.
    pipe: Option<ChildStdin>,
}

impl Holder {
    /// Makes the namespaces, in which this file is `/etc/hosts`, if one is given.
    pub(super) fn start(names: Option<&Path>) -> io::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "/bin/sh", "-c", SCRIPT, "host"]);
        command.arg(names.unwrap_or(Path::new(""))).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| explain(&command, &error))?;
        let (pipe, output) = (process.stdin.take(), process.stdout.take());
        let mut said = String::new();
        BufReader::new(output.ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut said)?;
        if said == "ready\n" {
            return Ok(Self { process, pipe });
        }
        let mut error = String::new();
        process.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?.read_to_string(&mut error)?;
        process.wait()?;
        let text = format!(
            "no host can be made, which needs root (CAP_SYS_ADMIN) and a kernel with network namespaces: {}; `cargo xtask test --without hosts` \
             leaves the tests out that need it",
            error.trim_end()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The network, to be entered.
    pub(super) fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    /// A program in the network alone: it sees the machine's files.
    pub(super) fn in_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.network().display()))
            .arg("--")
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// A program on the host: it resolves names as the host does, and is killed when the thread that starts it ends. Its pid is that of the
    /// child, as each of these programs becomes the next one.
    pub(super) fn on_host(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network().display()));
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.pid()));
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}
