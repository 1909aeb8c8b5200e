//! Which commands there are, and which arguments they take. Whatever is not in the list is not run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::answer::Request;

/// The commands by their names.
#[derive(Debug)]
pub(crate) struct List(BTreeMap<String, Entry>);

/// One command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What is started. A name is looked for in [`crate::command::PATH`].
    program: String,
    /// The arguments that come before those of the request.
    #[serde(default)]
    first: Vec<String>,
    /// How many arguments the request may have.
    #[serde(default)]
    most: usize,
    /// Of which characters these may be.
    #[serde(default)]
    characters: String,
    /// What else they may be. Only so can one begin with a dash.
    #[serde(default)]
    options: Vec<String>,
    /// Whether the request may have input.
    #[serde(default)]
    input: bool,
}

/// What is to be started.
#[derive(Debug, PartialEq)]
pub(crate) struct Ready {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
}

impl List {
    /// Reads the list of a file, or the one that is in this program.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Self::of(include_str!("commands.json")) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::of(&text).with_context(|| format!("in {}", file.display()))
    }

    fn of(text: &str) -> Result<Self> {
        Ok(Self(serde_json::from_str(text).context("that is no list of commands")?))
    }

    /// Returns what a request starts, or why it is refused.
    pub(crate) fn check(&self, request: &Request) -> Result<Ready, String> {
        let Request { command, args, input, .. } = request;
        let Some(entry) = self.0.get(command) else {
            return Err(format!("there is no command {command:?} in the list"));
        };
        if args.len() > entry.most {
            return Err(format!("{command} takes {} arguments at most, not {}", entry.most, args.len()));
        }
        for arg in args {
            entry.allow(arg).map_err(|why| format!("{command} does not take {arg:?}: {why}"))?;
        }
        if input.is_some() && !entry.input {
            return Err(format!("{command} takes no input"));
        }
        let args = entry.first.iter().chain(args).cloned().collect();
        Ok(Ready { program: entry.program.clone(), args })
    }
}

impl Entry {
    fn allow(&self, arg: &str) -> Result<(), String> {
        if self.options.iter().any(|option| option == arg) {
            return Ok(());
        }
        if arg.is_empty() {
            return Err("it is empty".to_owned());
        }
        if arg.starts_with('-') {
            return Err("it begins with a dash, and is not in the list".to_owned());
        }
        match arg.chars().find(|character| !self.characters.contains(*character)) {
            Some(character) => Err(format!("{character:?} is not allowed in it")),
            None => Ok(()),
        }
    }
}
