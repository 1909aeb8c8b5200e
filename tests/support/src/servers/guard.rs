//! The process that cleans up after a test which could not.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Reads which groups of processes there are until the test process is gone, then kills them and removes the folder.
/// What a dying process still writes makes `rm` fail, so it is tried again. The files in /dev/shm are libfaketime's.
const SCRIPT: &str = r#"
groups=
while read -r word group; do
  case $word in
    owns) groups="$groups $group" ;;
    lost) kept=; for each in $groups; do [ "$each" = "$group" ] || kept="$kept $each"; done; groups=$kept ;;
  esac
done
for group in $groups; do
  kill -s KILL -- "-$group"
  rm -f "/dev/shm/faketime_shm_$group" "/dev/shm/sem.faketime_sem_$group"
done
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && break; sleep 0.2; done
"#;

/// A shell that reads from a pipe whose other end only this process holds.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    /// `None` while it is dropped.
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts to guard a folder, in a group of its own: whatever kills the test's group spares it.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "guard"]).arg(folder).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = command.spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// A group of processes that must not outlive this process.
    pub(crate) fn owns(&self, group: u32) -> io::Result<()> {
        self.tell("owns", group)
    }

    /// A group that is dead. Must be told before its leader is waited for, as afterwards others may get its number.
    pub(crate) fn lost(&self, group: u32) -> io::Result<()> {
        self.tell("lost", group)
    }

    fn tell(&self, word: &str, group: u32) -> io::Result<()> {
        let mut pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(format!("{word} {group}\n").as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
