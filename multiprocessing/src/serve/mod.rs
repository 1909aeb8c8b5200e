//! The child's side: this program, started again, does what it is told over its standard input.

mod attendant;
mod desk;

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
};

use manyhands_broker::{Error, ErrorKind, Result};
use manyhands_worker::function::{Functions, read_reply, tell_panics_in_replies};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    home::{self, Here},
    process::Order,
    wire::{Frames, Kind, put},
};

/// What a child is to be.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Begin {
    /// It calls one function, and ends.
    Process(Order),
    /// It does the calls of a pool.
    Pool {
        name: String,
        parent: u32,
        /// What is called before all else.
        initializer: Option<Call>,
    },
}

/// One call of a function.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Call {
    pub(crate) function: String,
    /// A JSON array of the arguments of this call alone.
    pub(crate) calls: Box<RawValue>,
}

/// Does what the process that started this one says.
///
/// # Errors
/// Why it cannot be heard.
pub(crate) fn serve(functions: Functions) -> Result<ExitCode> {
    let failed = |e: io::Error| {
        Error::new(ErrorKind::Internal, "start", "the process that started this one cannot be heard")
            .because(e)
    };
    let mut socket = take_socket().map_err(failed)?;
    let mut frames = Frames::default();
    let begin = loop {
        if let Some(frame) = frames.next().map_err(failed)? {
            break serde_json::from_slice::<Begin>(frame.body).map_err(|e| failed(e.into()))?;
        }
        match socket.read(frames.room()).map_err(failed)? {
            // It is gone, and this process has nothing to do.
            0 => return Ok(ExitCode::SUCCESS),
            count => frames.read(count),
        }
    };
    match begin {
        Begin::Process(order) => {
            drop((socket, frames));
            let Order { function, calls, name, daemon, parent } = order;
            let here = home::settle(Here { functions, name, daemon, parent: Some(parent) })?;
            let ended = call(&here.functions, &function, &calls);
            home::finish();
            // A panic has said so itself.
            Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Begin::Pool { name, parent, initializer } => {
            let here = home::settle(Here { functions, name, daemon: true, parent: Some(parent) })?;
            tell_panics_in_replies();
            let begun = initializer
                .map_or(Ok(()), |Call { function, calls }| call(&here.functions, &function, &calls));
            let mut hello = Vec::new();
            match &begun {
                Ok(()) => put(&mut hello, Kind::Ready, 0, &[]),
                Err(why) => put(&mut hello, Kind::Broken, 0, &[why.as_bytes()]),
            }
            let said = socket.write_all(&hello);
            if begun.is_ok() && said.is_ok() {
                desk::work(&here.functions, socket, frames).map_err(failed)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Takes the socket from the place of standard input, where then nothing is to be read.
fn take_socket() -> io::Result<UnixStream> {
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let socket = UnixStream::from(socket);
    // The other end is this one's own file, and may wait in its own way.
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// Does one call, and tells if it panicked.
fn call(functions: &Functions, function: &str, calls: &RawValue) -> std::result::Result<(), String> {
    let mut out = Vec::new();
    functions.call_all(function, calls.get().as_bytes(), &mut out)?;
    let text = String::from_utf8(out).map_err(|e| e.to_string())?;
    let each =
        |reply: manyhands_worker::function::Reply<'_>| Ok(reply.map(|_| ()).map_err(ToOwned::to_owned));
    let ends = read_reply(&text, |_| Ok(Vec::new()), each).map_err(|e| e.to_string())?;
    ends.into_iter().collect()
}
