//! From SQLite's and the system's errors to the contract's.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::{Error, ErrorKind};

/// Says what an error of SQLite means for the caller.
pub(super) fn sqlite(operation: &'static str, error: rusqlite::Error) -> Error {
    let (kind, message, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::Full, "the disk is full; nothing was changed", "make room on the disk")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Unavailable,
            "the database is locked by another program",
            "close the program that has it open",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Corrupt,
            "the database is damaged or is none",
            "restore a copy, or move the directory away",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            ErrorKind::Unavailable,
            "the database cannot be opened for writing",
            "check the owner and mode of the directory",
        ),
        Some(ErrorCode::SystemIoFailure) => {
            (ErrorKind::Unavailable, "the disk does not read or write", "check the disk")
        }
        _ => (ErrorKind::Internal, "the database refused a statement", "report this as a defect"),
    };
    // As text: SQLite's errors repeat themselves as their own sources.
    Error::new(kind, operation, message).because(error.to_string()).advise(advice)
}

/// Says which file the system refused.
pub(super) fn file(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "make room on the disk")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (ErrorKind::Invalid, "name a directory, or a path where one can be made")
        }
        _ => (ErrorKind::Unavailable, "check the path, its owner and its mode"),
    };
    Error::new(kind, operation, format!("cannot use {}", path.display())).because(error).advise(advice)
}
