//! A site on loopback, which writes down what it is asked for, and can make somebody wait for an answer.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use url::Url;

use super::programs::PATIENCE;

/// An answer.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn html(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body).with("content-type", "text/html; charset=utf-8")
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new(301, "").with("location", to)
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What a site answers: a path with its query, and how often it was asked for, from 1.
type Answers = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// A site, until it is dropped.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    answers: Box<Answers>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// The paths, in their order, without that of `robots.txt`.
    pages: Vec<String>,
    robots: usize,
    /// How many are being answered, and how many were at most.
    now: usize,
    most: usize,
    agents: Vec<String>,
    /// Who wants to know of the first request from the so manyth on.
    catch: Option<(usize, mpsc::Sender<Held>)>,
    /// How many must be there at once before any is answered; 0 when they have been.
    crowd: usize,
    waiting: Vec<oneshot::Sender<()>>,
    /// How long an answer takes.
    delay: Duration,
}

/// A request that waits for its answer.
pub(crate) struct Held {
    ends: Ends,
    _go: oneshot::Sender<()>,
}

/// The two ends of a connection: theirs and ours. One port of theirs may be used for several servers at a time.
#[derive(Clone, Copy)]
struct Ends(SocketAddr, SocketAddr);

impl Site {
    pub(crate) fn new(answers: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = Arc::new(State { answers: Box::new(answers), log: Mutex::default() });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _runtime: runtime }
    }

    /// A site that takes its time for an answer.
    pub(crate) fn slow(answers: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let site = Self::new(answers);
        site.state.log().delay = Duration::from_millis(30);
        site
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    /// The pages that were asked for, in their order.
    pub(crate) fn pages(&self) -> Vec<String> {
        self.state.log().pages.clone()
    }

    /// How often `robots.txt` was asked for.
    pub(crate) fn robots(&self) -> usize {
        self.state.log().robots
    }

    /// How many requests there were at once, at most.
    pub(crate) fn most(&self) -> usize {
        self.state.log().most
    }

    /// Who asked, each once.
    pub(crate) fn agents(&self) -> Vec<String> {
        let mut agents = self.state.log().agents.clone();
        agents.sort();
        agents.dedup();
        agents
    }

    /// Answers nobody until so many ask at once.
    pub(crate) fn gather(&self, crowd: usize) {
        self.state.log().crowd = crowd;
    }

    /// The first page that is asked for when at least so many were: it waits for its answer as long as the request is held.
    pub(crate) fn catch(&self, pages: usize) -> Held {
        let (sender, caught) = mpsc::channel();
        self.state.log().catch = Some((pages, sender));
        caught.recv_timeout(PATIENCE).expect("somebody asks for one more page")
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, ends: Ends, path: String, agent: String) -> Reply {
        let mut visit = Visit::begin(&self, ends, &path, agent);
        if let Some(go) = visit.wait.take() {
            // An error is the end of who held it: it may go, too.
            let _ = go.await;
        }
        tokio::time::sleep(visit.delay).await;
        (self.answers)(&path, visit.times)
    }
}

/// One request, until it is answered, or whoever asked is gone.
struct Visit<'a> {
    state: &'a State,
    times: usize,
    wait: Option<oneshot::Receiver<()>>,
    delay: Duration,
}

