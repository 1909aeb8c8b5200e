//! The configuration: defaults, then one file, then the environment, then flags; the later wins.
//!
//! [`keys`] says which keys there are, [`load`] reads the sources, and [`settings`] makes typed values of them. A key that
//! nobody knows, or a value that is none, is an error that names its place.

mod keys;
mod load;
mod settings;
mod task;

use std::{fmt, path::PathBuf};

pub use self::{
    load::Given,
    settings::{Settings, WorkerSettings},
    task::{Program, TaskSettings},
};
use manyhands_broker::{BrokerUrl, Error, Result};

/// All that is configured, and where each value came from.
#[derive(Clone)]
pub struct Configuration {
    file: Option<PathBuf>,
    entries: Vec<Entry>,
    settings: Settings,
}

/// One value that is in force.
#[derive(Clone, PartialEq)]
pub struct Entry {
    path: Vec<String>,
    value: Raw,
    source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is what holds unless anything is said.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The variable of this name.
    Environment(String),
    /// The flag of this name.
    Flag(&'static str),
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
enum Raw {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<String>),
    /// What no key takes: a table, a fraction, a list of other things.
    Other(&'static str),
}

impl Configuration {
    /// Reads the configuration file, if there is one, and the environment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](manyhands_broker::ErrorKind::Invalid) when the file cannot be read, or something in it or in
    /// the environment is wrong; it names the file or the variable, and the key.
    pub fn load(given: Given) -> Result<Self> {
        load::load(given, &load::Surroundings::of_this_process())
    }

    /// The configuration file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// The values, typed.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is wrong with a value, given its key as the parts of a path: an error that names where the value came from.
    #[must_use]
    pub fn wrong(&self, path: &[&str], why: &str) -> Error {
        match keys::find(&self.entries, path) {
            Some(entry) => settings::wrong(entry, why),
            None => Error::invalid("configuration", format!("{}: {why}", path.join("."))),
        }
    }

    /// All values that are in force, by key.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

impl Entry {
    /// The key, its parts joined by dots; a part with a dot in it is quoted, as in the file.
    #[must_use]
    pub fn key(&self) -> String {
        keys::join(&self.path)
    }

    /// The value as JSON, without users and passwords of URLs.
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        match &self.value {
            Raw::Text(text) => without_password(text).into(),
            Raw::Number(number) => (*number).into(),
            Raw::Bool(yes) => (*yes).into(),
            Raw::List(items) => items.iter().map(|item| without_password(item)).collect(),
            Raw::Other(what) => (*what).into(),
        }
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}

/// A URL may stand anywhere: as the broker, or among the arguments of a program.
fn without_password(text: &str) -> String {
    if text.contains("://") || text.starts_with("amqp:") || text.starts_with("redis:") {
        BrokerUrl::without_password(text)
    } else {
        text.to_owned()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::File(path) => f.pad(&path.display().to_string()),
            Self::Environment(name) => f.pad(name),
            Self::Flag(name) => f.pad(name),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key(), self.value(), self.source)
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the settings: they hold the broker's password.
        f.debug_struct("Configuration")
            .field("file", &self.file)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
