//! The example's processes, and what they write.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use manyhands_test_support::{example, kill::Watch};
use serde_json::Value;
use url::Url;

use super::{
    programs::{PATIENCE, Place, Worker, told},
    walk::{Page, Pages},
};

/// Not polite at all, unless a test says otherwise.
const DEFAULTS: [[&str; 2]; 2] = [["--interval", "0s"], ["--at-once", "6"]];

/// A crawl in a folder of its own.
pub(crate) struct Crawl {
    pub(crate) place: Place,
    broker: String,
}

impl Crawl {
    /// One on `local:`.
    pub(crate) fn new() -> Self {
        let place = Place::new();
        Self { broker: place.url(), place }
    }

    /// One on another broker.
    pub(crate) fn on(broker: String) -> Self {
        Self { place: Place::new(), broker }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(example("crawl"));
        command.current_dir(self.place.path(".")).env("MANYHANDS_BROKER", &self.broker).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs one of its commands to its end: its exit code, what it printed, and what it said.
    pub(crate) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(args).output().unwrap())
    }

    /// Begins, politely or not.
    pub(crate) fn start(&self, url: &Url, args: &[&str]) {
        let rest = DEFAULTS.iter().filter(|[name, _]| !args.contains(name)).flatten().copied();
        let args: Vec<_> =
            ["start", url.as_str()].into_iter().chain(args.iter().copied()).chain(rest).collect();
        let (code, _, err) = self.run(&args);
        assert_eq!((code, err), (Some(0), format!("the crawl of {url} has begun\n")));
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::start(&mut self.command(&["worker", "--lease", "1s"]))
    }

    pub(crate) fn saver(&self) -> Worker {
        Worker::start(&mut self.command(&["save"]))
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.place.path("pages.jsonl")
    }

    /// Waits until all is saved, as long as there is something to save now and then.
    pub(crate) fn end(&self, workers: impl IntoIterator<Item = Worker>, saver: Worker) {
        let (watch, mut before) = (Watch::open(saver.pid()).unwrap(), self.written());
        while !watch.ended(PATIENCE).unwrap() {
            let now = self.written();
            // Nothing, when it got its name just now.
            assert!(now != before, "nothing more is written");
            before = now;
        }
        let (code, said) = saver.end();
        assert_eq!(code, Some(0), "{said}");
        for worker in workers {
            let (code, said) = worker.end();
            assert_eq!(code, Some(0), "{said}");
        }
    }

    /// How much is written, until the file has its name.
    pub(crate) fn written(&self) -> u64 {
        std::fs::metadata(self.place.path("pages.jsonl.part")).map_or(0, |file| file.len())
    }

    /// Crawls with two workers, and returns what is in the file.
    pub(crate) fn whole(&self, url: &Url, args: &[&str]) -> Vec<Value> {
        self.start(url, args);
        let workers = [self.worker(), self.worker()];
        self.end(workers, self.saver());
        self.lines()
    }

    /// What is in the file: whole lines, and nothing lies beside it.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(!self.place.path("pages.jsonl.part").exists());
        let text = std::fs::read_to_string(self.out()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The line of a page.
pub(crate) fn line<'a>(lines: &'a [Value], url: &Url) -> &'a Value {
    lines.iter().find(|line| line["url"] == url.as_str()).unwrap_or_else(|| panic!("{url} is missing"))
}

/// The same pages, each once, with the same titles and links.
pub(crate) fn compare(lines: &[Value], walked: &Pages, with_depth: bool) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let page = |line: &Value| Page {
        status: u16::try_from(line["status"].as_u64().unwrap()).unwrap(),
        depth: line["depth"].as_u64().unwrap(),
        title: text(&line["title"]),
        links: line["links"].as_array().unwrap().iter().filter_map(text).collect(),
    };
    let found: Pages = lines.iter().map(|line| (text(&line["url"]).unwrap(), page(line))).collect();
    assert_eq!(found.len(), lines.len(), "no page is in the file twice");
    let missing: Vec<_> = walked.keys().filter(|url| !found.contains_key(*url)).collect();
    let more: Vec<_> = found.keys().filter(|url| !walked.contains_key(*url)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, more {more:?}");
    for (url, page) in walked {
        let depth = if with_depth { page.depth } else { found[url].depth };
        assert_eq!(found[url], Page { depth, ..page.clone() }, "{url}");
    }
}
