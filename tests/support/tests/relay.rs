//! Each fault of the relay, in front of a server that says back what it hears.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use manyhands_test_support::relay::{Fault, Relay};

/// How long something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long is looked whether something happens that must not.
const LOOK: Duration = Duration::from_millis(60);

/// What a server tells of a connection.
#[derive(Debug, Eq, PartialEq)]
enum Said {
    Heard(Vec<u8>),
    Closed,
}

/// Starts a server that says back what it hears, and tells the test.
fn echo() -> (u16, Receiver<Said>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, said) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                    let _ = sender.send(Said::Heard(buffer[..bytes].to_vec()));
                    if stream.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
                let _ = sender.send(Said::Closed);
            });
        }
    });
    (port, said)
}

struct Stage {
    relay: Relay,
    said: Receiver<Said>,
}

impl Stage {
    fn new() -> Self {
        let (port, said) = echo();
        Self { relay: Relay::start(port).unwrap(), said }
    }

    fn client(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.relay.port())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client that has been answered once.
    fn connected(&self) -> TcpStream {
        let mut client = self.client();
        assert_eq!(ask(&mut client, b"hello"), b"hello");
        assert_eq!(self.hears(), Said::Heard(b"hello".to_vec()));
        client
    }

    fn hears(&self) -> Said {
        self.said.recv_timeout(PATIENCE).unwrap()
    }
}

