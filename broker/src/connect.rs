//! From a URL to a broker.

use std::sync::Arc;

#[cfg(any(feature = "local", feature = "rabbitmq", feature = "redis"))]
use crate::backends;
use crate::{
    Broker, BrokerUrl, Guard, Result,
    backends::memory::{
        MemoryBroker,
        adversary::{Adversary, Manners},
    },
    url::Place,
};

/// Opens a session with the broker of a URL.
///
/// Logs a warning where a Redis server may lose what it is given, as it writes nothing to its disk, or does not tell.
///
/// # Errors
/// What the backend's `open` says: it cannot be reached, its data cannot be used, or this build lacks it.
pub async fn connect(url: &BrokerUrl) -> Result<Arc<dyn Broker>> {
    match &url.place {
        Place::Memory => {
            let memory = MemoryBroker::new();
            Ok(match url.adversary {
                Some(seed) => Arc::new(Guard::new(Adversary::session_of(&memory, Manners::HOSTILE, seed))),
                None => Arc::new(Guard::new(memory)),
            })
        }
        #[cfg(feature = "local")]
        Place::Local(path) => {
            let mut config = backends::local::LocalConfig::new(path, url.namespace.clone());
            if let Some(durability) = url.durability {
                config = config.with_durability(durability);
            }
            Ok(Arc::new(Guard::new(backends::local::LocalBroker::open(config).await?)))
        }
        #[cfg(feature = "rabbitmq")]
        Place::RabbitMq(server) => {
            let config = rabbitmq(server, url)?;
            Ok(Arc::new(Guard::new(backends::rabbitmq::RabbitMqBroker::open(config).await?)))
        }
        #[cfg(feature = "redis")]
        Place::Redis(server) => {
            let broker = redis(server, url).await?;
            broker.warn_if_volatile().await;
            Ok(Arc::new(Guard::new(broker)))
        }
        #[cfg(not(feature = "local"))]
        Place::Local(_) => Err(lacks(url, "local")),
        #[cfg(not(feature = "rabbitmq"))]
        Place::RabbitMq(_) => Err(lacks(url, "rabbitmq")),
        #[cfg(not(feature = "redis"))]
        Place::Redis(_) => Err(lacks(url, "redis")),
    }
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq(server: &crate::ServerUrl, url: &BrokerUrl) -> Result<backends::rabbitmq::RabbitMqConfig> {
    let config = backends::rabbitmq::RabbitMqConfig::new(server.expose(), url.namespace.clone())?;
    Ok(config.with_options(server.options()))
}

#[cfg(feature = "redis")]
async fn redis(server: &crate::ServerUrl, url: &BrokerUrl) -> Result<backends::redis::RedisBroker> {
    let config = backends::redis::RedisConfig::new(server.expose(), url.namespace.clone())?;
    backends::redis::RedisBroker::open(config.with_options(server.options())?).await
}

/// As [`connect`], for whoever only looks: it also takes a broker that [`connect`] refuses because tasks in it can be lost, and a RabbitMQ server
/// on which no session can begin, which is called only when it is examined.
///
/// # Errors
/// As [`connect`], but for that.
pub async fn connect_to_examine(url: &BrokerUrl) -> Result<Arc<dyn Broker>> {
    #[cfg(feature = "rabbitmq")]
    if let Place::RabbitMq(server) = &url.place {
        let broker = backends::rabbitmq::RabbitMqBroker::unconnected(rabbitmq(server, url)?)?;
        return Ok(Arc::new(Guard::new(broker)));
    }
    #[cfg(feature = "redis")]
    if let Place::Redis(server) = &url.place {
        let broker = redis(&server.clone().with_eviction_allowed(), url).await?;
        return Ok(Arc::new(Guard::new(broker)));
    }
    connect(url).await
}

#[cfg(not(all(feature = "local", feature = "rabbitmq", feature = "redis")))]
fn lacks(url: &BrokerUrl, feature: &str) -> crate::Error {
    let message = format!("{url} cannot be used: this program was built without the feature `{feature}`");
    crate::Error::new(crate::ErrorKind::Unsupported, "connect", message)
}
