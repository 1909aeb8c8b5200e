//! What a child may use.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a child may use, beside time. What it may use by the kernel's own limits is set before its program begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Resident memory, in bytes, of the child and what it started: it is killed when it has more while it runs a task.
    pub(crate) memory: Option<u64>,
    /// Address space, in bytes: `RLIMIT_AS`.
    pub(crate) address_space: Option<u64>,
    /// Time of a processor, in seconds, over all that it does: `RLIMIT_CPU`.
    pub(crate) cpu: Option<u64>,
    /// Files that are open at a time: `RLIMIT_NOFILE`.
    pub(crate) open_files: Option<u64>,
    /// Size of a file that it writes, in bytes: `RLIMIT_FSIZE`.
    pub(crate) file_size: Option<u64>,
}

impl Limits {
    fn kernel(&self) -> [Option<u64>; 4] {
        [self.address_space, self.cpu, self.open_files, self.file_size]
    }

    /// Those that the kernel keeps, as one argument of a program.
    pub(super) fn argument(&self) -> String {
        let part = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        self.kernel().map(part).join(",")
    }

    /// Reads what [`Limits::argument`] wrote.
    pub(super) fn read(argument: &str) -> Option<Self> {
        let part = |part: &str| (part != "-").then(|| part.parse()).transpose();
        let parts: Vec<Option<u64>> = argument.split(',').map(part).collect::<Result<_, _>>().ok()?;
        let [address_space, cpu, open_files, file_size] = parts[..] else { return None };
        Some(Self { memory: None, address_space, cpu, open_files, file_size })
    }

    /// Sets the kernel's limits of this process, which what it becomes keeps.
    ///
    /// # Errors
    /// When the kernel refuses one. None is raised above what this process may have itself.
    pub(super) fn apply(&self) -> io::Result<()> {
        let resources = [Resource::As, Resource::Cpu, Resource::Nofile, Resource::Fsize];
        for (resource, limit) in resources.into_iter().zip(self.kernel()) {
            let Some(limit) = limit else { continue };
            let most = getrlimit(resource).maximum.unwrap_or(u64::MAX).min(limit);
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_an_argument() {
        let limits = Limits { address_space: Some(1 << 40), open_files: Some(64), ..Limits::default() };
        assert_eq!(Limits::read(&limits.argument()), Some(limits));
        assert_eq!(Limits::read(&Limits::default().argument()), Some(Limits::default()));
        for bad in ["", "1,2,3", "1,2,3,4,5", "a,-,-,-"] {
            assert_eq!(Limits::read(bad), None, "{bad}");
        }
    }
}
