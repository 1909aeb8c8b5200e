//! What the management plugin tells that AMQP does not: policies, members, nodes, feature flags. It need not be there.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use lapin::uri::AMQPScheme;
use serde_json::Value;
use tokio::net::TcpStream;
use url::Url;

use crate::{Check, backends::rabbitmq::RabbitMqConfig};

const WHAT: &str = "management";

/// Where it is unless somebody says otherwise.
const PORT: u16 = 15672;

/// How long it may take until it listens.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long an answer may be, in bytes.
const MOST: usize = 16 << 20;

/// How many queues are asked for at a time: as many as it allows.
const PAGE: u64 = 500;

/// How many pages are read.
const PAGES: u64 = 40;

/// What is asked of a queue.
const COLUMNS: &str = "name,type,policy,operator_policy,effective_policy_definition,members,online";

/// What it told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) nodes: Result<Vec<Value>, Why>,
    pub(super) flags: Result<Vec<Value>, Why>,
    /// Those of the namespace.
    pub(super) queues: Result<Vec<Value>, Why>,
    address: String,
    version: String,
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why(String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The plugin, and who asks it.
struct Plugin {
    host: String,
    port: u16,
    authorization: String,
}

/// Asks for all that is looked at.
///
/// # Errors
/// Why it cannot be asked at all.
pub(super) async fn ask(config: &RabbitMqConfig, prefix: &str) -> Result<Told, Why> {
    let plugin = Plugin::of(config)?;
    let vhost = config.first().map(|server| server.vhost.as_str()).unwrap_or_default();
    let address = plugin.address();
    let overview =
        plugin.get(&["overview"], &[]).await.map_err(|Why(why)| Why(format!("{address}: {why}")))?;
    Ok(Told {
        nodes: plugin.list(&["nodes"]).await,
        flags: plugin.list(&["feature-flags"]).await,
        queues: plugin.queues(vhost, prefix).await,
        address,
        version: overview["rabbitmq_version"].as_str().unwrap_or("?").to_owned(),
    })
}

/// Says whether it answered, and else what was not looked at.
pub(super) fn check(told: &Result<Told, Why>) -> Check {
    let told = match told {
        Ok(told) => told,
        Err(why) => {
            let found = format!(
                "{why}; so these were not looked at: policies, members of queues, nodes with their memory, disk and files, feature flags"
            );
            let advice = "rabbitmq-plugins enable rabbitmq_management; name it if it is elsewhere, ?management=http://host:15672; its user needs: rabbitmqctl set_user_tags USER monitoring; or by hand: rabbitmqctl list_policies, rabbitmq-queues check_if_node_is_quorum_critical, rabbitmq-diagnostics status";
            return Check::warn(WHAT, found, advice);
        }
    };
    let parts = [
        ("nodes", told.nodes.as_ref().err()),
        ("feature flags", told.flags.as_ref().err()),
        ("policies and members", told.queues.as_ref().err()),
    ];
    let unknown: Vec<_> =
        parts.iter().filter_map(|(part, why)| why.map(|why| format!("{part} ({why})"))).collect();
    let Told { address, version, .. } = told;
    if unknown.is_empty() {
        return Check::ok(
            WHAT,
            format!("{address} answers, of RabbitMQ {version}; what it tells may be 5 s old"),
        );
    }
    let found = format!("{address} answers, but not about {}", unknown.join(", "));
    Check::warn(WHAT, found, "rabbitmqctl set_user_tags USER monitoring lets a user look at all of it")
}

impl Plugin {
    fn of(config: &RabbitMqConfig) -> Result<Self, Why> {
        let server = config.first().ok_or_else(|| Why("the URL names no server".to_owned()))?;
        let user = &server.authority.userinfo;
        let (mut name, mut password) = (user.username.clone(), user.password.clone());
        let (host, port) = match config.management() {
            Some(said) => {
                let url =
                    Url::parse(said.expose()).map_err(|e| Why(format!("its URL cannot be used: {e}")))?;
                let host = url.host_str().ok_or_else(|| Why("its URL names no host".to_owned()))?;
                if !url.username().is_empty() {
                    (name, password) = (plain(url.username()), plain(url.password().unwrap_or_default()));
                }
                (host.to_owned(), url.port().unwrap_or(PORT))
            }
            // A password that is encrypted on one way is not sent in the clear on another.
            None if server.scheme != AMQPScheme::AMQP => {
                return Err(Why(
                    "it is asked over an encrypted URL's server only where ?management= names it".to_owned(),
                ));
            }
            None => (server.authority.host.clone(), PORT),
        };
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
        Ok(Self { host, port, authorization })
    }

    fn address(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// The queues of the namespace, page by page.
    async fn queues(&self, vhost: &str, prefix: &str) -> Result<Vec<Value>, Why> {
        let (mut all, size) = (Vec::new(), PAGE.to_string());
        let ours = format!("^{prefix}");
        for page in 1..=PAGES {
            let number = page.to_string();
            let query = [
                ("page", number.as_str()),
                ("page_size", &size),
                ("use_regex", "true"),
                ("name", &ours),
                ("columns", COLUMNS),
            ];
            let mut answer = self.get(&["queues", vhost], &query).await?;
            let Value::Array(items) = answer["items"].take() else { return Err(strange()) };
            all.extend(items);
            if answer["page_count"].as_u64().is_none_or(|count| page >= count) {
                return Ok(all);
            }
        }
        Err(Why(format!("there are more than {} queues", PAGE * PAGES)))
    }

    async fn list(&self, path: &[&str]) -> Result<Vec<Value>, Why> {
        match self.get(path, &[]).await? {
            Value::Array(items) => Ok(items),
            _ => Err(strange()),
        }
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Why> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let connect = TcpStream::connect((host, self.port));
        let stream = tokio::time::timeout(CONNECT, connect).await.map_err(|_| silent())?.map_err(why)?;
        let answer = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(why)?;
            // It ends with the sender; what goes wrong with it is told by the answer.
            let driven = tokio::spawn(connection);
            let answer = self.exchange(&mut sender, path, query).await;
            driven.abort();
            answer
        };
        tokio::time::timeout(ANSWER, answer).await.map_err(|_| silent())?
    }

    async fn exchange(
        &self,
        sender: &mut http1::SendRequest<Empty<Bytes>>,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Why> {
        let request = Request::get(self.target(path, query)?)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(AUTHORIZATION, &self.authorization)
            .body(Empty::new())
            .map_err(why)?;
        let response = sender.send_request(request).await.map_err(why)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Why("it does not let this user in".to_owned()));
            }
            status => return Err(Why(format!("it answers {status}"))),
        }
        let body = Limited::new(response.into_body(), MOST).collect().await;
        let body = body.map_err(|e| Why(format!("its answer cannot be read: {e}")))?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| strange())
    }

    /// The path and query of a request, with all that needs it escaped.
    fn target(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, Why> {
        let mut url = Url::parse("http://host/api").map_err(why)?;
        url.path_segments_mut().map_err(|()| strange())?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        Ok(format!("{}{query}", url.path()))
    }
}

