//! The programs of a scene: a front, its back ends, and what is asked of the front.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use manyhands::{Broker, BrokerExt, QueueName, QueueStatus};
use manyhands_test_support::{
    example,
    kill::{self, Signal, Watch},
};
use tokio::net::TcpStream;

/// How long anything may take. Only what is broken takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One process of the example.
pub(crate) struct Role {
    child: Child,
    /// The first line that it printed.
    pub(crate) line: String,
}

impl Role {
    fn start(url: &str, args: &str) -> Self {
        let mut command = Command::new(example("web_front"));
        command.env_remove("MANYHANDS_BROKER").args(["--broker", url]).args(args.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line: line.trim_end().to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill::send(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        Watch::open(self.pid()).and_then(|watch| watch.end(PATIENCE)).unwrap();
        self.child.wait().unwrap().code()
    }

    /// What it has in memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        memory(self.pid())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has in memory, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// A front over a broker.
pub(crate) struct Scene {
    url: String,
    pub(crate) front: Role,
    pub(crate) address: SocketAddr,
    broker: Arc<dyn Broker>,
}

impl Scene {
    /// Starts a front on a free port.
    pub(crate) async fn new(url: &str, args: &str) -> Self {
        let front = Role::start(url, &format!("front --listen 127.0.0.1:0 {args}"));
        let address = front.line.strip_prefix("listening on http://").expect(&front.line).parse().unwrap();
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        Self { url: url.to_owned(), front, address, broker }
    }

    pub(crate) fn back(&self, args: &str) -> Role {
        Role::start(&self.url, &format!("back {args}"))
    }

    pub(crate) async fn status(&self) -> QueueStatus {
        self.broker.status(&queue()).await.unwrap().unwrap()
    }

    /// Waits until the queue stands so.
    pub(crate) async fn until(&self, what: impl Fn(&QueueStatus) -> bool) -> QueueStatus {
        let look = async {
            loop {
                let changed = self.broker.wait(&[queue()]);
                let status = self.status().await;
                if what(&status) {
                    return status;
                }
                // A claim changes a queue, and nobody is told.
                let _ = tokio::time::timeout(Duration::from_millis(5), changed).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the queue does not come to stand so")
    }

    /// Waits until nothing is unsettled; then the books are whole.
    pub(crate) async fn ends_clean(&self) -> QueueStatus {
        let status = self.broker.join(&queue(), Some(PATIENCE)).await.unwrap().unwrap();
        assert_eq!(status.unsettled(), 0, "{status:?}");
        if let Some(fsck) = self.broker.fsck() {
            assert_eq!(fsck.fsck(false).await.unwrap().findings, []);
        }
        status
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address).await.unwrap()
    }
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("web").unwrap()
}

/// A connection that is kept.
pub(crate) struct Connection(http1::SendRequest<Full<Bytes>>);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: serde_json::Value,
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request and waits for its answer; panics where none comes.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path).header("host", "front");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let answer = async {
            self.0.ready().await.expect("the connection is kept");
            let (head, body) =
                self.0.send_request(request).await.expect("the request is answered").into_parts();
            let body = body.collect().await.expect("the answer is whole").to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e}: {body:?}"));
            Answered { status: head.status, headers: head.headers, body }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{method} {path} hangs"))
    }

    pub(crate) async fn post(&mut self, body: &str) -> Answered {
        self.request("POST", "/squares", &[], body).await
    }

    pub(crate) async fn square(&mut self, number: u64) -> Answered {
        self.post(&format!("{{\"number\": {number}}}")).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answered {
        self.request("GET", path, &[], "").await
    }
}

/// What is answered to a number that was squared.
pub(crate) fn squared(number: u64) -> serde_json::Value {
    serde_json::json!({ "number": number, "square": number * number })
}
