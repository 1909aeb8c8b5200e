//! One connection through the relay.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Fault, Shared};

/// How many pieces may be on their way in one direction, of at most so many bytes.
const PIECES: usize = 64;
const PIECE: usize = 16 * 1024;

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// Both sides have said all.
    Closed,
    /// Both sides are told that it broke.
    Reset,
    /// Only the server is told that it ended.
    Forgotten,
}

/// A direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    ToServer,
    ToClient,
}

/// What one side sent.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// It has said all.
    Last,
    /// Its connection broke.
    Broken,
}

/// Serves one client until its connection ends.
pub(super) async fn run(shared: &Shared, mut client: TcpStream) {
    let _ = client.set_nodelay(true);
    let mut end = End::Reset;
    if let Some(mut server) = connect(shared, &mut end).await {
        let _ = server.set_nodelay(true);
        end = forward(shared, &mut client, &mut server).await;
        if end == End::Reset {
            let _ = server.set_zero_linger();
        }
    }
    if end == End::Forgotten {
        forget(shared, &mut client).await;
        end = End::Reset;
    }
    if end == End::Reset {
        let _ = client.set_zero_linger();
    }
}

/// Connects to the server, as soon as the fault allows it; `None` if there will be no connection, and how that ends.
async fn connect(shared: &Shared, end: &mut End) -> Option<TcpStream> {
    let mut faults = shared.fault.subscribe();
    // Of no use here: nothing was lost yet.
    let (_, lost) = watch::channel(None);
    tokio::select! {
        biased;
        ended = told(shared, lost) => {
            *end = ended;
            None
        }
        server = async {
            let _ = faults.wait_for(|fault| *fault != Fault::BlackHole).await;
            TcpStream::connect(shared.upstream).await
        } => server.ok(),
    }
}

/// Forwards both ways, up to the end of the connection.
async fn forward(shared: &Shared, client: &mut TcpStream, server: &mut TcpStream) -> End {
    let (lose, lost) = watch::channel(None);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let new = shared.fault() == Fault::Unheard;
    let up = pump(shared, Way::ToServer, from_client, to_server, &lose, new);
    let down = pump(shared, Way::ToClient, from_server, to_client, &lose, new);
    tokio::select! {
        // A fault comes before what could still be forwarded.
        biased;
        end = told(shared, lost) => end,
        done = async { tokio::try_join!(up, down) } => match done {
            Ok(_) if lose.borrow().is_none() => End::Closed,
            _ => End::Reset,
        },
    }
}

/// Waits until the fault that is on ends the connection, and tells how. `lost` is when an answer was discarded first.
async fn told(shared: &Shared, mut lost: watch::Receiver<Option<Instant>>) -> End {
    let mut faults = shared.fault.subscribe();
    loop {
        let fault = *faults.borrow_and_update();
        let since = *lost.borrow_and_update();
        let wait = match (fault, since) {
            (Fault::Cut, _) => return End::Reset,
            (Fault::HalfOpen, _) => return End::Forgotten,
            (Fault::RepliesDropped(wait), Some(_)) => wait,
            (_, Some(_)) => return End::Reset,
            (_, None) => None,
        };
        let due = since.zip(wait).map(|(since, wait)| since + wait);
        tokio::select! {
            biased;
            // The sender lives as long as the relay.
            _ = faults.changed() => {}
            () = at(due) => return End::Reset,
            Ok(()) = lost.changed() => {}
        }
    }
}

/// Waits for an instant; for ever without one.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Forwards one direction until its sender has said all. A new connection was made after its clients became unheard.
async fn pump(
    shared: &Shared,
    way: Way,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    lose: &watch::Sender<Option<Instant>>,
    new: bool,
) -> io::Result<()> {
    let (pieces, arriving) = mpsc::channel(PIECES);
    let writing = write(shared, way, to, arriving, lose, new);
    let reading = async {
        read(shared, from, pieces).await;
        Ok(())
    };
    // One that cannot be written to any more is not read from either.
    tokio::try_join!(reading, writing).map(|((), ())| ())
}

/// Takes what one side sends, and notes when it may arrive.
async fn read(shared: &Shared, mut from: ReadHalf<'_>, pieces: mpsc::Sender<(Instant, Piece)>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let piece = match from.read(&mut buffer).await {
            Ok(0) => Piece::Last,
            Ok(bytes) => Piece::Bytes(buffer[..bytes].to_vec()),
            Err(_) => Piece::Broken,
        };
        let latency = if let Fault::Latency(latency) = shared.fault() { latency } else { Duration::ZERO };
        let more = matches!(piece, Piece::Bytes(_));
        if pieces.send((Instant::now() + latency, piece)).await.is_err() || !more {
            return;
        }
    }
}

/// Gives the other side what arrives, as the fault allows it.
async fn write(
    shared: &Shared,
    way: Way,
    mut to: WriteHalf<'_>,
    mut arriving: mpsc::Receiver<(Instant, Piece)>,
    lose: &watch::Sender<Option<Instant>>,
    new: bool,
) -> io::Result<()> {
    let waits = |fault: Fault| match fault {
        Fault::BlackHole => true,
        Fault::Unheard => way == Way::ToServer && !new,
        _ => false,
    };
    let mut faults = shared.fault.subscribe();
    while let Some((due, piece)) = arriving.recv().await {
        sleep_until(due).await;
        let Piece::Bytes(bytes) = piece else {
            let _ = faults.wait_for(|fault| !waits(*fault)).await;
            return if matches!(piece, Piece::Last) { to.shutdown().await } else { Err(broken()) };
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let _ = faults.wait_for(|fault| !waits(*fault)).await;
            to.writable().await?;
            // From here to the writing nothing is awaited, so no other fault can come between.
            let fault = shared.fault();
            let lost = way == Way::ToClient && lose.borrow().is_some();
            let step = match fault {
                fault if waits(fault) => continue,
                // Whoever ends the connection will do so now.
                Fault::Cut | Fault::HalfOpen => return std::future::pending().await,
                Fault::RepliesDropped(_) if way == Way::ToClient => {
                    discard(shared, rest.len());
                    lose.send_if_modified(|lost| {
                        lost.is_none() && {
                            *lost = Some(Instant::now());
                            true
                        }
                    });
                    break;
                }
                // The same: what was lost would be a hole in the stream.
                _ if lost => return std::future::pending().await,
                Fault::ByteByByte(_) => 1,
                _ => rest.len(),
            };
            let written = match to.try_write(&rest[..step]) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            rest = &rest[written..];
            let bytes = u64::try_from(written).unwrap_or(u64::MAX);
            shared.count(|stats| match way {
                Way::ToServer => stats.to_server += bytes,
                Way::ToClient => stats.to_client += bytes,
            });
            match fault {
                Fault::ByteByByte(Duration::ZERO) => tokio::task::yield_now().await,
                Fault::ByteByByte(pause) => sleep(pause).await,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Keeps a client whose server is gone, until it leaves or is cut off.
async fn forget(shared: &Shared, client: &mut TcpStream) {
    let mut faults = shared.fault.subscribe();
    let mut buffer = vec![0; PIECE];
    let vanish = async {
        while let Ok(bytes @ 1..) = client.read(&mut buffer).await {
            discard(shared, bytes);
        }
    };
    tokio::select! {
        biased;
        _ = faults.wait_for(|fault| *fault == Fault::Cut) => {}
        () = vanish => {}
    }
}

fn discard(shared: &Shared, bytes: usize) {
    shared.count(|stats| stats.discarded += u64::try_from(bytes).unwrap_or(u64::MAX));
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