/// Undoes what a URL needs.
fn plain(text: &str) -> String {
    // As the value of a form, but for the two that mean something else there.
    let form = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

fn why(error: impl fmt::Display) -> Why {
    Why(error.to_string())
}

fn silent() -> Why {
    Why("it does not answer".to_owned())
}

fn strange() -> Why {
    Why("what answers is no management plugin of RabbitMQ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BrokerUrl, Namespace, Place, Verdict};

    fn plugin(text: &str) -> Result<Plugin, Why> {
        let url: BrokerUrl = text.parse().unwrap();
        let Place::RabbitMq(server) = &url.place else { panic!("{text}") };
        let config = RabbitMqConfig::new(server.expose(), Namespace::default()).unwrap();
        Plugin::of(&config.with_options(server.options()))
    }

    fn said(plugin: &Plugin) -> String {
        let encoded = plugin.authorization.strip_prefix("Basic ").unwrap();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn it_is_where_the_server_is_or_where_the_url_says() {
        let of_server = plugin("amqp://me:a%40b@host:5673/v").unwrap();
        assert_eq!(
            (of_server.address().as_str(), said(&of_server).as_str()),
            ("http://host:15672", "me:a@b")
        );
        let named = plugin("amqp://me:secret@host?management=http://other:99").unwrap();
        assert_eq!((named.address().as_str(), said(&named).as_str()), ("http://other:99", "me:secret"));
        let by = plugin("amqp://me:secret@host?management=http://you:a%2Fb@other").unwrap();
        assert_eq!((by.address().as_str(), said(&by).as_str()), ("http://other:15672", "you:a/b"));
    }

    #[test]
    fn requests_are_escaped() {
        let plugin = plugin("amqp://host").unwrap();
        let target = plugin.target(&["queues", "/"], &[("name", "^mh:a b&c:")]).unwrap();
        assert_eq!(target, "/api/queues/%2F?name=%5Emh%3Aa+b%26c%3A");
    }

    #[test]
    fn what_is_not_told_is_named() {
        let told = |nodes| Told {
            nodes,
            flags: Ok(Vec::new()),
            queues: Ok(Vec::new()),
            address: "http://host:15672".to_owned(),
            version: "3.10.8".to_owned(),
        };
        assert_eq!(check(&Ok(told(Ok(Vec::new())))).verdict, Verdict::Ok);
        let part = check(&Ok(told(Err(silent()))));
        assert!(part.verdict == Verdict::Warn && part.found.contains("not about nodes"), "{part:?}");
        let none = check(&Err(silent()));
        assert!(none.verdict == Verdict::Warn && none.found.contains("policies"), "{none:?}");
    }
}
