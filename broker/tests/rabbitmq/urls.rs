//! The ways to a server: encrypted, to a virtual host, as a user, and to one of several nodes.

use std::path::Path;

use manyhands_broker::Result;
use manyhands_test_support::Authority;

use super::*;

/// What a server is told when it starts: virtual hosts, users, and what each may do.
const DEFINITIONS: &str = r#"{
  "vhosts": [{"name": "/"}, {"name": "a/b ü"}],
  "users": [
    {"name": "guest", "password": "guest", "tags": "administrator"},
    {"name": "me@home", "password": "s3cret@/?#%", "tags": ""},
    {"name": "outsider", "password": "s3cret", "tags": ""},
    {"name": "reader", "password": "s3cret", "tags": ""},
    {"name": "writer", "password": "s3cret", "tags": ""},
    {"name": "forgetful", "password": "s3cret", "tags": ""}
  ],
  "permissions": [
    {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "me@home", "vhost": "a/b ü", "configure": "^mh:", "write": "^(mh:|amq\\.default$)", "read": "^mh:"},
    {"user": "reader", "vhost": "/", "configure": "", "write": "^(mh:|amq\\.default$)", "read": "^mh:"},
    {"user": "writer", "vhost": "/", "configure": "^mh:", "write": "^(mh:|amq\\.default$)", "read": "^mh:[^:]*:(news|replies|directory|inbox)"},
    {"user": "forgetful", "vhost": "/", "configure": "^mh:", "write": "^mh:", "read": "^mh:"}
  ]
}"#;

/// Starts a server with a certificate for a name.
fn server(of: &Authority, name: &str, asks_clients: bool) -> RabbitMq {
    let [cert, key] = of.sign(name).unwrap();
    let options = RabbitMq::options().tls(&of.file("ca.pem"), &cert, &key);
    let options = options.config("ssl_options.verify = verify_peer");
    options.config(format!("ssl_options.fail_if_no_peer_cert = {asks_clients}")).start().unwrap()
}

async fn open(url: &str) -> Result<Arc<dyn Broker>> {
    connect(&url.parse()?).await
}

/// Sends a task by this URL, and takes it by that one.
async fn hand_over(from: &str, to: &str) {
    open(from).await.unwrap().enqueue(&[task("q")], None).await.unwrap();
    let to_broker = open(to).await.unwrap();
    assert_eq!(claim(&*to_broker, "q").await.len(), 1, "{from} to {to}");
}

fn check(error: &manyhands_broker::Error, part: &str) {
    assert!(error.report().contains(part) && error.advice().is_some(), "{}", error.report());
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

/// Tries a URL that leads nowhere.
async fn refused(url: &str, kind: ErrorKind, part: &str) {
    let error = open(url).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{url}: {}", error.report());
    check(&error, part);
}

#[tokio::test]
async fn a_server_that_encrypts_is_trusted_by_its_certificate() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = server(&ours, "127.0.0.1", false);
    let (port, ca) = (server.tls_port().unwrap(), ours.file("ca.pem"));
    let url = format!("amqps://guest:guest@127.0.0.1:{port}");
    hand_over(&format!("{url}?ca={}", ca.display()), &server.url()).await;
    let certificates = "accept each other's certificates";
    let other = theirs.file("ca.pem");
    refused(&format!("{url}?ca={}", other.display()), ErrorKind::Unavailable, certificates).await;
    refused(&url, ErrorKind::Unavailable, certificates).await;
    let another_name = format!("amqps://localhost:{port}?ca={}", ca.display());
    refused(&another_name, ErrorKind::Unavailable, "not valid for").await;
    let plain = format!("amqps://u:s3cret@127.0.0.1:{}?ca={}", server.port(), ca.display());
    refused(&plain, ErrorKind::Unavailable, "does not encrypt").await;
    refused(&format!("amqp://u:s3cret@127.0.0.1:{port}"), ErrorKind::Unavailable, "cannot be reached").await;
}

