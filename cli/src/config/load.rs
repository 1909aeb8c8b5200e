//! From the sources to one list of values, each with its place.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use manyhands_broker::{Error, Result};

use super::{
    Configuration, Entry, Raw, Source,
    keys::{self, Place},
    settings::{self, Settings},
};

/// The name of the file.
const FILE: &str = "manyhands.toml";

/// What the names of variables begin with that set keys.
const PREFIX: &str = "MANYHANDS__";

/// The variable that names the broker.
const BROKER: &str = "MANYHANDS_BROKER";

/// What flags say.
#[derive(Clone, Default)]
pub struct Given {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The broker's URL.
    pub broker: Option<String>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What is around a process: passed in, so that tests need not change their own.
#[derive(Default)]
pub(super) struct Surroundings {
    /// The variables that concern us.
    pub(super) variables: HashMap<String, String>,
    /// Where a file may be, the first one that is there counts.
    pub(super) places: Vec<PathBuf>,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        let ours = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok()?;
            let ours = name == BROKER || name.starts_with(PREFIX);
            // What is no text is refused where the value is looked at.
            ours.then(|| (name, value.to_string_lossy().into_owned()))
        };
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let user = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        let places = [Some(PathBuf::from(FILE)), user.map(|user| user.join("manyhands").join(FILE))];
        Self {
            variables: std::env::vars_os().filter_map(ours).collect(),
            places: places.into_iter().flatten().collect(),
        }
    }
}

pub(super) fn load(given: Given, around: &Surroundings) -> Result<Configuration> {
    let file = match given.file {
        Some(file) if !file.is_file() => {
            let name = file.display();
            let message = if file.exists() {
                format!("the configuration file {name} is no regular file")
            } else {
                format!("there is no configuration file {name}")
            };
            return Err(Error::invalid("configuration", message));
        }
        Some(file) => Some(file),
        None => around.places.iter().find(|place| place.is_file()).cloned(),
    };
    let variables: HashMap<_, _> = around
        .variables
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let mut builder = Config::builder();
    if let Some(file) = &file {
        builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
    }
    let environment =
        Environment::with_prefix("MANYHANDS").prefix_separator("__").separator("__").source(Some(variables));
    let merged = builder.add_source(environment).build().map_err(|e| unreadable(file.as_deref(), &e))?;
    let mut entries = Vec::new();
    flatten(&merged.cache, &mut Vec::new(), file.as_deref(), &mut entries)?;
    let mut broker = |value: String, source| {
        entries.retain(|entry| entry.path != ["broker"]);
        entries.push(Entry { path: vec!["broker".to_owned()], value: Raw::Text(value), source });
    };
    if let Some(url) = around.variables.get(BROKER).filter(|url| !url.is_empty()) {
        broker(url.clone(), Source::Environment(BROKER.to_owned()));
    }
    // One that is empty is refused: it is most often a variable of a script that nobody has set.
    if let Some(url) = given.broker {
        broker(url, Source::Flag("--broker"));
    }
    for (path, value) in settings::defaults() {
        if keys::find(&entries, path).is_none() {
            let path = path.iter().map(|&part| part.to_owned()).collect();
            entries.push(Entry { path, value, source: Source::Default });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    let settings = Settings::of(&entries, folder)?;
    Ok(Configuration { file, entries, settings })
}

/// What is wrong with the text of a file, in one line and with its place.
fn unreadable(file: Option<&Path>, error: &ConfigError) -> Error {
    let name = file.map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
    let why = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    Error::invalid("configuration", format!("{name} cannot be read: {}", why.trim()))
}

/// Walks through the merged tables: values into the list, and an error for the first key that nobody knows.
fn flatten(
    value: &Value,
    path: &mut Vec<String>,
    file: Option<&Path>,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let source = || match value.origin() {
        Some("the environment") | None => {
            Source::Environment(format!("{PREFIX}{}", path.join("__").to_uppercase()))
        }
        Some(_) => Source::File(file.map(Path::to_owned).unwrap_or_default()),
    };
    match (keys::place(path), &value.kind) {
        (Place::Unknown(known), _) => {
            let message =
                format!("{}: there is no key {}", first_source(value, path, file), keys::join(path));
            Err(Error::invalid("configuration", message).advise(keys::unknown(path, known)))
        }
        (Place::Table, ValueKind::Table(table)) => {
            let mut names: Vec<_> = table.keys().collect();
            names.sort();
            for name in names {
                path.push(name.clone());
                flatten(&table[name], path, file, entries)?;
                path.pop();
            }
            Ok(())
        }
        (Place::Table, _) => {
            let message = format!("{}: {} is to be a table, not a value", source(), keys::join(path));
            Err(Error::invalid("configuration", message))
        }
        (Place::Value, kind) => {
            entries.push(Entry { path: path.clone(), value: raw(kind), source: source() });
            Ok(())
        }
    }
}

/// Where a key stands: a table has no place of its own, only what is in it.
fn first_source(value: &Value, path: &[String], file: Option<&Path>) -> String {
    let leaf = match &value.kind {
        ValueKind::Table(table) => table.values().next(),
        _ => None,
    };
    let origin = value.origin().or_else(|| leaf.and_then(Value::origin));
    match (origin, file) {
        (Some("the environment"), _) | (_, None) => {
            format!("{PREFIX}{}", path.join("__").to_uppercase())
        }
        (_, Some(file)) => file.display().to_string(),
    }
}

fn raw(kind: &ValueKind) -> Raw {
    match kind {
        ValueKind::Boolean(yes) => Raw::Bool(*yes),
        ValueKind::I64(number) => Raw::Number(*number),
        ValueKind::I128(number) => {
            i64::try_from(*number).map_or(Raw::Other("a number out of range"), Raw::Number)
        }
        ValueKind::U64(number) => {
            i64::try_from(*number).map_or(Raw::Other("a number out of range"), Raw::Number)
        }
        ValueKind::U128(number) => {
            i64::try_from(*number).map_or(Raw::Other("a number out of range"), Raw::Number)
        }
        ValueKind::Float(_) => Raw::Other("a fraction"),
        ValueKind::String(text) => Raw::Text(text.clone()),
        ValueKind::Nil => Raw::Other("nothing"),
        ValueKind::Table(_) => Raw::Other("a table"),
        ValueKind::Array(items) => {
            let texts: Option<Vec<_>> = items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect();
            texts.map_or(Raw::Other("a list of other things than texts"), Raw::List)
        }
    }
}

#[cfg(test)]
mod tests;
