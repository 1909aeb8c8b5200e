//! The services as processes: their very commands, with addresses of the loopback in place of the names of hosts.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use manyhands_test_support::{
    kill::{self, Signal},
    servers::Redis,
};
use tempfile::TempDir;

use crate::file::{Compose, interpolated};

#[allow(dead_code, reason = "the site's half of the file is not needed here")]
#[path = "../../src/demo/films.rs"]
mod films;

/// What an engine would be given, and where it would run it.
struct Engine {
    compose: Compose,
    folder: TempDir,
    broker: String,
    /// The site's URL, when it is there.
    site: String,
}

/// A container: a process that is gone with the test.
struct Container {
    service: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Engine {
    /// Starts the site, and waits until it is healthy, as all others do.
    fn start(broker: String) -> (Self, Container) {
        let compose = Compose::read();
        let mut engine = Self { compose, folder: tempfile::tempdir().unwrap(), broker, site: String::new() };
        let mut site = engine.up("site");
        engine.site = site.until("listens on ");
        assert!(engine.is_healthy("site"));
        (engine, site)
    }

    /// A word of the file as it is here.
    fn address(&self, word: &str) -> String {
        let port = |word: &str| word.rsplit_once(':').unwrap().1.to_owned();
        let site = self.compose.command("site");
        let listens = &site[site.iter().position(|word| word == "--listen").unwrap() + 1];
        match word {
            word if word == listens => "127.0.0.1:0".to_owned(),
            word if word == format!("http://site:{}", port(listens)) => self.site.clone(),
            word if word == format!("http://127.0.0.1:{}", port(listens)) => self.site.clone(),
            word => word.replace("/out/", &format!("{}/", self.folder.path().display())),
        }
    }

    fn program(&self, args: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
        command.args(args).current_dir(self.folder.path()).env_remove("MANYHANDS_BROKER");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a container of a service.
    fn up(&self, service: &str) -> Container {
        let definition = &self.compose.services[service];
        let command: Vec<_> = self.compose.command(service).iter().map(|word| self.address(word)).collect();
        let mut program = self.program(&command);
        if let Some(broker) = definition.environment.get("MANYHANDS_BROKER") {
            assert_eq!(interpolated(broker), "redis://redis:6379");
            program.env("MANYHANDS_BROKER", &self.broker);
        }
        let mut child = program.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Container { service: service.to_owned(), child, lines }
    }

    /// Whether the health check of a service succeeds. As all are on one host here, it is asked of the workers of all.
    fn is_healthy(&self, service: &str) -> bool {
        let check = self.compose.services[service].healthcheck.as_ref().unwrap();
        let words: Vec<_> = check.test[2..].iter().map(|word| self.address(word)).collect();
        self.program(&words).env("MANYHANDS_BROKER", &self.broker).output().unwrap().status.success()
    }

    /// What a command of the operator's prints, a JSON object a line.
    fn ask(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let args: Vec<_> = args.iter().map(|&word| word.to_owned()).collect();
        let output =
            self.program(&args).env("MANYHANDS_BROKER", &self.broker).arg("--json").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn check_films(&self) {
        let text = std::fs::read_to_string(self.folder.path().join("films.jsonl")).unwrap();
        let mut saved: Vec<films::Film> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut made = films::films();
        saved.sort_by_key(|film| film.id);
        made.sort_by_key(|film| film.id);
        assert_eq!(saved, made);
    }
}

impl Container {
    /// Reads until a line that begins so, and returns what follows.
    fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("{} ended before {start}", self.service));
            if let Some(rest) = line.unwrap().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for its end, and returns its exit code and what else it said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the saver's end, which must find all films.
fn assert_all_saved(engine: &Engine, saver: Container) {
    let (code, said) = saver.end();
    let last = said.last().map(String::as_str).unwrap_or_default();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(last.starts_with("250 films in ") && last.ends_with(", equal to what the site made"), "{last}");
    engine.check_films();
}

/// Stops the others, as `--exit-code-from saver` does when that has ended; none may have ended before. Returns what they said.
fn stop(others: Vec<Container>) -> Vec<String> {
    let mut words = Vec::new();
    for mut other in others {
        let ended = other.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended before it was told to: {ended:?}", other.service);
        kill::send(other.child.id(), Signal::TERM).unwrap();
        let service = other.service.clone();
        let (code, said) = other.end();
        assert_eq!(code, Some(0), "{service} did not end well: {said:?}");
        words.extend(said);
    }
    words
}

#[test]
fn the_saver_ends_first_and_with_all_films() {
    let redis = Redis::start().unwrap();
    let (engine, site) = Engine::start(redis.url());
    let mut others = vec![site];
    others.extend((0..4).map(|_| engine.up("fetcher")));
    others.extend(["parser", "producer"].map(|service| engine.up(service)));
    assert_all_saved(&engine, engine.up("saver"));
    // Nothing is to be fetched any more, but who stays goes on asking.
    while !["fetcher", "parser"].iter().all(|service| engine.is_healthy(service)) {}
    let said = stop(others);
    for (what, times) in [("fetched page-", 10), ("parsed page-", 10), ("sent page-", 10)] {
        assert_eq!(said.iter().filter(|line| line.starts_with(what)).count(), times, "{what}: {said:?}");
    }
}

/// Which fetcher holds a page. Each claims some as soon as the producer has sent them, and keeps them while the site is silent.
fn holder(engine: &Engine) -> u32 {
    loop {
        let leased = engine.ask(&["tasks", "list", "--queue", "fetch", "--state", "leased"]);
        if let Some(pid) = leased.iter().find_map(|task| task["holder_pid"].as_u64()) {
            return pid.try_into().unwrap();
        }
    }
}

#[test]
fn a_fetcher_that_is_killed_and_started_again_loses_nothing() {
    let redis = Redis::start().unwrap();
    let (engine, site) = Engine::start(redis.url());
    kill::stop(site.child.id()).unwrap();
    let mut fetchers: Vec<_> = (0..4).map(|_| engine.up("fetcher")).collect();
    let (parser, saver) = (engine.up("parser"), engine.up("saver"));
    let mut producer = engine.up("producer");
    producer.until("all is sent");
    let pid = holder(&engine);
    let victim = fetchers.iter().position(|fetcher| fetcher.child.id() == pid).unwrap();
    kill::kill(pid).unwrap();
    fetchers.remove(victim);
    fetchers.push(engine.up("fetcher"));
    kill::resume(site.child.id()).unwrap();
    let mut others = vec![site, parser, producer];
    others.append(&mut fetchers);
    assert_all_saved(&engine, saver);
    let said = stop(others);
    assert!(said.iter().any(|line| line.ends_with("is taken over from a process that died")), "{said:?}");
}
