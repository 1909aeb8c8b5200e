//! One command as a process: what it reads, what it writes, and its end, which is also that of all it started.

use std::{io, os::unix::process::ExitStatusExt, path::Path, pin::pin, process::Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::tcp::OwnedWriteHalf,
    process::{Child, Command},
};

use crate::{
    list::Ready,
    run::{Ended, STDERR, STDOUT},
    wire::{self, PIECE},
};

/// Where programs are looked for. With the language, all of the environment that a command has.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command that runs. Dropped before its end, it is killed with its process group.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a command by way of this program.
    pub(crate) fn start(own: &Path, ready: &Ready) -> io::Result<Self> {
        let mut command = Command::new(own);
        command
            .arg("stage")
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&ready.program)
            .args(&ready.args);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // It is the tied child of whichever thread starts it: a thread of the runtime, which all live as long as the worker.
        Ok(Self(command.process_group(0).kill_on_drop(true).spawn()?))
    }

    /// Gives it its input, and sends what it writes, as it comes, until it has ended.
    pub(crate) async fn finish(mut self, input: &[u8], to: &mut OwnedWriteHalf) -> io::Result<Ended> {
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut stdin = self.0.stdin.take().ok_or_else(missing)?;
        let mut stdout = Source::new(STDOUT, self.0.stdout.take().ok_or_else(missing)?);
        let mut stderr = Source::new(STDERR, self.0.stderr.take().ok_or_else(missing)?);
        let mut feed = pin!(async move {
            // One that reads no further than it needs is right.
            let _ = stdin.write_all(input).await;
        });
        let mut fed = false;
        while stdout.open || stderr.open {
            tokio::select! {
                () = &mut feed, if !fed => fed = true,
                read = stdout.read(), if stdout.open => stdout.send(read?, to).await?,
                read = stderr.read(), if stderr.open => stderr.send(read?, to).await?,
            }
        }
        // Not before: as long as nobody has asked for its end, its process group is its own.
        let status = self.0.wait().await?;
        let (exit_code, signal) = (status.code(), status.signal());
        Ok(Ended::Exited { exit_code, signal, stdout: stdout.sent, stderr: stderr.sent })
    }
}

/// What the command writes to one of the two.
struct Source<R> {
    kind: u8,
    pipe: R,
    open: bool,
    buffer: Vec<u8>,
    sent: u64,
}

impl<R: AsyncRead + Unpin> Source<R> {
    fn new(kind: u8, pipe: R) -> Self {
        Self { kind, pipe, open: true, buffer: vec![0; PIECE], sent: 0 }
    }

    /// Cancel safe: what is not read yet stays in the pipe.
    async fn read(&mut self) -> io::Result<usize> {
        self.pipe.read(&mut self.buffer).await
    }

    async fn send(&mut self, read: usize, to: &mut OwnedWriteHalf) -> io::Result<()> {
        self.open = read > 0;
        self.sent += read as u64;
        if self.open {
            to.write_all(&wire::frame(&[&[self.kind], &self.buffer[..read]])?).await
        } else {
            Ok(())
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let leader = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(group) = leader {
            // An error says that nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
