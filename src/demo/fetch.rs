//! The demo's HTTP client: fetches one page as text, within bounds of time and size.

use std::error::Error;
use std::fmt;
use std::string::FromUtf8Error;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http::uri::InvalidUri;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long a whole request may take, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes a page may have.
const MAX_BODY: usize = 1024 * 1024;

/// How long an unused connection is kept. Shorter than servers keep theirs, so that a request seldom
/// meets a connection that the other side is just closing.
const IDLE: Duration = Duration::from_secs(5);

/// A client for plain HTTP. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    /// The connections.
    client: Client<HttpConnector, Empty<Bytes>>,
    /// How long a whole request may take.
    timeout: Duration,
}

impl Http {
    /// A client without any connection yet.
    pub(crate) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build_http();
        Self { client, timeout: TIMEOUT }
    }

    /// Fetches the text at `url`.
    ///
    /// # Errors
    ///
    /// When the URL is none, the server cannot be reached or does not answer in 10 seconds, the status
    /// is not 200, or the body is larger than 1 MiB or not UTF-8.
    pub(crate) async fn get(&self, url: &str) -> Result<String, FetchError> {
        tokio::time::timeout(self.timeout, self.read(url))
            .await
            .unwrap_or(Err(Cause::Timeout(self.timeout)))
            .map_err(|cause| FetchError { url: url.to_owned(), cause })
    }

    /// Fetches the text at `url`, however long it takes.
    async fn read(&self, url: &str) -> Result<String, Cause> {
        let uri: Uri = url.parse().map_err(Cause::Url)?;
        let response = self.client.get(uri).await.map_err(Cause::Request)?;
        if response.status() != StatusCode::OK {
            return Err(Cause::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(Cause::Body)?;
        String::from_utf8(body.to_bytes().into()).map_err(Cause::Text)
    }
}

/// A page that could not be fetched.
#[derive(Debug)]
pub(crate) struct FetchError {
    /// The page.
    url: String,
    /// Why.
    cause: Cause,
}

/// Why a page could not be fetched.
#[derive(Debug)]
enum Cause {
    /// The URL is not one.
    Url(InvalidUri),
    /// No answer came.
    Request(ClientError),
    /// The answer is not the page.
    Status(StatusCode),
    /// The answer broke off or is too large.
    Body(Box<dyn Error + Send + Sync>),
    /// The answer is not text.
    Text(FromUtf8Error),
    /// The answer did not come in this time.
    Timeout(Duration),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        match &self.cause {
            // Quoted, because what is not a URL can hold anything, line ends too.
            Cause::Url(_) => write!(f, "{url:?} is not a URL"),
            Cause::Request(_) => write!(f, "no answer from {url}"),
            Cause::Status(status) => write!(f, "{url} answered {status}"),
            Cause::Body(_) => write!(f, "cannot read the body of {url}"),
            Cause::Text(_) => write!(f, "the body of {url} is not UTF-8"),
            Cause::Timeout(time) => write!(f, "{url} did not answer within {time:?}"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Url(source) => Some(source),
            Cause::Request(source) => Some(source),
            Cause::Body(source) => Some(source.as_ref()),
            Cause::Text(source) => Some(source),
            Cause::Status(_) | Cause::Timeout(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Fetches from a server that answers these bytes to any request and then closes.
    async fn fetch(head: &str, body: Vec<u8>) -> Result<String, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answer = [head.as_bytes(), b"\r\n\r\n", &body].concat();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            // The client may close before it has read all.
            let _ = stream.write_all(&answer).await;
        };
        let http = Http::new();
        tokio::join!(server, http.get(&url)).1
    }

    /// An error and all its sources in one line, without the port.
    fn said(error: &FetchError) -> String {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            text = format!("{text}: {source}");
            next = source.source();
        }
        assert!(!text.contains('\n'), "{text}");
        text.replace(&error.url, "URL")
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read() {
        let text = "é".repeat(MAX_BODY / 2);
        let read = fetch("HTTP/1.1 200 OK\r\nconnection: close", text.clone().into_bytes()).await;
        assert!(read.unwrap() == text);
    }

    #[tokio::test]
    async fn a_larger_body_is_an_error() {
        let error =
            fetch("HTTP/1.1 200 OK\r\nconnection: close", vec![b'a'; MAX_BODY + 1]).await.unwrap_err();
        assert_eq!(said(&error), "cannot read the body of URL: length limit exceeded");
    }

    #[tokio::test]
    async fn a_broken_off_body_is_an_error() {
        let error = fetch("HTTP/1.1 200 OK\r\ncontent-length: 10", b"short".to_vec()).await.unwrap_err();
        assert!(said(&error).starts_with("cannot read the body of URL: "), "{}", said(&error));
    }

    #[tokio::test]
    async fn a_body_must_be_text() {
        let error = fetch("HTTP/1.1 200 OK\r\ncontent-length: 2", vec![b'a', 0xff]).await.unwrap_err();
        assert!(said(&error).starts_with("the body of URL is not UTF-8: invalid utf-8"), "{}", said(&error));
    }

    #[tokio::test]
    async fn another_status_is_an_error() {
        for status in ["404 Not Found", "500 Internal Server Error", "302 Found", "204 No Content"] {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0");
            let error = fetch(&head, Vec::new()).await.unwrap_err();
            assert_eq!(said(&error), format!("URL answered {status}"));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http_is_an_error() {
        let error = fetch("SSH-2.0-OpenSSH", Vec::new()).await.unwrap_err();
        assert!(said(&error).starts_with("no answer from URL: "), "{}", said(&error));
    }

    #[tokio::test]
    async fn a_closed_port_is_an_error() {
        // Bound, so that nobody else takes the port, but not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let error = Http::new().get(&url).await.unwrap_err();
        assert!(said(&error).contains("Connection refused"), "{}", said(&error));
    }

    #[tokio::test]
    async fn other_urls_are_errors() {
        let error = Http::new().get("http://a b/\n").await.unwrap_err();
        assert!(error.to_string() == r#""http://a b/\n" is not a URL"#, "{error}");
        for url in ["/?start=0", "https://localhost/"] {
            assert_eq!(Http::new().get(url).await.unwrap_err().to_string(), format!("no answer from {url}"));
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_an_error_in_time() {
        // The system completes connections to a listener that accepts none.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let http = Http { timeout: Duration::from_millis(20), ..Http::new() };
        assert_eq!(said(&http.get(&url).await.unwrap_err()), "URL did not answer within 20ms");
    }
}
