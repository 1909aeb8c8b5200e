//! A child of a pool at work: calls in, replies out, in their order.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::Instant,
};

use manyhands_broker::sabotage::{Defect, planted};
use manyhands_worker::function::Functions;

use super::attendant::{Attendant, Desk, Given};
use crate::wire::{Frames, Kind, empty, fits, put};

/// Does calls until there are no more. Each reply is sent before the next call begins: so whoever dies has died of the first call that
/// has no reply, and the others were not begun.
pub(super) fn work(functions: &Functions, socket: UnixStream, frames: Frames) -> io::Result<()> {
    let attendant = Arc::new(Attendant::new(Desk::new(socket, frames)));
    let beside = Arc::clone(&attendant);
    thread::Builder::new().name("attendant".to_owned()).spawn(move || beside.attend())?;
    let (mut reply, mut out) = (Vec::new(), Vec::new());
    while let Some(given) = next(&attendant)? {
        let began = Instant::now();
        empty(&mut reply);
        let done = functions.call_all(&given.function, &given.calls, &mut reply);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match done {
            Ok(()) if fits(reply.len()) => {
                put(&mut out, Kind::Done, given.number, &[&took.to_le_bytes(), &reply]);
            }
            Ok(()) => {
                let why = format!("the result of {} bytes is too large: at most 1 GiB", reply.len());
                put(&mut out, Kind::Refused, given.number, &[why.as_bytes()]);
            }
            Err(why) => put(&mut out, Kind::Refused, given.number, &[why.as_bytes()]),
        }
        let mut desk = attendant.lock();
        desk.running = None;
        if planted(Defect::RepliesTogether) && !desk.inbox.is_empty() {
            continue;
        }
        desk.socket.write_all(&out)?;
        empty(&mut out);
    }
    Ok(())
}

/// The next calls; `None` when there are no more.
fn next(attendant: &Attendant) -> io::Result<Option<Given>> {
    let mut desk = attendant.lock();
    loop {
        desk.sort()?;
        if let Some(given) = desk.inbox.pop_front() {
            desk.running = Some(Instant::now());
            // Something may come later that is to wait behind these calls, unless it was said that nothing will.
            if !given.alone {
                attendant.wake(&mut desk);
            }
            return Ok(Some(given));
        }
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
