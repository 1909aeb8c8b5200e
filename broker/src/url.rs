//! The one line that says which broker to use.

mod server;

use std::{fmt, path::PathBuf, str::FromStr};

pub use self::server::{Identity, Secret, ServerOptions, ServerUrl};
use crate::{Durability, Error, Namespace, Result};

/// A broker's URL, checked.
///
/// * `memory:` one process; gone with it.
/// * `local:/path` or `local:path` a directory of this box, shared by many processes.
/// * `redis://[user:password@]host[:port][,host[:port]…][/database]` a server, shared by many boxes, or several: Sentinels, who know the
///   server, or servers of a Cluster; `rediss://` the same, encrypted; `unix://[user:password@]/path` or `redis+unix://` the same through a socket of this box.
/// * `amqp://[user:password@]host[:port][,host[:port]…][/vhost]` a RabbitMQ server, shared by many boxes, or several nodes of a cluster; `amqps://`
///   the same, encrypted.
///
/// `?namespace=NAME` chooses the set of queues; `mh` unless given. `memory:?adversary=SEED`, for tests, refuses calls, loses
/// leases, answers and hints, and does whatever else a broker may: see
/// [`adversary`](crate::backends::memory::adversary). `local:/path?durability=process` makes a directory in which calls survive
/// killed processes, but not always a power cut: see [`Durability`]. What else can be said of a server: [`ServerOptions`].
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

impl BrokerUrl {
    /// The URL with its password, as it can be parsed again: for handing it to another process.
    #[must_use]
    pub fn expose(&self) -> String {
        self.written(true)
    }

