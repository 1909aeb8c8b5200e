//! What the calls in a directory survive: a property of the directory, in a file of its own.

use std::{
    fs::{self, File},
    io::{ErrorKind::NotFound, Write},
};

use super::{LocalConfig, error};
use crate::{Durability, Error, ErrorKind, Result};

/// What holds in the directory, which gets what is asked for if there is no database in it yet. The caller holds the turn.
///
/// # Errors
/// [`ErrorKind::Conflict`] when something else is asked for; [`ErrorKind::Incompatible`] when a newer version wrote it; what
/// reading and writing fails with.
pub(super) fn settle(config: &LocalConfig) -> Result<Durability> {
    let path = config.durability();
    let failed = |e| error::file("open", &path, e);
    // No file is the default, and what older versions made.
    let stored = match fs::read_to_string(&path) {
        Ok(text) => text.trim_end().parse().map_err(|_| {
            let message =
                format!("{} says {:?}, which this version does not know", path.display(), text.trim_end());
            Error::new(ErrorKind::Incompatible, "open", message).advise("upgrade this program")
        })?,
        Err(e) if e.kind() == NotFound => Durability::default(),
        Err(e) => return Err(failed(e)),
    };
    match config.durability {
        None => Ok(stored),
        Some(asked) if asked == stored => Ok(stored),
        Some(asked) if !config.database().exists() => {
            // Whoever is killed meanwhile leaves it whole, or none.
            let new = path.with_extension("new");
            let mut file = File::create(&new).map_err(failed)?;
            writeln!(file, "{asked}").and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&new, &path).map_err(failed)?;
            File::open(&config.dir).and_then(|folder| folder.sync_all()).map_err(failed)?;
            Ok(asked)
        }
        Some(asked) => {
            let message = format!("{} was made with durability {stored}, not {asked}", config.dir.display());
            let advice = "leave the durability out of the URL, or name another directory";
            Err(Error::new(ErrorKind::Conflict, "open", message).advise(advice))
        }
    }
}
