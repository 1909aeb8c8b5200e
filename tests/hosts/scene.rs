//! One trial under way: its hosts, its server, and the programs on the hosts.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use manyhands_test_support::{
    checker::{self, Pair, Report},
    hosts::{Host, Lan},
    kill::Watch,
    ledger::Ledger,
};
use tempfile::TempDir;

use crate::{
    ROLE, Role, What, insist, runtime,
    server::{Kind, NAME, Server},
    told::Told,
};

/// How long anything may take. Only what hangs takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long leases last unless a trial wants it otherwise: shorter than its long tasks.
const LEASE: Duration = Duration::from_secs(2);

/// The hosts that work.
pub(crate) const WORKERS: usize = 3;

/// The one that sends comes after them.
pub(crate) const PRODUCER: usize = WORKERS;

/// A host with its program.
#[derive(Debug)]
struct Member {
    host: Host,
    program: Option<Child>,
    told: Told,
}

/// One trial under way.
#[derive(Debug)]
pub(crate) struct Scene {
    // Dropped in this order: the programs, the server, the hosts.
    members: Vec<Member>,
    pub(crate) server: Server,
    /// Where the server is.
    address: Ipv4Addr,
    /// Those that have the server, or had it, or will.
    pub(crate) brokers: Vec<Host>,
    /// What went over the loopbacks of those before the trial began: a server finds itself by it.
    before: Vec<u64>,
    pub(crate) lan: Lan,
    folder: TempDir,
    began: Instant,
    /// How long leases last: on Redis, until somebody else runs what a host held that is gone.
    pub(crate) lease: Duration,
    pub(crate) ledger: Ledger,
    /// Who says what; nothing at the end of all that it says.
    lines: mpsc::Receiver<(usize, Option<String>)>,
    speaker: mpsc::Sender<(usize, Option<String>)>,
}