#[tokio::test]
async fn a_server_may_ask_for_a_certificate() {
    let ours = Authority::new().unwrap();
    let server = server(&ours, "127.0.0.1", true);
    let [cert, key] = ours.sign("client").unwrap();
    let (port, ca) = (server.tls_port().unwrap(), ours.file("ca.pem"));
    let url = format!("amqps://guest:guest@127.0.0.1:{port}?ca={}", ca.display());
    refused(&url, ErrorKind::Unavailable, "accept each other's certificates").await;
    let url = |cert: &Path, key: &Path| format!("{url}&cert={}&key={}", cert.display(), key.display());
    hand_over(&url(&cert, &key), &server.url()).await;
    refused(&url(&cert, &ours.file("missing")), ErrorKind::Invalid, "key=").await;
    refused(&url(&key, &key), ErrorKind::Invalid, "holds no CERTIFICATE").await;
}

/// What a user may not do is said with the right that is missing, and costs no task.
#[tokio::test]
async fn virtual_hosts_and_users_have_their_own_rights() {
    let folder = tempfile::TempDir::new().unwrap();
    let definitions = folder.path().join("definitions.json");
    std::fs::write(&definitions, DEFINITIONS).unwrap();
    let load = format!("load_definitions = {}", definitions.display());
    let server = RabbitMq::options().config(load).start().unwrap();
    let at = |user: &str, vhost: &str| format!("amqp://{user}@127.0.0.1:{}/{vhost}", server.port());

    let ours = at("me%40home:s3cret%40%2F%3F%23%25", "a%2Fb%20%C3%BC");
    hand_over(&ours, &ours).await;
    let guest = open(&server.url()).await.unwrap();
    assert_eq!(guest.status(&queue("q")).await.unwrap(), None, "each virtual host has queues of its own");

    let unavailable = ErrorKind::Unavailable;
    refused(&at("guest:s3cret", ""), unavailable, "the password is wrong").await;
    refused(&at("nobody:s3cret", ""), unavailable, "the password is wrong").await;
    refused(&at("guest:guest", "films"), unavailable, "has no virtual host \"films\"").await;
    refused(&at("outsider:s3cret", ""), unavailable, "into the virtual host \"/\"").await;
    refused(&at("me%40home:s3cret%40%2F%3F%23%25", ""), unavailable, "into the virtual host \"/\"").await;
    refused(&at("reader:s3cret", ""), unavailable, "the right to configure").await;

    guest.enqueue(&[task("q"), task("q")], None).await.unwrap();
    let writer = open(&at("writer:s3cret", "")).await.unwrap();
    check(&writer.claim(&Claim::new(queue("q"), 9)).await.unwrap_err(), "the right to read");
    // One of the three patterns that are so often the same. What is sent goes by an exchange of ours, other copies by the server's own.
    let forgetful = open(&at("forgetful:s3cret", "")).await.unwrap();
    forgetful.enqueue(&[task("q")], None).await.unwrap();
    let held = claim(&*forgetful, "q").await;
    assert_eq!(held.len(), 3);
    let bury = [Settlement::new(held[0].lease.clone(), End::Bury { error: "no".to_owned() })];
    check(&forgetful.settle(&bury).await.unwrap_err(), "the right to write");
    until(&*guest, "q", async || guest.status(&queue("q")).await.unwrap().unwrap().ready == 3).await;
    let done = End::complete(Vec::new());
    let done: Vec<_> =
        claim(&*guest, "q").await.into_iter().map(|task| Settlement::new(task.lease, done.clone())).collect();
    assert_eq!(guest.settle(&done).await.unwrap(), [Settled::Settled; 3]);
}

/// The nodes of a URL are tried in turn, also when one takes connections and says nothing.
#[tokio::test]
async fn a_url_leads_to_the_first_server_that_answers() {
    let server = RabbitMq::start().unwrap();
    // The kernel takes connections for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address.port())).unwrap();
    let hosts = format!("127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}", silent.1, server.port());
    hand_over(&format!("amqp://guest:guest@{hosts}"), &server.url()).await;
    let none = format!("amqp://u:s3cret@127.0.0.1:1,127.0.0.1:2,127.0.0.1:{}", server.port());
    refused(&none, ErrorKind::Unavailable, "the password is wrong").await;
    let error = open(&none).await.unwrap_err().report();
    assert!(["127.0.0.1:1 ", "127.0.0.1:2 "].iter().all(|server| error.contains(server)), "{error}");
}