impl<'a> Visit<'a> {
    fn begin(state: &'a State, ends: Ends, path: &str, agent: String) -> Self {
        let mut log = state.log();
        log.now += 1;
        log.agents.push(agent);
        let (mut times, mut wait) = (1, None);
        if path == "/robots.txt" {
            log.robots += 1;
        } else {
            log.most = log.most.max(log.now);
            log.pages.push(path.to_owned());
            times = log.pages.iter().filter(|page| *page == path).count();
            let asked = log.pages.len();
            if let Some((_, sender)) = log.catch.take_if(|(pages, _)| asked > *pages) {
                let (go, gone) = oneshot::channel();
                wait = Some(gone);
                let _ = sender.send(Held { ends, _go: go });
            } else if log.now < log.crowd {
                let (go, gone) = oneshot::channel();
                wait = Some(gone);
                log.waiting.push(go);
            } else {
                log.crowd = 0;
                log.waiting.clear();
            }
        }
        Self { state, times, wait, delay: log.delay }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.state.log().now -= 1;
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let Ok(ends) = stream.local_addr().map(|own| Ends(peer, own)) else { continue };
        let state = Arc::clone(&state);
        let service = service_fn(move |request: Request<_>| {
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            let agent = request.headers().get("user-agent").map(|agent| agent.to_str().unwrap().to_owned());
            let answer = Arc::clone(&state).answer(ends, path, agent.unwrap_or_default());
            async move {
                let Reply { status, headers, body } = answer.await;
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A file of a folder, as usual servers give it.
fn file(folder: &Path, path: &str) -> Reply {
    let path = path.split('?').next().unwrap();
    let place = folder.join(path.trim_start_matches('/'));
    if place.is_dir() && !path.ends_with('/') {
        return Reply::redirect(&format!("{path}/"));
    }
    let place = if place.is_dir() { place.join("index.html") } else { place };
    let kind = match place.extension().and_then(|kind| kind.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        _ => "application/octet-stream",
    };
    match fs::read(&place) {
        Ok(body) => Reply::new(200, body).with("content-type", kind),
        Err(_) => Reply::new(404, "no such page\n").with("content-type", "text/html"),
    }
}

/// Real HTML: what the Rust toolchain installs, or Debian's `python3-doc`.
pub(crate) struct Docs {
    folder: PathBuf,
    /// What of it is open to crawlers: enough for hundreds of pages, little enough for seconds.
    open: Vec<&'static str>,
    /// What is not, though it is within: whole books on one page.
    closed: Vec<&'static str>,
    /// The largest part of it, for those who have minutes.
    largest: &'static str,
}

impl Docs {
    pub(crate) fn find() -> Self {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let told = Command::new(rustc).args(["--print", "sysroot"]).output().unwrap();
        let sysroot = String::from_utf8(told.stdout).unwrap();
        let rust = Path::new(sysroot.trim()).join("share/doc/rust/html");
        let python = Path::new("/usr/share/doc/python3/html");
        match (rust.join("index.html").exists(), python.join("index.html").exists()) {
            (true, _) => Self {
                folder: rust,
                open: vec![
                    "/index.html",
                    "/book/",
                    "/cargo/",
                    "/edition-guide/",
                    "/nomicon/",
                    "/std/net/",
                    "/std/path/",
                ],
                closed: vec!["/book/print.", "/cargo/print.", "/edition-guide/print.", "/nomicon/print."],
                largest: "/std/",
            },
            (false, true) => Self {
                folder: python.to_owned(),
                open: vec!["/"],
                closed: vec!["/genindex", "/whatsnew/changelog."],
                largest: "/",
            },
            _ => panic!(
                "there is neither {} nor {}: rustup component add rust-docs, or install python3-doc",
                rust.display(),
                python.display()
            ),
        }
    }

    /// The same, but for what is open: the largest part of it, and its first page.
    pub(crate) fn largest(self) -> (Self, String) {
        let start = format!("{}index.html", self.largest);
        (Self { open: vec![self.largest], closed: Vec::new(), ..self }, start)
    }

    /// Serves it.
    pub(crate) fn site(&self) -> Site {
        let list = |word: &str, paths: &[&str]| -> String {
            paths.iter().map(|path| format!("{word}: {path}\n")).collect()
        };
        let robots = format!(
            "User-agent: *\nDisallow: /\n{}{}",
            list("Allow", &self.open),
            list("Disallow", &self.closed)
        );
        let folder = self.folder.clone();
        Site::new(move |path, _| match path {
            "/robots.txt" => Reply::new(200, &*robots),
            path => file(&folder, path),
        })
    }

    /// Whether a path may be asked for.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        let within = |parts: &[&str]| parts.iter().any(|part| path.starts_with(part));
        within(&self.open) && !within(&self.closed)
    }
}

impl Held {
    /// Which of these processes asked: whose socket is at the other end of the connection.
    pub(crate) fn holder(&self, pids: impl IntoIterator<Item = u32>) -> u32 {
        let written = |end: SocketAddr| {
            let SocketAddr::V4(end) = end else { panic!("{end} is no address of IPv4") };
            format!("{:08X}:{:04X}", u32::from_ne_bytes(end.ip().octets()), end.port())
        };
        let ends = [written(self.ends.0), written(self.ends.1)];
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = |line: &'_ str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let inode =
            table.lines().map(fields).find(|fields| fields[1..3] == ends).map(|fields| fields[9].clone());
        let socket = PathBuf::from(format!("socket:[{}]", inode.expect("the connection is open")));
        let has = |pid: &u32| -> io::Result<bool> {
            let open = fs::read_dir(format!("/proc/{pid}/fd"))?;
            Ok(open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == socket)))
        };
        pids.into_iter().find(|pid| has(pid).unwrap()).expect("one of them asked")
    }
}
