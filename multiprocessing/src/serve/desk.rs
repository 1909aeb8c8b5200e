//! A child of a pool at work: calls in, replies out, in their order.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::Instant,
};

use manyhands_worker::function::Functions;

use super::attendant::{Attendant, Desk, Given};
use crate::wire::{Frames, Kind, put};

/// From how many bytes on replies are sent, though more calls are there.
const ENOUGH: usize = 64 * 1024;

/// Does calls until there are no more.
pub(super) fn work(
    functions: &Functions,
    socket: UnixStream,
    frames: Frames,
    strict: bool,
) -> io::Result<()> {
    let attendant = Arc::new(Attendant::new(Desk::new(socket, frames)));
    if !strict {
        let beside = Arc::clone(&attendant);
        thread::Builder::new().name("attendant".to_owned()).spawn(move || beside.attend())?;
    }
    while let Some(given) = next(&attendant)? {
        let began = Instant::now();
        let mut reply = Vec::with_capacity(64);
        let done = functions.call_all(&given.function, &given.calls, &mut reply);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut desk = attendant.lock();
        desk.running = None;
        match done {
            Ok(()) if crate::wire::fits(reply.len()) => {
                put(&mut desk.out, Kind::Done, given.number, &[&took.to_le_bytes(), &reply]);
            }
            Ok(()) => {
                let why = format!("the result of {} bytes is too large: at most 1 GiB", reply.len());
                put(&mut desk.out, Kind::Refused, given.number, &[why.as_bytes()]);
            }
            Err(why) => put(&mut desk.out, Kind::Refused, given.number, &[why.as_bytes()]),
        }
        if strict || desk.out.len() >= ENOUGH {
            desk.send()?;
        }
    }
    Ok(())
}

/// The next calls; `None` when there are no more. Replies are sent before it waits.
fn next(attendant: &Attendant) -> io::Result<Option<Given>> {
    let mut desk = attendant.lock();
    loop {
        desk.sort()?;
        if let Some(given) = desk.inbox.pop_front() {
            desk.running = Some(Instant::now());
            // Something may come later that is to wait behind these calls, unless it was said that nothing will.
            if !given.alone || !desk.out.is_empty() {
                attendant.wake(&mut desk);
            }
            return Ok(Some(given));
        }
        desk.send()?;
        // Nothing runs, so that nobody else needs the desk.
        let Desk { socket, frames, .. } = &mut *desk;
        match socket.read(frames.room()) {
            Ok(0) => return Ok(None),
            Ok(count) => frames.read(count),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Whoever gave calls is gone.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}
