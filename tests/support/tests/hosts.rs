//! Hosts on one machine: what they reach, what is lost between them, and that nothing of them stays.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use manyhands_test_support::{
    hosts::{Direction, Host, Lan, Packets},
    kill::{Watch, descendants},
};

const PORT: u16 = 7;

/// How long something may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

fn listen(host: &Host, address: Ipv4Addr) -> TcpListener {
    host.inside(|| TcpListener::bind(SocketAddrV4::new(address, PORT)).unwrap()).unwrap()
}

fn connect(host: &Host, address: Ipv4Addr, within: Duration) -> std::io::Result<TcpStream> {
    host.inside(|| TcpStream::connect_timeout(&SocketAddrV4::new(address, PORT).into(), within)).unwrap()
}

/// What a program prints, in one line.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn hosts_reach_each_other_by_their_cables_alone() {
    let mut lan = Lan::new().unwrap();
    let [first, second] = ["first", "second"].map(|name| lan.host(name).unwrap());
    assert_ne!(first.address(), second.address());
    assert_eq!(second.addresses().unwrap(), [second.address()]);
    let listener = listen(&first, first.address());
    let mut stream = connect(&second, first.address(), PATIENCE).unwrap();
    let (mut taken, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), second.address());
    stream.write_all(b"x").unwrap();
    taken.read_exact(&mut [0]).unwrap();
    for host in [&first, &second] {
        assert_eq!(host.loopback().unwrap(), 0, "{}", host.name());
        let Packets { received, sent } = host.cable().unwrap();
        assert!(received > 0 && sent > 0, "{}", host.name());
    }
    // To itself a host has no other way.
    connect(&first, first.address(), PATIENCE).unwrap();
    assert!(first.loopback().unwrap() > 0);
    // Nobody has this address, which the kernel says by the loopback: nobody used that.
    connect(&second, Ipv4Addr::new(10, 83, 0, 99), PATIENCE).unwrap_err();
    assert_eq!(second.loopback().unwrap(), 0);
}

#[test]
fn packets_are_lost_in_the_direction_that_was_said() {
    let mut lan = Lan::new().unwrap();
    let [first, second] = ["first", "second"].map(|name| lan.host(name).unwrap());
    let listener = listen(&first, first.address());
    let mut stream = connect(&second, first.address(), PATIENCE).unwrap();
    let mut taken = listener.accept().unwrap().0;
    second.lose(Direction::To).unwrap();
    stream.write_all(b"x").unwrap();
    taken.read_exact(&mut [0]).unwrap();
    taken.write_all(b"y").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "it is lost");
    assert!(second.lost().unwrap() > 0);
    assert!(second.heal().unwrap() > 0);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    for direction in [Direction::From, Direction::Both] {
        second.lose(direction).unwrap();
        connect(&second, first.address(), Duration::from_millis(100)).unwrap_err();
        assert!(second.heal().unwrap() > 0, "{direction:?}");
        connect(&second, first.address(), PATIENCE).unwrap();
    }
}

#[test]
fn an_address_moves_to_another_host_and_names_change() {
    let mut lan = Lan::new().unwrap();
    let [first, second, client] = ["first", "second", "client"].map(|name| lan.host(name).unwrap());
    let moved = first.address();
    let old = listen(&first, moved);
    connect(&client, moved, PATIENCE).unwrap();
    drop(old);
    first.give_up(moved).unwrap();
    second.take(moved).unwrap();
    let new = listen(&second, moved);
    connect(&client, moved, PATIENCE).unwrap();
    assert_eq!(new.accept().unwrap().1.ip(), client.address());

    client.set_names(&[("broker", second.address())]).unwrap();
    let look = || told(client.command(Path::new("/usr/bin/getent")).args(["ahostsv4", "broker"]));
    assert!(look().starts_with(&second.address().to_string()), "{}", look());
    client.set_names(&[("broker", first.address())]).unwrap();
    assert!(look().starts_with(&first.address().to_string()), "{}", look());
    assert!(
        !std::fs::read_to_string("/etc/hosts").unwrap().contains("broker"),
        "the machine's file is as it was"
    );
}

#[test]
fn a_host_that_is_unplugged_reaches_nobody_until_it_is_plugged_in() {
    let mut lan = Lan::new().unwrap();
    let [first, second] = ["first", "second"].map(|name| lan.host(name).unwrap());
    let _listener = listen(&first, first.address());
    second.unplug().unwrap();
    connect(&second, first.address(), Duration::from_millis(100)).unwrap_err();
    second.plug().unwrap();
    connect(&second, first.address(), PATIENCE).unwrap();
}

#[test]
fn the_pid_is_that_of_the_program_and_nothing_stays() {
    let mut lan = Lan::new().unwrap();
    let host = lan.host("host").unwrap();
    let mut program = host.command(Path::new("/bin/cat")).stdin(Stdio::piped()).spawn().unwrap();
    // It is cat by the time it answers.
    let mut pipe = program.stdin.take().unwrap();
    pipe.write_all(b"x").unwrap();
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", program.id())).unwrap();
    let patience = std::time::Instant::now() + PATIENCE;
    while name() != "cat\n" {
        assert!(std::time::Instant::now() < patience, "it is {}", name());
        std::thread::yield_now();
    }
    drop(pipe);
    program.wait().unwrap();

    // All that were started, and only what other tests of this program started besides.
    let mine = descendants(std::process::id());
    let watches: Vec<_> = mine.iter().filter_map(|pid| Watch::open(*pid).ok()).collect();
    assert!(watches.len() >= 2, "one keeps the host, and one the network");
    drop((host, lan));
    let ended = watches.iter().filter(|watch| watch.ended(Duration::ZERO).unwrap());
    assert!(ended.count() >= 2);
}
