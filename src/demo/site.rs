//! The demo's site: a small HTTP server that shows the films, 25 a page, after a settable delay.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use manyhands_cli::text;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::fetch::Http;
use super::films;
use super::page;
use super::role::Scene;

/// Where the site is asked whether it serves. It answers at once, however long pages take.
const HEALTH: &str = "/health";

/// Where the site listens.
#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    /// Where to listen: address and port, port 0 for any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
    /// How long a page takes; a fetcher waits for it 10s at most
    #[arg(long, value_name = "DURATION", value_parser = text::duration, default_value = "300ms")]
    delay: Duration,
    /// Do not serve, but ask the site at this URL whether it does: exit code 0 if so
    #[arg(long, value_name = "URL", conflicts_with_all = ["listen", "delay"])]
    check: Option<String>,
}

/// Serves the films until it is told to end, or looks whether another process does.
pub(crate) async fn site_role(args: SiteArgs, scene: Scene) -> anyhow::Result<()> {
    if let Some(url) = args.check {
        Http::new().get(&format!("{}{HEALTH}", url.trim_end_matches('/'))).await?;
        return Ok(());
    }
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    scene.audience.listening(listener.local_addr()?.to_string());
    serve(listener, args.delay, scene.shutdown.stopping()).await?;
    Ok(())
}

/// How long the server waits after a failed accept. Without it, a process that is out of file
/// descriptors would try again at once and keep a core busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the films on `listener` until `shutdown` is done, each page after `delay`.
///
/// Requests are answered at the same time, each connection in its own task. At the end the open
/// connections are dropped with whatever they still wait for.
///
/// # Errors
///
/// When the listener has no address, which means that it was never usable. A connection that fails
/// ends alone.
pub(crate) async fn serve(
    listener: TcpListener,
    delay: Duration,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            stream = accept(&listener) => {
                connections.spawn(converse(stream, delay));
            }
            // Collects the tasks that ended, which a set would otherwise keep; how they ended is no matter.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The next connection, however often the system refuses one.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, delay: Duration) {
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, delay).await) });
    // The timer closes a connection that never completes a request. An error here is the client's doing.
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// The answer to one request.
async fn answer<B: Body>(request: &Request<B>, delay: Duration) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != "/" && path != HEALTH {
        return plain(StatusCode::NOT_FOUND, "no such page\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if path == HEALTH {
        return plain(StatusCode::OK, "healthy\n");
    }
    let Some(start) = start(request.uri().query().unwrap_or_default()) else {
        return plain(StatusCode::BAD_REQUEST, "start must be a whole number\n");
    };
    let films = films::page(start);
    if films.is_empty() {
        return plain(StatusCode::NOT_FOUND, "no film from there on\n");
    }
    tokio::time::sleep(delay).await;
    respond(StatusCode::OK, "text/html; charset=utf-8", page::render(start, &films).into())
}

/// The film that a query asks to start at, 0 if it does not say; nothing if what it says is no number.
fn start(query: &str) -> Option<u32> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("start=")) else { return Some(0) };
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number too large for the type is still a number, and as far past the end as any other.
    number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// An answer of one line of text.
fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// An answer; the server adds its length, which such a body knows.
fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    /// A site in a task of its own, on a free port.
    struct Site {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        task: JoinHandle<std::io::Result<()>>,
    }

    impl Site {
        async fn new(delay: Duration) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(serve(listener, delay, async {
                let _ = stopped.await;
            }));
            Self { address, stop, task }
        }

        /// Sends one request on its own connection and gives back all that is answered.
        async fn ask(&self, method: &str, target: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request = format!("{method} {target} HTTP/1.1\r\nhost: site\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }

        async fn end(self) {
            self.stop.send(()).unwrap();
            self.task.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_reads_every_page() {
        let site = Site::new(Duration::ZERO).await;
        let http = Http::new();
        let mut read = Vec::new();
        for start in (0..films::FILMS).step_by(films::PAGE as usize) {
            let html = http.get(&format!("http://{}/?start={start}", site.address)).await.unwrap();
            read.extend(page::extract(&html).unwrap());
        }
        assert_eq!(read, films::films());
        site.end().await;
    }

    #[tokio::test]
    async fn a_page_has_type_and_length() {
        let site = Site::new(Duration::ZERO).await;
        let answer = site.ask("GET", "/").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: text/html; charset=utf-8"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
        assert_eq!(body, page::render(0, &films::page(0)));
        site.end().await;
    }

    #[tokio::test]
    async fn other_requests_are_refused() {
        let site = Site::new(Duration::ZERO).await;
        let cases = [
            ("GET", "/?start=x", 400),
            ("GET", "/?start=", 400),
            ("GET", "/?start=-1", 400),
            ("GET", "/?start=+1", 400),
            ("GET", "/?start=250", 404),
            ("GET", "/?start=99999999999999999999", 404),
            ("GET", "/film/1", 404),
            ("POST", "/", 405),
            ("HEAD", "/", 405),
        ];
        for (method, target, status) in cases {
            let answer = site.ask(method, target).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target}: {head}");
            assert_eq!(body.lines().count(), usize::from(method != "HEAD"), "{method} {target}: {body}");
        }
        site.end().await;
    }

    #[test]
    fn other_parts_of_a_query_are_ignored() {
        for (query, expected) in [("", 0), ("sort=up", 0), ("sort=up&start=25&x", 25), ("restart=7", 0)] {
            assert_eq!(start(query), Some(expected), "{query}");
        }
    }

    #[tokio::test]
    async fn a_slow_or_failing_connection_harms_no_other() {
        let site = Site::new(Duration::ZERO).await;
        let mut slow = TcpStream::connect(site.address).await.unwrap();
        slow.write_all(b"GET /?start=225 HTTP/1.1\r\nhost: site\r\n").await.unwrap();
        let mut failing = TcpStream::connect(site.address).await.unwrap();
        failing.write_all(b"\0\xff not HTTP\r\n\r\n").await.unwrap();
        drop(failing);
        assert!(site.ask("GET", "/").await.starts_with("HTTP/1.1 200 "));
        slow.write_all(b"connection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        site.end().await;
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_answers() {
        let site = Site::new(Duration::from_secs(3_600)).await;
        let mut waiting = TcpStream::connect(site.address).await.unwrap();
        waiting.write_all(b"GET / HTTP/1.1\r\nhost: site\r\n\r\n").await.unwrap();
        assert!(site.ask("GET", "/none").await.starts_with("HTTP/1.1 404 "));
        site.end().await;
        let mut answer = Vec::new();
        // Whether the system ends or resets the connection is its own choice.
        let _ = waiting.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
}
