//! The front: takes connections of callers, and answers one request of each after the other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use manyhands::{BrokerUrl, Client};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    answer::{Answer, Request},
    call::{self, Whole},
    calls::{ACCEPT_PAUSE, Calls},
    list::List,
    stop::Signals,
    wire,
};

#[derive(clap::Args)]
pub(crate) struct FrontArgs {
    /// Where callers connect. Nobody is asked who he is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7007")]
    listen: SocketAddr,

    /// Where workers bring answers: an address of this host that they reach. Port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    answers: SocketAddr,

    /// How long a call may take, all in all
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(crate) deadline_ms: u64,

    /// How many bytes the output of a command may have
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) max_output: u64,

    /// How many bytes a request may have. With what goes around it, it is the payload of a task
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10, value_parser = clap::value_parser!(u32).range(1..=512 << 10))]
    max_request: u32,

    /// How many connections are served at a time
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// How long a connection may be silent between two requests
    #[arg(long, value_name = "MS", default_value_t = 600_000)]
    silent_ms: u64,
}

/// How long a request may take from its first byte to its last, and a piece of an answer to be taken.
const SLOW: Duration = Duration::from_secs(10);

/// How long what a caller still sends is thrown away before its connection is closed.
const PART: Duration = Duration::from_secs(2);

/// What the connections share.
pub(crate) struct Front {
    pub(crate) client: Client,
    pub(crate) list: List,
    pub(crate) args: FrontArgs,
    pub(crate) calls: Arc<Calls>,
    /// Where workers bring answers.
    pub(crate) answers: SocketAddr,
}

/// Serves until it is told to end, then answers what is under way; a second signal ends it at once.
pub(crate) async fn front(url: &BrokerUrl, list: List, args: FrontArgs) -> Result<()> {
    ensure!(!args.answers.ip().is_unspecified(), "--answers: workers need one address that they can reach");
    let mut signals = Signals::new()?;
    let client = Client::connect(url).await?;
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let (listener, answers) = (bind(args.listen).await?, bind(args.answers).await?);
    println!("listening on {}, for answers on {}", listener.local_addr()?, answers.local_addr()?);
    let calls = Arc::new(Calls::default());
    let front = Front { client, list, args, calls: Arc::clone(&calls), answers: answers.local_addr()? };
    tokio::spawn(calls.serve(answers));
    let (mut connections, (stop, stopping)) = (JoinSet::new(), watch::channel(()));
    serve(&Arc::new(front), listener, &mut signals, &mut connections, &stopping).await;
    drop(stop);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Takes connections until a signal comes. Those that find no place wait in the listener's backlog.
async fn serve(
    front: &Arc<Front>,
    listener: TcpListener,
    signals: &mut Signals,
    connections: &mut JoinSet<()>,
    stopping: &watch::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(front.args.connections as usize));
    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    loop {
        tokio::select! {
            () = signals.next() => return,
            (stream, place) = accept() => {
                let (front, stopping) = (Arc::clone(front), stopping.clone());
                connections.spawn(async move {
                    converse(&front, stream, stopping).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the requests of one connection. While none comes, it has a future of some hundred bytes, and no buffer.
async fn converse(front: &Front, mut stream: TcpStream, mut stopping: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let silent = Duration::from_millis(front.args.silent_ms);
    let mut first = [0];
    loop {
        let begins = tokio::select! {
            peeked = stream.peek(&mut first) => matches!(peeked, Ok(1)),
            // Nothing is ever sent: that the other end is dropped is the word.
            _ = stopping.changed() => false,
            () = sleep(silent) => false,
        };
        // In a box, as it is large and mostly not there.
        if !begins || !Box::pin(front.serve(&mut stream)).await {
            return;
        }
    }
}

impl Front {
    /// Answers one request; says whether there can be another one.
    async fn serve(&self, stream: &mut TcpStream) -> bool {
        let refused = |why: String| Some(Answer::Refused(why).into());
        let frame = timeout(SLOW, wire::read(stream, self.args.max_request as usize)).await;
        let (answer, more) = match frame {
            Ok(Ok(Some(frame))) => match serde_json::from_slice::<Request>(&frame) {
                Ok(request) => {
                    drop(frame);
                    (call::answer(self, request, stream).await, true)
                }
                Err(why) => (refused(format!("that is no request: {why}")), true),
            },
            Ok(Err(why @ wire::Broken::TooLong { .. })) => (refused(why.to_string()), false),
            Ok(_) => return false,
            Err(_) => (refused("the request took too long to come".to_owned()), false),
        };
        let Some(answer) = answer else { return false };
        let sent = send(stream, answer).await;
        if sent.is_some() && !more {
            part(stream).await;
        }
        sent.is_some() && more
    }
}

/// Sends an answer; `None` if it is not taken.
async fn send(stream: &mut TcpStream, whole: Whole) -> Option<()> {
    let Whole { answer, stdout, stderr } = whole;
    timeout(SLOW, wire::say(stream, &answer)).await.ok()?.ok()?;
    for mut output in [stdout, stderr] {
        while let Some(piece) = output.next().await.ok()? {
            timeout(SLOW, stream.write_all(&piece)).await.ok()?.ok()?;
        }
    }
    Some(())
}

/// Closes a connection on which more comes than is read. Closed at once, it would be reset, and the answer lost.
async fn part(stream: &mut TcpStream) {
    let mut rest = vec![0; wire::PIECE];
    let drain = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(PART, drain).await;
}
