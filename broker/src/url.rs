//! The one line that says which broker to use.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{Durability, Error, Namespace, Result};

/// A broker's URL, checked.
///
/// * `memory:` one process; gone with it.
/// * `local:/path` or `local:path` a directory of this box, shared by many processes.
/// * `redis://[user:password@]host[:port][/database]` a server, shared by many boxes.
/// * `amqp://[user:password@]host[:port][/vhost]` a RabbitMQ server, shared by many boxes.
///
/// `?namespace=NAME` chooses the set of queues; `mh` unless given. `memory:?adversary=SEED`, for tests, refuses calls, loses
/// leases, answers and hints, and does whatever else a broker may: see
/// [`adversary`](crate::backends::memory::adversary). `local:/path?durability=process` makes a directory in which calls survive
/// killed processes, but not always a power cut: see [`Durability`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Which broker.
    pub place: Place,
    /// Which set of queues of it.
    pub namespace: Namespace,
    /// The seed of the adversary that is asked for; only in memory.
    pub adversary: Option<u64>,
    /// What calls are to survive, where a directory is made, and what it must be where there is one; only of directories.
    pub durability: Option<Durability>,
}

/// The part of a URL that differs from broker to broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the memory of this process.
    Memory,
    /// A directory.
    Local(PathBuf),
    /// A RabbitMQ server.
    RabbitMq(ServerUrl),
    /// A Redis server.
    Redis(ServerUrl),
}

/// The URL of a server, without the namespace. It may hold a password, which is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The URL with its password: for whoever opens the connection.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BrokerUrl::without_password(&self.0))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl BrokerUrl {
    /// The URL with its password, as it can be parsed again: for handing it to another process.
    #[must_use]
    pub fn expose(&self) -> String {
        let shown = self.to_string();
        match &self.place {
            Place::Redis(url) | Place::RabbitMq(url) => shown.replacen(&url.to_string(), url.expose(), 1),
            _ => shown,
        }
    }

    /// A text that should be a URL, without what may be a user and a password: safe to be shown, whatever it is.
    #[must_use]
    pub fn without_password(text: &str) -> String {
        match (text.split_once(':'), text.rsplit_once('@')) {
            // A path may have an @, and has no password.
            (Some(("local", _)), _) | (_, None) => text.to_owned(),
            (Some((scheme, rest)), Some((_, host))) => {
                let slashes = if rest.starts_with("//") { "//" } else { "" };
                format!("{scheme}:{slashes}…@{host}")
            }
            (None, Some((_, host))) => format!("…@{host}"),
        }
    }

    /// The same broker, another set of queues.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }
}

impl FromStr for BrokerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let place = match place.split_once(':') {
            Some(("memory", "")) => Place::Memory,
            Some(("local", "")) => {
                return Err(bad(text, "it names no directory").advise("local:/path/of/a/directory"));
            }
            Some(("local", path)) => Place::Local(PathBuf::from(path)),
            Some(("memory", _)) => return Err(bad(text, "memory: takes no path").advise("memory:")),
            Some(("redis", rest)) if rest.starts_with("//") => Place::Redis(ServerUrl(place.to_owned())),
            Some(("redis", _)) => {
                return Err(bad(text, "it has no // after redis:").advise("redis://host:6379"));
            }
            Some(("amqp", rest)) if rest.starts_with("//") => Place::RabbitMq(ServerUrl(place.to_owned())),
            Some(("amqp", _)) => {
                return Err(bad(text, "it has no // after amqp:").advise("amqp://host:5672"));
            }
            Some((scheme @ ("rediss" | "amqps"), _)) => {
                let why = format!("this version has no {scheme} broker yet: connections are not encrypted");
                return Err(bad(text, &why).advise(format!("{}://host", &scheme[..scheme.len() - 1])));
            }
            _ => return Err(bad(text, "it begins with no known scheme").advise("local:/path/of/a/directory")),
        };
        let mut namespace = Namespace::default();
        let (mut adversary, mut durability) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("namespace", name)) => namespace = Namespace::new(name)?,
                Some(("adversary", seed)) if place == Place::Memory => {
                    let seed = seed.parse().map_err(|_| {
                        bad(text, "the adversary's seed is no number").advise("memory:?adversary=1")
                    })?;
                    adversary = Some(seed);
                }
                Some(("durability", text)) if matches!(place, Place::Local(_)) => {
                    durability = Some(text.parse()?);
                }
                // Only the name: what follows may be the rest of a password that has a question mark in it.
                _ => {
                    let name = pair.split('=').next().unwrap_or_default();
                    let name = name.rsplit('@').next().unwrap_or_default();
                    return Err(bad(text, &format!("{name:?} is no option of it")).advise("?namespace=NAME"));
                }
            }
        }
        Ok(Self { place, namespace, adversary, durability })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Memory => f.write_str("memory:")?,
            Place::Local(path) => write!(f, "local:{}", path.display())?,
            Place::Redis(url) | Place::RabbitMq(url) => write!(f, "{url}")?,
        }
        let mut separator = "?";
        if self.namespace != Namespace::default() {
            write!(f, "{separator}namespace={}", self.namespace)?;
            separator = "&";
        }
        if let Some(seed) = self.adversary {
            write!(f, "{separator}adversary={seed}")?;
            separator = "&";
        }
        match self.durability {
            Some(durability) => write!(f, "{separator}durability={durability}"),
            None => Ok(()),
        }
    }
}

