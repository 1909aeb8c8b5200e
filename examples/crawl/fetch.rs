//! The HTTP client: one request, within bounds of time and size.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

/// Who asks: what `robots.txt` calls this program by.
pub(crate) const NAME: &str = "manyhands-crawl";

/// How long a whole request may take, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many bytes a page may have.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// How many bytes of `robots.txt` are read; what comes after them does not count.
const MAX_ROBOTS: usize = robotxt::BYTE_LIMIT;

/// How many redirects `robots.txt` may be behind.
const MAX_REDIRECTS: usize = 5;

/// How long an unused connection is kept. Shorter than servers keep theirs, so that a request seldom
/// meets a connection that the other side is just closing.
const IDLE: Duration = Duration::from_secs(5);

/// The longest that a server can make us wait.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    /// When to ask again, at the earliest.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Body,
}

/// What is in an answer.
#[derive(Debug)]
pub(crate) enum Body {
    Html(String),
    /// Not read.
    Other,
    /// It cannot be read, today or tomorrow.
    Wrong(String),
}

impl Http {
    /// A client without any connection yet, which trusts whom the system trusts.
    pub(crate) fn new() -> Result<Self> {
        let roots = HttpsConnectorBuilder::new().with_native_roots();
        let connector = roots.context("the system's certificates cannot be read")?;
        let connector = connector.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self(client))
    }

    /// Asks for a page. The body is read if the answer is 200 and HTML.
    ///
    /// # Errors
    /// When no answer comes, or it breaks off: asking again may help.
    pub(crate) async fn page(&self, url: &Url) -> Result<Answer> {
        in_time(url, async {
            let response = self.ask(url).await?;
            let mut answer = Answer {
                status: response.status().as_u16(),
                content_type: text(&response, &header::CONTENT_TYPE),
                location: text(&response, &header::LOCATION),
                retry_after: text(&response, &header::RETRY_AFTER).and_then(|seconds| {
                    Some(Duration::from_secs(seconds.trim().parse().ok()?).min(MAX_WAIT))
                }),
                body: Body::Other,
            };
            if answer.status == 200 && answer.content_type.as_deref().is_some_and(is_html) {
                answer.body = html(response).await?;
            }
            Ok(answer)
        })
        .await
    }

    /// What `robots.txt` of a URL's host says: nothing where there is none.
    ///
    /// # Errors
    /// When that cannot be found out; then nothing of the host may be fetched.
    pub(crate) async fn robots(&self, url: &Url) -> Result<String> {
        let mut url = url.join("/robots.txt")?;
        for _ in 0..=MAX_REDIRECTS {
            let (status, location, body) = in_time(&url, async {
                let response = self.ask(&url).await?;
                let (status, location) = (response.status(), text(&response, &header::LOCATION));
                let body = if status.is_success() { beginning(response).await? } else { String::new() };
                Ok((status, location, body))
            })
            .await?;
            match location {
                Some(location) if status.is_redirection() => url = url.join(&location)?,
                _ => {
                    let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    ensure!(!later, "{url} answered {status}: so nothing may be fetched now");
                    return Ok(body);
                }
            }
        }
        // By RFC 9309, as if there were none.
        Ok(String::new())
    }

    async fn ask(&self, url: &Url) -> Result<Response<Incoming>> {
        let request = Request::get(url.as_str())
            .header(header::USER_AGENT, concat!("manyhands-crawl/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "text/html, application/xhtml+xml")
            .body(Empty::new())
            .with_context(|| format!("{url} cannot be asked for"))?;
        self.0.request(request).await.with_context(|| format!("no answer from {url}"))
    }
}

async fn in_time<T>(url: &Url, request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(TIMEOUT, request)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("{url} did not answer within {TIMEOUT:?}")))
}

fn text(response: &Response<Incoming>, name: &HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_html(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

/// Reads a page. What is not UTF-8 in it is replaced.
async fn html(response: Response<Incoming>) -> Result<Body> {
    if let Some(coding) = text(&response, &header::CONTENT_ENCODING).filter(|coding| coding != "identity") {
        return Ok(Body::Wrong(format!("it is encoded as {coding}, which was not asked for")));
    }
    match Limited::new(response.into_body(), MAX_PAGE).collect().await {
        Ok(body) => Ok(Body::Html(String::from_utf8_lossy(&body.to_bytes()).into_owned())),
        Err(error) if error.is::<LengthLimitError>() => {
            Ok(Body::Wrong(format!("it has more than {} MiB", MAX_PAGE / 1024 / 1024)))
        }
        Err(error) => Err(anyhow::anyhow!(error)).context("the answer broke off"),
    }
}

/// Reads `robots.txt`, or as much of it as counts.
async fn beginning(response: Response<Incoming>) -> Result<String> {
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while bytes.len() <= MAX_ROBOTS
        && let Some(frame) = body.frame().await
    {
        bytes.extend(frame.context("robots.txt broke off")?.data_ref().map_or(&[][..], |data| data));
    }
    bytes.truncate(MAX_ROBOTS);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
