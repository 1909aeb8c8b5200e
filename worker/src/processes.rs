//! Processes that are started from this program and end with it, whatever ends it: what the crate for multiprocessing is
//! built on. How that is done is told in `children/`.

pub use crate::children::{Exit, Own, Process, Role, Socket, Spawner};

use crate::children::{self, Limits, Plan, Start};

impl Spawner {
    /// Starts this program again, to do what it is told over a socket, which it has in the place of its standard input;
    /// its standard output and error are those of this process.
    ///
    /// # Errors
    /// When no process can be started.
    ///
    /// # Cancel safety
    /// A process that nobody waits for any more is killed.
    pub async fn start_again(&self, socket: Socket) -> std::io::Result<Process> {
        let (folder, limits) = (std::path::PathBuf::new(), Limits::default());
        self.start_on(socket, Plan { start: Start::Again, folder, env: Vec::new(), limits }).await
    }
}

/// What this process was started for, if by a process of the same program. To be asked before anything else is done.
#[must_use]
pub fn begin() -> Option<Role> {
    children::begin(std::env::args_os())
}
