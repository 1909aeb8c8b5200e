//! The functions of the C library that change files, and what is recorded of them.
//!
//! SQLite and the standard library call them by these names, and get these here: the linker takes the first definition that it
//! finds, and that of the C library is in no archive. Whatever a program calls by another way, such as system calls of its own,
//! is not recorded.

#![allow(unsafe_code, reason = "stands in for functions of the C library, which take pointers")]

use std::{
    ffi::{CStr, OsStr},
    fs::OpenOptions,
    io,
    os::{
        fd::IntoRawFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
    slice,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use libc::{c_char, c_int, c_long, c_void, mode_t, off_t, size_t, ssize_t, syscall};

use crate::log::{Entry, Event};

/// A recording under way.
struct Recording {
    /// With a slash at its end.
    folder: Vec<u8>,
    /// The log's descriptor, open as long as the process lives.
    log: c_int,
}

static RECORDING: OnceLock<Recording> = OnceLock::new();

/// Held for the length of an operation and its entry; the lock on the log is the same between processes.
static TURN: Mutex<()> = Mutex::new(());

/// More descriptors than a test has.
const DESCRIPTORS: usize = 4096;

/// The descriptors that are files of the folder, or folders in it.
static OURS: [AtomicBool; DESCRIPTORS] = [const { AtomicBool::new(false) }; DESCRIPTORS];

/// From now on, appends to the log what this process does to files in the folder. Once a process.
///
/// # Errors
///
/// If the log cannot be opened; [`io::ErrorKind::AlreadyExists`] when this process records already.
pub fn record(folder: &Path, log: &Path) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).custom_flags(libc::O_CLOEXEC).open(log)?;
    let mut folder = folder.canonicalize()?.into_os_string().into_encoded_bytes();
    folder.push(b'/');
    let recording = Recording { folder, log: log.into_raw_fd() };
    RECORDING.set(recording).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Puts words into the log, between what was done before and what is done after.
pub fn note(text: &[u8]) {
    if let Some(recording) = RECORDING.get() {
        recording.in_turn(|| recording.append(Event::Note { text: text.to_vec() }));
    }
}

impl Recording {
    /// Does something while nobody else does anything that is recorded.
    fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: these take no pointers.
        while unsafe { libc::flock(self.log, libc::LOCK_EX) } != 0 {}
        let result = work();
        // SAFETY: as above.
        unsafe { libc::flock(self.log, libc::LOCK_UN) };
        result
    }

    /// A recording with a gap would accuse the innocent.
    fn append(&self, event: Event) {
        let entry = Entry { pid: std::process::id(), event }.encode();
        // SAFETY: the pointer and the length are those of the vector.
        let written = unsafe { syscall(libc::SYS_write, self.log, entry.as_ptr(), entry.len()) };
        if usize::try_from(written) != Ok(entry.len()) {
            std::process::abort();
        }
    }

    /// The path in the folder; `None` for what is elsewhere.
    fn path(&self, path: &CStr) -> Option<PathBuf> {
        let path = path.to_bytes();
        if path == &self.folder[..self.folder.len() - 1] {
            return Some(PathBuf::new());
        }
        path.strip_prefix(self.folder.as_slice()).map(|path| PathBuf::from(OsStr::from_bytes(path)))
    }
}

fn ours(fd: c_int) -> Option<&'static AtomicBool> {
    OURS.get(usize::try_from(fd).ok()?)
}

/// Does something to a descriptor, and records it if it is a file of the folder and there was no error.
fn change(fd: c_int, call: impl FnOnce() -> c_long, event: impl FnOnce(c_long) -> Event) -> c_long {
    match RECORDING.get() {
        Some(recording) if ours(fd).is_some_and(|ours| ours.load(SeqCst)) => recording.in_turn(|| {
            let result = call();
            if result >= 0 {
                recording.append(event(result));
            }
            result
        }),
        _ => call(),
    }
}

