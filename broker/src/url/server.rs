//! The URL of a server, and what can be said of the way to it.

use std::{fmt, path::PathBuf, time::Duration};

use super::BrokerUrl;
use crate::{read_duration, write_duration};

/// The option whose value is a password.
const PASSWORD: &str = "sentinel_password";

/// What is shown in its place.
const HIDDEN: &str = "…";

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
    /// `ca=FILE`, for `rediss://` and `amqps://`: the certificates, as PEM, of those whose signature on the server's certificate is trusted. Without
    /// it they are those that the system trusts.
    pub ca: Option<PathBuf>,
    /// `cert=FILE` and `key=FILE`, for `rediss://` and `amqps://`: what this side shows to a server that asks for a certificate, as PEM.
    pub identity: Option<Identity>,
    /// `db=N`, for a socket: the number of the database. The URL of a host has it as its path.
    pub database: Option<u32>,
    /// `allow_eviction=true`, for Redis: to use a server that throws keys away when its memory is full, and tasks with them.
    pub allow_eviction: bool,
    /// `master=NAME`, for Redis: which master the Sentinels of the URL are asked for. Without it, the only one that they watch.
    pub master: Option<String>,
    /// `sentinel_user=USER`, for Redis: who this side is to the Sentinels. Without it, and a password, the user of the URL.
    pub sentinel_user: Option<String>,
    /// `sentinel_password=PASSWORD`, for Redis: the password of that user, or, where there is none, that of the Sentinels. As in the URL, `%26`
    /// is an &.
    pub sentinel_password: Option<Secret>,
    /// `management=http://[user:password@]host:port`, for RabbitMQ: where its management plugin answers, for `doctor`. Without it, the host of the
    /// URL is asked, at port 15672, as the user of the URL.
    pub management: Option<Secret>,
    /// `consumer_timeout=DURATION`, for RabbitMQ before 3.12: how long the server lets a delivery be unacknowledged. It tells nobody.
    pub consumer_timeout: Option<Duration>,
}

/// What is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
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
        let scheme = self.scheme();
        let is_amqp = ["amqp", "amqps"].contains(&scheme);
        let has_masters = ["redis", "rediss"].contains(&scheme);
        match name {
            "ca" | "cert" | "key" => ["rediss", "amqps"].contains(&scheme),
            "db" => ["unix", "redis+unix"].contains(&scheme),
            "master" | "sentinel_user" | PASSWORD => has_masters,
            "management" | "consumer_timeout" => is_amqp,
            name => name == "allow_eviction" && !is_amqp,
        }
    }

    fn scheme(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    /// Takes an option of such a server, or says what is wrong with it.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() && ["ca", "cert", "key"].contains(&name) {
            return Err(format!("{name} names no file"));
        }
        if value.is_empty() && ["master", "sentinel_user", PASSWORD].contains(&name) {
            return Err(format!("{name} is empty"));
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
            "master" => options.master = Some(value.to_owned()),
            "sentinel_user" => options.sentinel_user = Some(value.to_owned()),
            PASSWORD => options.sentinel_password = Some(Secret(value.to_owned())),
            "management" if !value.starts_with("http://") => {
                return Err("management is no http://host:15672".to_owned());
            }
            "management" => options.management = Some(Secret(value.to_owned())),
            "consumer_timeout" => options.consumer_timeout = Some(read_duration(value)?),
            _ => {
                options.allow_eviction = value.parse().map_err(|_| format!("{name} is true or false"))?;
            }
        }
        Ok(())
    }

    /// Says what is wrong with the options together.
    pub(super) fn check(&self) -> Result<(), String> {
        let authority = self.text.rsplit_once('@').map_or(self.text.as_str(), |(_, rest)| rest);
        let hosts = authority.rsplit_once("//").map_or(authority, |(_, rest)| rest);
        let hosts = hosts.split_once('/').map_or(hosts, |(hosts, _)| hosts);
        let has_hosts = ["redis", "rediss", "amqp", "amqps"].contains(&self.scheme());
        if has_hosts && hosts.contains(',') && hosts.split(',').any(str::is_empty) {
            return Err("there is nothing between two of its commas".to_owned());
        }
        if self.options.sentinel_user.is_some() && self.options.sentinel_password.is_none() {
            return Err("sentinel_user needs a sentinel_password".to_owned());
        }
        let none = PathBuf::new();
        match &self.options.identity {
            Some(Identity { cert, key }) if *cert == none || *key == none => {
                Err("cert and key go together: one names a certificate, the other its private key".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The options as they are written in a URL; with the password, or with something in its place.
    pub(super) fn written_options(&self, exposed: bool) -> Vec<String> {
        let ServerOptions { ca, identity, database, allow_eviction, .. } = &self.options;
        let mut written = Vec::new();
        written.extend(database.map(|number| format!("db={number}")));
        written.extend(ca.as_ref().map(|ca| format!("ca={}", ca.display())));
        if let Some(Identity { cert, key }) = identity {
            written.extend([format!("cert={}", cert.display()), format!("key={}", key.display())]);
        }
        written.extend(allow_eviction.then(|| "allow_eviction=true".to_owned()));
        written.extend(self.options.master.as_ref().map(|name| format!("master={name}")));
        written.extend(self.options.sentinel_user.as_ref().map(|user| format!("sentinel_user={user}")));
        let password = self.options.sentinel_password.as_ref();
        let password = password.map(|secret| if exposed { secret.expose() } else { HIDDEN });
        written.extend(password.map(|shown| format!("{PASSWORD}={shown}")));
        let management = self.options.management.as_ref().map(Secret::expose);
        written.extend(management.map(|url| match exposed {
            true => format!("management={url}"),
            false => format!("management={}", BrokerUrl::without_password(url)),
        }));
        let timeout = self.options.consumer_timeout;
        written.extend(timeout.map(|timeout| format!("consumer_timeout={}", write_duration(timeout))));
        written
    }
}

/// A text that should be a URL, without the password among its options.
pub(super) fn without_sentinels_password(text: &str) -> String {
    let Some((before, after)) = text.split_once(&format!("{PASSWORD}=")) else { return text.to_owned() };
    let rest = after.find('&').map_or("", |end| &after[end..]);
    format!("{before}{PASSWORD}={HIDDEN}{}", without_sentinels_password(rest))
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