impl Scene {
    /// The hosts and the server. No program runs yet.
    pub(crate) fn new(kind: Kind) -> Self {
        let mut lan = Lan::new().unwrap();
        let broker = lan.host("broker").unwrap();
        let server = Server::start(kind, &broker);
        let names = ["worker-1", "worker-2", "worker-3", "producer"];
        let members =
            names.map(|name| Member { host: lan.host(name).unwrap(), program: None, told: Told::default() });
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), "test").unwrap();
        let (speaker, lines) = mpsc::channel();
        let mut scene = Self {
            members: members.into(),
            server,
            before: Vec::new(),
            address: broker.address(),
            brokers: vec![broker],
            lan,
            folder,
            began: Instant::now(),
            lease: LEASE,
            ledger,
            lines,
            speaker,
        };
        scene.count_from_here();
        scene.broker_is_at(scene.address);
        scene
    }

    /// What went over the loopbacks of the broker's hosts does not count up to here.
    pub(crate) fn count_from_here(&mut self) {
        self.before = self.brokers.iter().map(|host| host.loopback().unwrap()).collect();
    }

    /// All hosts know the broker by this address from now on.
    pub(crate) fn broker_is_at(&mut self, address: Ipv4Addr) {
        self.address = address;
        (0..self.members.len()).for_each(|member| self.broker_of(member, address));
    }

    /// This host knows the broker by this address from now on.
    pub(crate) fn broker_of(&self, member: usize, address: Ipv4Addr) {
        self.host(member).set_names(&[(NAME, address)]).unwrap();
    }

    /// Starts the programs.
    pub(crate) fn start(&mut self) {
        for member in 0..self.members.len() {
            self.start_program(member);
        }
    }

    fn start_program(&mut self, member: usize) {
        let what = if member == PRODUCER { What::Produce } else { What::Work };
        let (url, folder) = (self.server.url(NAME), self.folder.path().to_owned());
        let role = Role { what, url, folder, lease: self.lease };
        let host = self.host(member);
        let log = File::create(self.folder.path().join(format!("{}.log", host.name()))).unwrap();
        let mut program = host
            .command(&std::env::current_exe().unwrap())
            .env(ROLE, serde_json::to_string(&role).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (output, speaker) = (program.stdout.take().unwrap(), self.speaker.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if speaker.send((member, Some(line))).is_err() {
                    return;
                }
            }
            let _ = speaker.send((member, None));
        });
        self.members[member].program = Some(program);
    }

    pub(crate) fn host(&self, member: usize) -> &Host {
        &self.members[member].host
    }

    /// The process on a host.
    pub(crate) fn pid(&self, member: usize) -> u32 {
        self.members[member].program.as_ref().unwrap().id()
    }

    /// What the program on a host said.
    pub(crate) fn told(&self, member: usize) -> &Told {
        &self.members[member].told
    }

    /// What all that work said.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &Told> {
        self.members[..WORKERS].iter().map(|member| &member.told)
    }

    /// What the program on a host logged.
    pub(crate) fn log(&self, member: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("{}.log", self.host(member).name()))).unwrap()
    }

    /// Waits until enough was said: `what` says of what, should it never be.
    pub(crate) fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !enough(self) {
            let left = patience.saturating_duration_since(Instant::now());
            let Ok((member, line)) = self.lines.recv_timeout(left) else { self.give_up(what) };
            match line {
                Some(line) => self.members[member].told.hear(&line),
                None => self.members[member].told.ended = true,
            }
        }
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    /// Says what each program said last.
    fn give_up(&self, what: &str) -> ! {
        for member in 0..self.members.len() {
            let log = self.log(member);
            let last = log.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev();
            let told = self.told(member);
            println!(
                "{}: {} begun, {} done, {} sent, {} failed, ended {}\n{}",
                self.host(member).name(),
                told.begun.len(),
                told.done.len(),
                told.sent,
                told.failed,
                told.ended,
                last.collect::<Vec<_>>().join("\n")
            );
        }
        panic!("it does not come: {what}");
    }

    /// Lets all go on to their end, and reads what they wrote.
    pub(crate) fn end(&mut self) -> Report {
        let producer = self.members[PRODUCER].program.as_mut().unwrap();
        producer.stdin.take().unwrap().write_all(b"stop\n").unwrap();
        self.until("the end of all programs", |scene| scene.members.iter().all(|member| member.told.ended));
        for Member { host, program, .. } in &mut self.members {
            let program = program.as_mut().unwrap();
            Watch::open(program.id()).unwrap().end(PATIENCE).unwrap();
            assert!(program.wait().unwrap().success(), "{}", host.name());
        }
        self.nothing_went_by_a_loopback();
        let mut report = checker::check(self.folder.path()).unwrap();
        // Two tasks of one id, which nobody can tell from one that is run twice.
        let twins = self.told(PRODUCER).twins.clone();
        let once = |pair: &Pair| !twins.contains(&pair.first.id);
        for pairs in [&mut report.doubled, &mut report.overlapping, &mut report.stale, &mut report.reused] {
            pairs.retain(once);
        }
        let both = report.resettled.len();
        report.resettled.retain(|id| !twins.contains(id));
        println!(
            "{} settled twice, and {} of those that may be there twice",
            report.resettled.len(),
            both - report.resettled.len()
        );
        let [first, second, third] = [0, 1, 2].map(|worker| self.told(worker).begun.len());
        println!("{} may be there twice; by host {first} {second} {third}; {report}", twins.len());
        assert_eq!(report.defects(), Vec::<String>::new());
        let forgotten: Vec<_> = report.doubled.iter().filter(|pair| pair.after_accepted).collect();
        assert!(forgotten.is_empty(), "accepted, and run again: {forgotten:?}");
        assert_eq!((report.confirmed, report.unknown), (self.told(PRODUCER).sent, 0));
        self.books_are_whole();
        report
    }

    /// Each host has its own address, and all that was said went over its cable.
    fn nothing_went_by_a_loopback(&self) {
        let members = self.members.iter().map(|member| &member.host);
        let mut addresses = Vec::new();
        for host in members.clone().chain(&self.brokers) {
            addresses.extend(host.addresses().unwrap());
            assert!(host.cable().unwrap().sent > 0, "{} said nothing", host.name());
        }
        let all = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), all, "two hosts share an address: {addresses:?}");
        assert!(all > WORKERS + 1, "a host has no address: {addresses:?}");
        for host in members {
            assert_eq!(host.loopback().unwrap(), 0, "{} used its loopback", host.name());
        }
        for (host, before) in self.brokers.iter().zip(&self.before) {
            assert_eq!(host.loopback().unwrap(), *before, "{} used its loopback", host.name());
        }
    }

    /// Where the broker has the power to look its books through, nothing is found. The producer's host asks.
    fn books_are_whole(&self) {
        let url = self.server.url(self.address);
        let looked = self.host(PRODUCER).inside(|| {
            runtime().block_on(async {
                let broker = insist(async || manyhands::connect(&url.parse()?).await).await;
                insist(async || match broker.fsck() {
                    Some(fsck) => fsck.fsck(false).await,
                    None => Ok(manyhands::Report::default()),
                })
                .await
            })
        });
        assert_eq!(looked.unwrap().findings, [], "what was left behind");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for program in self.members.iter_mut().filter_map(|member| member.program.as_mut()) {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
