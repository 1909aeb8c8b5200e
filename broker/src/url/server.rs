//! The URL of a server, and what can be said of the way to it.

use std::{fmt, path::PathBuf};

use super::BrokerUrl;

/// The URL of a server, without the namespace. It may hold a password, which is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    options: ServerOptions,
}

/// What is said of a server after the question mark of its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// `ca=FILE`, for `rediss://`: the certificates, as PEM, of those whose signature on the server's certificate is trusted. Without
    /// it they are those that the system trusts.
    pub ca: Option<PathBuf>,
    /// `cert=FILE` and `key=FILE`, for `rediss://`: what this side shows to a server that asks for a certificate, as PEM.
    pub identity: Option<Identity>,
    /// `db=N`, for a socket: the number of the database. The URL of a host has it as its path.
    pub database: Option<u32>,
    /// `allow_eviction=true`, for Redis: to use a server that throws keys away when its memory is full, and tasks with them.
    pub allow_eviction: bool,
}

/// The certificate of this side, and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The file of the certificate, and of those between it and the one that the server trusts.
    pub cert: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

impl ServerUrl {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), options: ServerOptions::default() }
    }

    /// The URL with its password: for whoever opens the connection.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is said besides.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// The same server, used even if it throws keys away when its memory is full: for whoever only looks at it.
    #[must_use]
    pub fn with_eviction_allowed(mut self) -> Self {
        self.options.allow_eviction = true;
        self
    }

    /// Whether this is an option of such a server.
    pub(super) fn takes(&self, name: &str) -> bool {
        match name {
            "ca" | "cert" | "key" => self.text.starts_with("rediss:"),
            "db" => !self.text.starts_with("redis:") && !self.text.starts_with("rediss:"),
            name => name == "allow_eviction",
        }
    }

    /// Takes an option of such a server, or says what is wrong with it.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() && ["ca", "cert", "key"].contains(&name) {
            return Err(format!("{name} names no file"));
        }
        let options = &mut self.options;
        let identity = |options: &mut ServerOptions| options.identity.take().unwrap_or_default();
        match name {
            "ca" => options.ca = Some(value.into()),
            "cert" => options.identity = Some(Identity { cert: value.into(), ..identity(options) }),
            "key" => options.identity = Some(Identity { key: value.into(), ..identity(options) }),
            "db" => {
                let number = value.parse().map_err(|_| "db is no number of a database".to_owned())?;
                options.database = Some(number);
            }
            _ => {
                options.allow_eviction = value.parse().map_err(|_| format!("{name} is true or false"))?;
            }
        }
        Ok(())
    }

    /// Says what is wrong with the options together.
    pub(super) fn check(&self) -> Result<(), String> {
        let none = PathBuf::new();
        match &self.options.identity {
            Some(Identity { cert, key }) if *cert == none || *key == none => {
                Err("cert and key go together: one names a certificate, the other its private key".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The options as they are written in a URL.
    pub(super) fn written_options(&self) -> Vec<String> {
        let ServerOptions { ca, identity, database, allow_eviction } = &self.options;
        let mut written = Vec::new();
        written.extend(database.map(|number| format!("db={number}")));
        written.extend(ca.as_ref().map(|ca| format!("ca={}", ca.display())));
        if let Some(Identity { cert, key }) = identity {
            written.extend([format!("cert={}", cert.display()), format!("key={}", key.display())]);
        }
        written.extend(allow_eviction.then(|| "allow_eviction=true".to_owned()));
        written
    }
}

/// Whether what follows the scheme names a socket: `//`, a user and a password perhaps, and a whole path.
pub(super) fn has_path(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("//") else { return false };
    let path = rest.rsplit_once('@').map_or(rest, |(_, path)| path);
    path.len() > 1 && path.starts_with('/')
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BrokerUrl::without_password(&self.text))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