/// Does something to names, and records it if there was no error and the event is one.
fn name(call: impl FnOnce() -> c_long, event: impl FnOnce(&Recording) -> Option<Event>) -> c_int {
    let result = match RECORDING.get() {
        Some(recording) => match event(recording) {
            Some(event) => recording.in_turn(|| {
                let result = call();
                if result >= 0 {
                    recording.append(event);
                }
                result
            }),
            None => call(),
        },
        None => call(),
    };
    result as c_int
}

/// # Safety
/// As the C library's; `mode` is read only where a file may be made, so a caller that passes none is right too.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's pointer, as it is.
    let call = || unsafe { syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    let Some(recording) = RECORDING.get() else { return call() as c_int };
    // SAFETY: the caller passes a text that ends with a zero.
    let Some(path) = recording.path(unsafe { CStr::from_ptr(path) }) else { return call() as c_int };
    recording.in_turn(|| {
        let fd = call() as c_int;
        if fd >= 0 {
            match ours(fd) {
                Some(ours) => ours.store(true, SeqCst),
                None => std::process::abort(),
            }
            let (create, truncate) = (flags & libc::O_CREAT != 0, flags & libc::O_TRUNC != 0);
            recording.append(Event::Open { fd, create, truncate, path });
        }
        fd
    })
}

/// # Safety
/// As [`open`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same function: on this platform there is no other.
    unsafe { open(path, flags | libc::O_LARGEFILE, mode) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    // Before: as soon as it is closed, another thread may get the same number.
    if let Some(ours) = ours(fd) {
        ours.store(false, SeqCst);
    }
    // SAFETY: takes no pointers.
    unsafe { syscall(libc::SYS_close, fd) as c_int }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn write(fd: c_int, data: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's pointer, as it is.
    let call = || unsafe { syscall(libc::SYS_write, fd, data, count) };
    let event = |written: c_long| {
        // SAFETY: takes no pointers.
        let behind = unsafe { syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
        // SAFETY: so many bytes were there to be written.
        unsafe { written_at(fd, data, written, behind - written) }
    };
    change(fd, call, event) as ssize_t
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite64(
    fd: c_int,
    data: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: the caller's pointer, as it is.
    let call = || unsafe { syscall(libc::SYS_pwrite64, fd, data, count, offset) };
    // SAFETY: so many bytes were there to be written.
    change(fd, call, |written| unsafe { written_at(fd, data, written, offset) }) as ssize_t
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite(
    fd: c_int,
    data: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    // SAFETY: the same function.
    unsafe { pwrite64(fd, data, count, offset) }
}

/// # Safety
/// At `data` there are `written` bytes.
unsafe fn written_at(fd: c_int, data: *const c_void, written: c_long, offset: i64) -> Event {
    // SAFETY: see above; and nothing is read where nothing was written.
    let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), written as usize) };
    Event::Write { fd, offset: offset.cast_unsigned(), data: data.to_vec() }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: takes no pointers.
    let call = || unsafe { syscall(libc::SYS_ftruncate, fd, length) };
    change(fd, call, |_| Event::Length { fd, length: length.cast_unsigned() }) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    // SAFETY: the same function.
    unsafe { ftruncate64(fd, length) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    change(fd, || unsafe { syscall(libc::SYS_fsync, fd) }, |_| Event::Sync { fd }) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    change(fd, || unsafe { syscall(libc::SYS_fdatasync, fd) }, |_| Event::Sync { fd }) as c_int
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's pointers, as they are.
    let call = || unsafe { syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) };
    // SAFETY: the caller passes texts that end with a zero.
    let (from, to) = unsafe { (CStr::from_ptr(from), CStr::from_ptr(to)) };
    name(call, |recording| Some(Event::Rename { from: recording.path(from)?, to: recording.path(to)? }))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's pointer, as it is.
    let call = || unsafe { syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    // SAFETY: the caller passes a text that ends with a zero.
    let path = unsafe { CStr::from_ptr(path) };
    name(call, |recording| Some(Event::Remove { path: recording.path(path)? }))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's pointer, as it is.
    let call = || unsafe { syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    // SAFETY: the caller passes a text that ends with a zero.
    let path = unsafe { CStr::from_ptr(path) };
    name(call, |recording| Some(Event::Folder { path: recording.path(path)? }))
}
