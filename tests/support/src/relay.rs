//! A network between a client and a server that fails on command.
//!
//! The relay listens on a port, of the loopback unless told otherwise, and forwards to a server. Its [`Fault`] can be changed while it runs.

mod connection;

use std::{
    io,
    net::{self, Ipv4Addr, SocketAddrV4},
    sync::{Arc, mpsc as std_mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{mpsc, watch},
};

use crate::servers::ports;

/// How long the relay may take to do as it is told.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a relay does to connections, old and new ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    /// Forwards everything at once.
    #[default]
    None,
    /// What is sent arrives this much later, in each direction. More can be on its way at the same time.
    Latency(Duration),
    /// All connections are reset, and new ones are refused as if nobody listened.
    Cut,
    /// The server sees its end closed; the client sees nothing, and what it sends vanishes. New connections are
    /// accepted and the same. These connections stay like that whatever fault follows, up to [`Fault::Cut`].
    HalfOpen,
    /// Nothing goes either way. Connections stay open, new ones are accepted and hang. What was sent meanwhile arrives
    /// when another fault follows, as on a network whose routes come back.
    BlackHole,
    /// What clients send arrives when another fault follows, and what the server sends arrives at once. Connections that are made meanwhile are as if there was
    /// no fault, so a client may have two of which the server knows.
    Unheard,
    /// The server gets and does what the client sends; what it answers is discarded. A connection that lost an answer
    /// is reset: so long afterwards, and at once when another fault follows; with `None` only then.
    RepliesDropped(Option<Duration>),
    /// Each byte is sent on its own, with this pause after it.
    ByteByByte(Duration),
}

/// What a relay has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Connections that clients made.
    pub accepted: u64,
    /// Connections that clients have now.
    pub open: u64,
    /// Bytes that were sent on to the server.
    pub to_server: u64,
    /// Bytes that were sent on to clients.
    pub to_client: u64,
    /// Bytes of the server, or to it, that were thrown away.
    pub discarded: u64,
}

/// A relay, which ends, and resets its connections, when it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    orders: mpsc::UnboundedSender<Order>,
    stats: watch::Receiver<Stats>,
    /// `None` while it is dropped.
    thread: Option<JoinHandle<()>>,
}

/// A fault to put on, and whom to tell when it is.
type Order = (Fault, std_mpsc::Sender<io::Result<()>>);

impl Relay {
    /// Starts a relay to this port of 127.0.0.1. Nobody has to listen there yet.
    ///
    /// # Errors
    ///
    /// If no port or no thread can be had.
    pub fn start(upstream: u16) -> io::Result<Self> {
        let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Self::start_at(local(ports::free()?), local(upstream))
    }

    /// Starts a relay that listens here, in the network of the calling thread, and forwards there.
    ///
    /// # Errors
    ///
    /// As [`Relay::start`]; also if somebody has the port.
    pub fn start_at(here: SocketAddrV4, upstream: SocketAddrV4) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let port = here.port();
        let listener = listen(here)?;
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, stats) = watch::channel(Stats::default());
        let shared =
            Shared { upstream, stats: Arc::new(sender), fault: watch::channel(Fault::None).0.into() };
        let thread = std::thread::Builder::new().name(format!("relay-{port}"));
        let thread = thread.spawn(move || {
            runtime.block_on(shared.serve(here, listener, received));
        })?;
        Ok(Self { port, orders, stats, thread: Some(thread) })
    }

    /// The port on which clients reach the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL of the server, with the relay's port in the place of the server's.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        let (head, tail) = server.rsplit_once(':').unwrap_or((server, ""));
        let rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{head}:{}{rest}", self.port)
    }

    /// Puts a fault on, in the place of the last one. From when this returns on nothing is forwarded that the fault
    /// forbids; after [`Fault::Cut`] no connection is left. Blocks for a moment.
    ///
    /// # Errors
    ///
    /// If the relay cannot listen again after [`Fault::Cut`].
    pub fn set(&self, fault: Fault) -> io::Result<()> {
        let (done, told) = std_mpsc::channel();
        self.orders.send((fault, done)).map_err(io::Error::other)?;
        told.recv_timeout(PATIENCE).map_err(io::Error::other)?
    }

    /// Ends the fault: the same as to [`set`](Self::set) [`Fault::None`].
    ///
    /// # Errors
    ///
    /// As [`Relay::set`].
    pub fn heal(&self) -> io::Result<()> {
        self.set(Fault::None)
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.borrow()
    }

    /// Waits, as long as it takes, until the relay has done so much, and tells what it then has done.
    ///
    /// # Errors
    ///
    /// If the relay ended.
    pub async fn until(&self, enough: impl Fn(&Stats) -> bool) -> io::Result<Stats> {
        let mut stats = self.stats.clone();
        Ok(*stats.wait_for(|stats| enough(stats)).await.map_err(io::Error::other)?)
    }

    /// As [`Relay::until`], for tests without a runtime.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] after so long; also if the relay ended.
    pub fn wait(&self, within: Duration, enough: impl Fn(&Stats) -> bool) -> io::Result<Stats> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
        let waiting = async { tokio::time::timeout(within, self.until(enough)).await };
        runtime.block_on(waiting).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Without orders to come, the thread ends.
        self.orders = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the relay and its connections share.
#[derive(Clone, Debug)]
struct Shared {
    upstream: SocketAddrV4,
    stats: Arc<watch::Sender<Stats>>,
    fault: Arc<watch::Sender<Fault>>,
}

impl Shared {
    /// Accepts connections and takes orders until there are no more to come.
    async fn serve(
        self,
        here: SocketAddrV4,
        first: net::TcpListener,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        let mut listener = TcpListener::from_std(first).ok();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    let Some((fault, done)) = order else { break };
                    let _ = done.send(self.put_on(fault, here, &mut listener).await);
                }
                stream = accept(listener.as_ref()) => self.take(stream),
            }
        }
        drop(listener);
        self.cut().await;
    }

    async fn put_on(
        &self,
        fault: Fault,
        here: SocketAddrV4,
        listener: &mut Option<TcpListener>,
    ) -> io::Result<()> {
        if fault == Fault::Cut {
            *listener = None;
            self.cut().await;
            return Ok(());
        }
        self.fault.send_replace(fault);
        if listener.is_none() {
            *listener = Some(TcpListener::from_std(listen(here)?)?);
        }
        Ok(())
    }

    /// Resets all connections, and waits until that is done.
    async fn cut(&self) {
        self.fault.send_replace(Fault::Cut);
        let _ = self.stats.subscribe().wait_for(|stats| stats.open == 0).await;
    }

    fn take(&self, stream: TcpStream) {
        self.count(|stats| (stats.accepted, stats.open) = (stats.accepted + 1, stats.open + 1));
        let shared = self.clone();
        tokio::spawn(async move {
            connection::run(&shared, stream).await;
            shared.count(|stats| stats.open -= 1);
        });
    }

    fn count(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(change);
    }

    /// The fault that is on.
    fn fault(&self) -> Fault {
        *self.fault.borrow()
    }
}

/// Not tokio's own, so that it can be made where no runtime is, or another one.
fn listen(here: SocketAddrV4) -> io::Result<net::TcpListener> {
    let listener = net::TcpListener::bind(here)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection; never, where nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // What fails here is the client's connection, not the listener.
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}
