//! The flags that all commands have.

use std::{path::PathBuf, sync::OnceLock};

use clap::{ArgAction, Args};
use manyhands_broker::{BrokerUrl, Result};

use crate::{
    Color,
    config::{Configuration, Given},
    resolve,
};

/// Which broker, and which configuration file.
#[derive(Clone, Debug, Args)]
pub struct BrokerArg {
    /// The broker: local:, local:/path, redis://host:port or amqp://host:port  [env: MANYHANDS_BROKER]  [default: as the configuration file says, else local:, in the user's data folder]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,

    /// The configuration file  [default: manyhands.toml here, else manyhands/manyhands.toml in the user's configuration folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What was read, so that it is read once.
    #[arg(skip)]
    loaded: OnceLock<Configuration>,

    /// The URL that a session was opened with, for errors.
    #[arg(skip)]
    used: OnceLock<String>,
}

impl BrokerArg {
    /// The URL as it was given or found, if one was. It may hold a password.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.used.get().map(String::as_str).or(self.broker.as_deref())
    }

    /// The configuration: defaults, file, environment and these flags.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](manyhands_broker::ErrorKind::Invalid) when the file cannot be read, or something in it or in
    /// the environment is wrong.
    pub fn configuration(&self) -> Result<&Configuration> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = self.configuration_now()?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// The configuration as it is now, whatever was read before.
    ///
    /// # Errors
    /// As [`BrokerArg::configuration`].
    pub fn configuration_now(&self) -> Result<Configuration> {
        Configuration::load(Given { file: self.config.clone(), broker: self.broker.clone() })
    }

    /// The broker's URL.
    ///
    /// # Errors
    /// As [`BrokerArg::configuration`] and [`resolve`].
    pub fn url(&self) -> Result<BrokerUrl> {
        let given = self.configuration()?.settings().broker.as_deref();
        let url = resolve(given).inspect_err(|_| {
            self.used.get_or_init(|| given.unwrap_or_default().to_owned());
        })?;
        self.used.get_or_init(|| url.expose());
        Ok(url)
    }
}

/// How much is said on standard error, and in which colours.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// Say less: errors only
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for details
    #[arg(long, short, action = ArgAction::Count)]
    pub verbose: u8,

    /// Use colour: auto does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}
