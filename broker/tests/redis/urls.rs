//! The ways to a server: encrypted, through a socket, as a user, and to a database of it.

use std::path::Path;

use manyhands_broker::Result;
use manyhands_test_support::Authority;
use tempfile::TempDir;

use super::*;

/// Starts a server with a certificate for a name.
pub(crate) fn server(of: &Authority, name: &str, asks_clients: &str) -> Redis {
    let [cert, key] = of.sign(name).unwrap();
    let options = Redis::options().tls(&of.file("ca.pem"), &cert, &key);
    options.with("tls-auth-clients", asks_clients).start().unwrap()
}

async fn open(url: &str) -> Result<Arc<dyn Broker>> {
    connect(&url.parse().unwrap()).await
}

/// Sends a task by this URL, and takes it by that one.
async fn hand_over(from: &str, to: &str) {
    enqueue(&*open(from).await.unwrap(), &[task(9)]).await;
    let tasks = open(to).await.unwrap().claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    assert_eq!(tasks.len(), 1, "{from} to {to}");
}

/// Tries a URL that leads nowhere.
async fn refused(url: &str, kind: ErrorKind, part: &str) {
    let error = open(url).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{url}: {}", error.report());
    assert!(error.report().contains(part) && error.advice().is_some(), "{url}: {}", error.report());
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_encrypts_is_trusted_by_its_certificate() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = server(&ours, "127.0.0.1", "no");
    let (port, ca) = (server.tls_port().unwrap(), ours.file("ca.pem"));
    let url = format!("rediss://127.0.0.1:{port}");
    hand_over(&format!("{url}?ca={}", ca.display()), &server.url()).await;
    let certificates = "accept each other's certificates";
    let other = theirs.file("ca.pem");
    refused(&format!("{url}?ca={}", other.display()), ErrorKind::Unavailable, certificates).await;
    refused(&url, ErrorKind::Unavailable, certificates).await;
    refused(
        &format!("rediss://localhost:{port}?ca={}", ca.display()),
        ErrorKind::Unavailable,
        "not valid for",
    )
    .await;
    let plain = format!("rediss://:s3cret@127.0.0.1:{}?ca={}", server.port(), ca.display());
    refused(&plain, ErrorKind::Unavailable, "did not answer in time").await;
    refused(&format!("redis://:s3cret@127.0.0.1:{port}"), ErrorKind::Unavailable, "closed the connection")
        .await;
}

/// As servers do that are not told otherwise.
#[tokio::test]
async fn a_server_may_ask_for_a_certificate() {
    let ours = Authority::new().unwrap();
    let server = server(&ours, "127.0.0.1", "yes");
    let [cert, key] = ours.sign("client").unwrap();
    let url =
        format!("rediss://127.0.0.1:{}?ca={}", server.tls_port().unwrap(), ours.file("ca.pem").display());
    refused(&url, ErrorKind::Unavailable, "accept each other's certificates").await;
    let url = |cert: &Path, key: &Path| format!("{url}&cert={}&key={}", cert.display(), key.display());
    hand_over(&url(&cert, &key), &server.url()).await;
    refused(&url(&cert, &ours.file("missing")), ErrorKind::Invalid, "key=").await;
    refused(&url(&key, &key), ErrorKind::Invalid, "holds no CERTIFICATE").await;
}

#[tokio::test]
async fn a_socket_of_this_box_leads_to_a_server() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("a server.sock");
    let server = Server(Redis::options().with("unixsocket", socket.display()).start().unwrap());
    let socket = socket.display();
    hand_over(&format!("unix://{socket}"), &server.0.url()).await;
    hand_over(&format!("redis+unix://{socket}?db=3"), &format!("{}/3", server.0.url())).await;
    server
        .say(&["ACL", "SETUSER", "queues", "on", ">s3cret@", "~mh:*", "resetchannels", "&mh:*", "+@all"])
        .await;
    server.say(&["ACL", "SETUSER", "default", "off"]).await;
    hand_over(
        &format!("unix://queues:s3cret%40@{socket}"),
        &format!("redis://queues:s3cret%40@127.0.0.1:{}", server.0.port()),
    )
    .await;
    refused(&format!("unix://queues:s3cret@{socket}"), ErrorKind::Unavailable, "the password is wrong").await;
    refused("unix:///nowhere/redis.sock", ErrorKind::Unavailable, "cannot be reached").await;
}

#[tokio::test]
async fn databases_have_queues_of_their_own() {
    let server = Server::start();
    let url = |database: u32| format!("{}/{database}", server.0.url());
    enqueue(&*open(&url(1)).await.unwrap(), &[task(9)]).await;
    assert_eq!(open(&url(2)).await.unwrap().status(&queue()).await.unwrap(), None);
    hand_over(&server.0.url(), &url(0)).await;
    assert_eq!(open(&url(1)).await.unwrap().status(&queue()).await.unwrap().unwrap().ready, 1);
    refused(&url(99), ErrorKind::Invalid, "no database").await;
    refused(&format!("{}/films", server.0.url()), ErrorKind::Invalid, "database").await;
}

/// Whoever says so gets what was refused before.
#[tokio::test]
async fn a_server_that_evicts_is_used_on_demand() {
    let server = Server::start();
    server.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    refused(&server.0.url(), ErrorKind::Unsupported, "throws keys away").await;
    hand_over(
        &format!("{}?allow_eviction=true", server.0.url()),
        &format!("{}?allow_eviction=true", server.0.url()),
    )
    .await;
}
