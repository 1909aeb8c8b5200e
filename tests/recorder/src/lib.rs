//! Records what processes do to the files of one folder, so that a test can tell what a disk may hold of it after a power cut.
//!
//! A program that is linked with this crate does its file operations through it, SQLite's included: [`calls`](self) stand in for
//! the functions of the C library. They do nothing else until [`record`] is called; then each change of a file in the folder is
//! appended to a log, by all processes that record it, one at a time, so that the log is the order in which everything
//! happened. [`note`] puts the test's own words between them: what was asked and what was answered. [`Disk`] replays a log,
//! up to wherever the power is cut.
//!
//! Linked in, not preloaded: that needs no library beside the program, and the symbols of a program win over those of
//! libraries. [`Disk::whole`] against the files that are really there tells whether anything was missed.

#![cfg(target_os = "linux")]

mod calls;
mod disk;
mod log;

pub use calls::{note, record};
pub use disk::{Disk, Loss};
pub use log::{Entry, Event, read};