fn ask(client: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    client.write_all(words).unwrap();
    let mut answer = vec![0; words.len()];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// Nothing comes, and the connection stays.
fn silent(client: &mut TcpStream) {
    client.set_read_timeout(Some(LOOK)).unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
}

fn is_reset(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn without_a_fault_everything_goes_through() {
    let stage = Stage::new();
    let mut client = stage.connected();
    let much: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut writer, copy) = (client.try_clone().unwrap(), much.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == much, "{} bytes of {}", answer.len(), much.len());
    let stats = stage.relay.wait(PATIENCE, |stats| stats.open == 0).unwrap();
    assert_eq!((stats.accepted, stats.to_server, stats.to_client), (1, 2_000_005, 2_000_005));
}

#[test]
fn latency_delays_each_direction_and_not_the_rate() {
    let stage = Stage::new();
    let mut old = stage.connected();
    let latency = Duration::from_millis(150);
    stage.relay.set(Fault::Latency(latency)).unwrap();
    for client in [&mut old, &mut stage.client()] {
        let start = Instant::now();
        // Each waits for itself: ten at once take as long as one.
        for _ in 0..10 {
            client.write_all(b"1").unwrap();
        }
        client.read_exact(&mut [0; 10]).unwrap();
        let took = start.elapsed();
        assert!(took >= 2 * latency && took < 10 * latency, "{took:?}");
    }
    stage.relay.heal().unwrap();
    let start = Instant::now();
    ask(&mut old, b"2");
    assert!(start.elapsed() < latency);
}

#[test]
fn cut_resets_what_is_open_and_refuses_what_is_new() {
    let stage = Stage::new();
    let mut client = stage.connected();
    stage.relay.set(Fault::Cut).unwrap();
    assert_eq!(stage.relay.stats().open, 0);
    is_reset(&mut client);
    assert_eq!(stage.hears(), Said::Closed);
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, stage.relay.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    stage.relay.heal().unwrap();
    stage.connected();
}

#[test]
fn half_open_tells_the_server_and_not_the_client() {
    let stage = Stage::new();
    let mut client = stage.connected();
    stage.relay.set(Fault::HalfOpen).unwrap();
    assert_eq!(stage.hears(), Said::Closed);
    client.write_all(b"lost").unwrap();
    stage.relay.wait(PATIENCE, |stats| stats.discarded == 4).unwrap();
    let mut new = stage.client();
    new.write_all(b"also").unwrap();
    stage.relay.wait(PATIENCE, |stats| stats.discarded == 8).unwrap();
    stage.relay.heal().unwrap();
    client.write_all(b"still").unwrap();
    silent(&mut client);
    silent(&mut new);
    stage.connected();
    stage.relay.set(Fault::Cut).unwrap();
    is_reset(&mut client);
    is_reset(&mut new);
}

#[test]
fn a_black_hole_holds_everything_until_it_is_healed() {
    let stage = Stage::new();
    let mut client = stage.connected();
    stage.relay.set(Fault::BlackHole).unwrap();
    let mut new = stage.client();
    for client in [&mut client, &mut new] {
        client.write_all(b"later").unwrap();
        silent(client);
    }
    assert!(stage.said.try_recv().is_err(), "the server hears nothing");
    assert_eq!(stage.relay.stats().open, 2);
    stage.relay.heal().unwrap();
    for client in [&mut client, &mut new] {
        client.read_exact(&mut [0; 5]).unwrap();
    }
}

#[test]
fn who_is_unheard_may_come_again() {
    let stage = Stage::new();
    let mut old = stage.connected();
    stage.relay.set(Fault::Unheard).unwrap();
    old.write_all(b"old").unwrap();
    assert_eq!(ask(&mut stage.client(), b"new"), b"new");
    assert_eq!(stage.hears(), Said::Heard(b"new".to_vec()));
    silent(&mut old);
    stage.relay.heal().unwrap();
    old.read_exact(&mut [0; 3]).unwrap();
}

#[test]
fn dropped_replies_are_done_and_not_told() {
    for wait in [Duration::ZERO, Duration::from_millis(100)] {
        let stage = Stage::new();
        let mut old = stage.connected();
        stage.relay.set(Fault::RepliesDropped(Some(wait))).unwrap();
        for client in [&mut old, &mut stage.client()] {
            let start = Instant::now();
            client.write_all(b"do it").unwrap();
            assert_eq!(stage.hears(), Said::Heard(b"do it".to_vec()));
            is_reset(client);
            assert!(start.elapsed() >= wait);
            assert_eq!(stage.hears(), Said::Closed);
        }
        assert_eq!(stage.relay.stats().discarded, 10);
        stage.relay.heal().unwrap();
        stage.connected();
    }
}

#[test]
fn a_connection_that_lost_a_reply_does_not_go_on() {
    let stage = Stage::new();
    let (mut lost, mut idle) = (stage.connected(), stage.connected());
    stage.relay.set(Fault::RepliesDropped(None)).unwrap();
    lost.write_all(b"do it").unwrap();
    stage.relay.wait(PATIENCE, |stats| stats.discarded == 5).unwrap();
    silent(&mut lost);
    stage.relay.heal().unwrap();
    is_reset(&mut lost);
    assert_eq!(ask(&mut idle, b"and now"), b"and now");
}

#[test]
fn bytes_go_one_by_one() {
    let stage = Stage::new();
    let mut client = stage.connected();
    stage.relay.set(Fault::ByteByByte(Duration::from_millis(2))).unwrap();
    assert_eq!(ask(&mut client, b"spelled"), b"spelled");
    let mut heard: Vec<Vec<u8>> = Vec::new();
    while heard.concat().len() < 7 {
        let Said::Heard(bytes) = stage.hears() else { unreachable!("the connection stays") };
        heard.push(bytes);
    }
    // A server that is slow to read finds more than one.
    assert!(heard.concat() == b"spelled" && heard.len() > 1, "{heard:?}");
    stage.relay.set(Fault::ByteByByte(Duration::ZERO)).unwrap();
    let much = vec![7; 10_000];
    assert_eq!(ask(&mut client, &much), much);
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let relay = Relay::start(port).unwrap();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
    is_reset(&mut client);
}

#[test]
fn a_dropped_relay_leaves_nothing() {
    let stage = Stage::new();
    let (mut open, port) = (stage.connected(), stage.relay.port());
    stage.relay.set(Fault::BlackHole).unwrap();
    let mut hanging = stage.client();
    stage.relay.wait(PATIENCE, |stats| stats.open == 2).unwrap();
    drop(stage);
    is_reset(&mut open);
    is_reset(&mut hanging);
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
    assert!(!names.into_iter().any(|name| name.trim_end() == format!("relay-{port}")));
}

/// In the runtime of a test, of whatever kind, without blocking it.
#[tokio::test]
async fn a_test_waits_for_a_point_of_the_work() {
    let (port, _said) = echo();
    let relay = Relay::start(port).unwrap();
    let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.unwrap();
    assert_eq!(relay.until(|stats| stats.accepted == 1).await.unwrap().to_server, 0);
    stream.try_write(b"12345").unwrap();
    let stats = relay.until(|stats| stats.to_client >= 5).await.unwrap();
    assert_eq!((stats.to_server, stats.open), (5, 1));
    drop(stream);
    relay.until(|stats| stats.open == 0).await.unwrap();
}

#[test]
fn a_url_leads_through_the_relay() {
    let stage = Stage::new();
    let port = stage.relay.port();
    let url = |url| stage.relay.url(url);
    assert_eq!(url("redis://127.0.0.1:1"), format!("redis://127.0.0.1:{port}"));
    assert_eq!(
        url("amqp://guest:guest@127.0.0.1:1/x?y=z"),
        format!("amqp://guest:guest@127.0.0.1:{port}/x?y=z")
    );
}