fn bad(url: &str, why: &str) -> Error {
    let url = BrokerUrl::without_password(url);
    Error::invalid("connect", format!("the broker URL \"{url}\" cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_they_are_written() {
        for text in [
            "memory:",
            "memory:?adversary=7",
            "memory:?namespace=films&adversary=18446744073709551615",
            "local:/var/lib/mh",
            "local:rel/dir",
            "local:/a?namespace=films",
            "local:/a?durability=power",
            "local:/a?namespace=films&durability=process",
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn passwords_are_shown_only_on_demand() {
        let text = "redis://user:s@cret@host:1/0?namespace=films";
        let url: BrokerUrl = text.parse().unwrap();
        assert_eq!(
            (url.to_string().as_str(), url.expose().as_str()),
            ("redis://…@host:1/0?namespace=films", text)
        );
        assert!(!format!("{url:?}").contains("cret"));
        let text = "amqp://user:secret@host:5672/a?namespace=films";
        let url: BrokerUrl = text.parse().unwrap();
        assert_eq!(
            (url.to_string().as_str(), url.expose().as_str()),
            ("amqp://…@host:5672/a?namespace=films", text)
        );
    }

    #[test]
    fn bad_urls_say_what_is_wrong_and_keep_secrets() {
        let cases = [
            ("", "no known scheme"),
            ("/tmp/x", "no known scheme"),
            ("local:", "no directory"),
            ("memory:x", "no path"),
            ("local:/a?capacity=3", "no option"),
            ("local:/a?adversary=3", "\"adversary\" is no option"),
            ("local:/a?durability=disk", "\"disk\" is no durability: power, process"),
            ("memory:?durability=process", "\"durability\" is no option"),
            ("memory:?adversary=films", "seed is no number"),
            ("local:/a?namespace=../b", "may not begin"),
            ("amqps://user:secret@host", "no amqps broker yet"),
            ("amqp:user:secret@host", "no // after amqp:"),
            ("valkey://user:secret@host", "no known scheme"),
            ("redis:user:secret@host", "no // after redis:"),
            ("redis://user:secret@host?foo=1", "\"foo\" is no option"),
            ("redis://user:sec?ret=secret@host", "is no option"),
            ("user:secret@host", "no known scheme"),
        ];
        for (text, why) in cases {
            let error = text.parse::<BrokerUrl>().unwrap_err().report();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_advised_can_be_used() {
        for (text, advice) in [("rediss://host", "redis://host"), ("amqps://host", "amqp://host")] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert_eq!(error.advice(), Some(advice));
            assert!(advice.parse::<BrokerUrl>().is_ok());
        }
    }
}