    /// A text that should be a URL, without what may be a user and a password: safe to be shown, whatever it is.
    #[must_use]
    pub fn without_password(text: &str) -> String {
        let text = server::without_sentinels_password(text);
        match (text.split_once(':'), text.rsplit_once('@')) {
            // A path may have an @, and has no password.
            (Some(("local", _)), _) | (_, None) => text,
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
        let mut place = match place.split_once(':') {
            Some(("memory", "")) => Place::Memory,
            Some(("local", "")) => {
                return Err(bad(text, "it names no directory").advise("local:/path/of/a/directory"));
            }
            Some(("local", path)) => Place::Local(PathBuf::from(path)),
            Some(("memory", _)) => return Err(bad(text, "memory: takes no path").advise("memory:")),
            Some(("redis" | "rediss", rest)) if rest.starts_with("//") => Place::Redis(ServerUrl::new(place)),
            Some((scheme @ ("redis" | "rediss"), _)) => {
                let why = format!("it has no // after {scheme}:");
                return Err(bad(text, &why).advise(format!("{scheme}://host:6379")));
            }
            Some(("unix" | "redis+unix", rest)) if server::has_path(rest) => {
                Place::Redis(ServerUrl::new(place))
            }
            Some((scheme @ ("unix" | "redis+unix"), _)) => {
                let why = "it names no socket by its whole path";
                return Err(bad(text, why).advise(format!("{scheme}:///run/redis/redis.sock?db=0")));
            }
            Some(("amqp" | "amqps", rest)) if rest.starts_with("//") => {
                Place::RabbitMq(ServerUrl::new(place))
            }
            Some((scheme @ ("amqp" | "amqps"), _)) => {
                let why = format!("it has no // after {scheme}:");
                return Err(bad(text, &why).advise(format!("{scheme}://host")));
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
                Some((name, value)) if place.takes(name) => {
                    place.take(name, value).map_err(|why| bad(text, &why))?;
                }
                // Only the name: what follows may be the rest of a password that has a question mark in it.
                _ => {
                    let name = pair.split('=').next().unwrap_or_default();
                    let name = name.rsplit('@').next().unwrap_or_default();
                    return Err(bad(text, &format!("{name:?} is no option of it")).advise("?namespace=NAME"));
                }
            }
        }
        if let Place::Redis(server) | Place::RabbitMq(server) = &place {
            server.check().map_err(|why| bad(text, &why))?;
        }
        Ok(Self { place, namespace, adversary, durability })
    }
}

impl Place {
    /// Whether this is an option of a server of this kind.
    fn takes(&self, name: &str) -> bool {
        matches!(self, Self::Redis(server) | Self::RabbitMq(server) if server.takes(name))
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match self {
            Self::Redis(server) | Self::RabbitMq(server) => server.take(name, value),
            _ => Ok(()),
        }
    }
}

impl BrokerUrl {
    /// The URL, with its passwords or with something in their place.
    fn written(&self, exposed: bool) -> String {
        let mut options = Vec::new();
        if self.namespace != Namespace::default() {
            options.push(format!("namespace={}", self.namespace));
        }
        options.extend(self.adversary.map(|seed| format!("adversary={seed}")));
        options.extend(self.durability.map(|durability| format!("durability={durability}")));
        let place = match &self.place {
            Place::Memory => "memory:".to_owned(),
            Place::Local(path) => format!("local:{}", path.display()),
            Place::Redis(url) | Place::RabbitMq(url) => {
                options.extend(url.written_options(exposed));
                if exposed { url.expose().to_owned() } else { url.to_string() }
            }
        };
        if options.is_empty() { place } else { format!("{place}?{}", options.join("&")) }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(false))
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
            "redis://host",
            "rediss://host:6380/3?namespace=films&ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key",
            "redis://host?allow_eviction=true",
            "unix:///run/redis.sock?db=2",
            "redis+unix:///run/redis.sock?namespace=films",
            "amqp://host/a?namespace=films&management=http://host:15672&consumer_timeout=1h30m",
            "redis://one:26379,two:26379,[::1]:26379/3?namespace=films&master=main",
            "amqp://one,two:5673,[::1]:5674/films?namespace=films",
            "amqps://host/%2Ffilms?ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key",
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
        let text = "amqp://user:secret@host?management=http://me:hush@host:15672";
        let url: BrokerUrl = text.parse().unwrap();
        let shown = "amqp://…@host?management=http://…@host:15672";
        assert_eq!((url.to_string().as_str(), url.expose().as_str()), (shown, text));
        let shown = format!("{url:?} {}", BrokerUrl::without_password(text));
        assert!(!shown.contains("secret") && !shown.contains("hush"), "{shown}");
        let text = "unix://user:secret@/run/redis.sock?db=2";
        let url: BrokerUrl = text.parse().unwrap();
        assert_eq!(
            (url.to_string().as_str(), url.expose().as_str()),
            ("unix://…@/run/redis.sock?db=2", text)
        );
        assert!(!format!("{url:?}").contains("secret"));
        let text = "redis://u:secret@a,b:2/1?master=m&sentinel_user=s&sentinel_password=hush@hush";
        let url: BrokerUrl = text.parse().unwrap();
        let shown = "redis://…@a,b:2/1?master=m&sentinel_user=s&sentinel_password=…";
        assert_eq!((url.to_string().as_str(), url.expose().as_str()), (shown, text));
        let shown = format!("{url:?} {}", BrokerUrl::without_password(text));
        assert!(!shown.contains("secret") && !shown.contains("hush"), "{shown}");
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
            ("amqp:user:secret@host", "no // after amqp:"),
            ("amqps:user:secret@host", "no // after amqps:"),
            ("amqp://user:secret@host?ca=/ca.pem", "\"ca\" is no option"),
            ("amqps://user:secret@host?key=/me.key", "cert and key"),
            ("amqps://user:secret@host?db=1", "\"db\" is no option"),
            ("amqp://user:secret@a,,b/v", "between two of its commas"),
            ("valkey://user:secret@host", "no known scheme"),
            ("redis:user:secret@host", "no // after redis:"),
            ("redis://user:secret@host?foo=1", "\"foo\" is no option"),
            ("redis://user:sec?ret=secret@host", "is no option"),
            ("user:secret@host", "no known scheme"),
            ("rediss:user:secret@host", "no // after rediss:"),
            ("redis://user:secret@host?ca=/ca.pem", "\"ca\" is no option"),
            ("redis://user:secret@host?db=1", "\"db\" is no option"),
            ("amqp://user:secret@host?allow_eviction=true", "is no option"),
            ("rediss://user:secret@host?cert=/me.pem", "cert and key"),
            ("rediss://user:secret@host?ca=", "ca names no file"),
            ("redis://user:secret@host?allow_eviction=maybe", "true or false"),
            ("unix:redis.sock", "no socket"),
            ("unix://redis.sock", "no socket"),
            ("redis+unix://user:secret@redis.sock", "no socket"),
            ("unix:///redis.sock?db=one", "db is no number"),
            ("redis://user:secret@a,,b", "between two of its commas"),
            ("redis://user:secret@a,/1", "between two of its commas"),
            ("redis://a,b?master=", "master is empty"),
            ("redis://a,b?sentinel_user=me", "needs a sentinel_password"),
            ("redis://a,b?sentinel_password=secret&sentinel_password=secret&x=1", "\"x\" is no option"),
            ("unix:///redis.sock?master=films", "\"master\" is no option"),
            ("amqp://a?sentinel_password=secret", "is no option"),
            ("amqp://a?management=https://user:secret@host", "no http://host:15672"),
            ("amqp://a?consumer_timeout=30", "is no duration"),
            ("redis://a?consumer_timeout=30m", "is no option"),
        ];
        for (text, why) in cases {
            let error = text.parse::<BrokerUrl>().unwrap_err().report();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_advised_can_be_used() {
        for text in [
            "amqp:host",
            "amqps:host",
            "redis:host",
            "rediss:host",
            "unix:redis.sock",
            "redis+unix:redis.sock",
        ] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert!(error.advice().unwrap().parse::<BrokerUrl>().is_ok(), "{text}: {:?}", error.advice());
        }
    }
}
