//! The HTML that the Rust toolchain installs, crawled: what is found equals what another walk finds, whoever is killed meanwhile.

use manyhands_test_support::kill;
use url::Url;

use super::{
    crawler::{Crawl, compare},
    programs::{PATIENCE, Worker},
    site::{Site, docs},
    walk::{Pages, walk},
};

/// What of the documentation is open to crawlers: enough for hundreds of pages, little enough for seconds.
const OPEN: [&str; 12] = [
    "/book/",
    "/cargo/",
    "/edition-guide/",
    "/nomicon/",
    "/reference/",
    "/rust-by-example/",
    "/std/env/",
    "/std/fs/",
    "/std/net/",
    "/std/path/",
    "/std/process/",
    "/std/time/",
];

/// What is not, though it is within: whole books on one page.
const CLOSED: [&str; 6] = [
    "/book/print.html",
    "/cargo/print.html",
    "/edition-guide/print.html",
    "/nomicon/print.html",
    "/reference/print.html",
    "/rust-by-example/print.html",
];

/// The kills.
const KILLS: usize = 10;

fn is_open(path: &str) -> bool {
    OPEN.iter().any(|open| path.starts_with(open)) && !CLOSED.contains(&path)
}

fn site() -> (Site, Url) {
    let list = |word: &str, paths: &[&str]| -> String {
        paths.iter().map(|path| format!("{word}: {path}\n")).collect()
    };
    let robots = format!(
        "User-agent: *\nDisallow: /\nAllow: /index.html\n{}{}",
        list("Allow", &OPEN),
        list("Disallow", &CLOSED)
    );
    let site = Site::of(docs(), robots);
    let start = site.url("/index.html");
    (site, start)
}

/// What there is, as another walk finds it.
fn walked(start: &Url) -> Pages {
    let pages = walk(start, u64::MAX, is_open);
    assert!(pages.len() > 500, "only {} pages", pages.len());
    pages
}

#[test]
fn all_pages_are_found_that_another_walk_finds() {
    let (site, start) = site();
    let walked = walked(&start);
    let asked = site.pages().len();
    let crawl = Crawl::new();
    compare(&crawl.whole(&start, &[]), &walked, false);
    let mut pages = site.pages().split_off(asked);
    pages.sort();
    let all = pages.len();
    pages.dedup();
    assert_eq!((pages.len(), all), (walked.len(), walked.len()), "each was asked for once");
    assert_eq!(site.robots(), 1);
    crawl.place.fsck();
}

/// Each worker is killed while it waits for a page, so while it has a task; and the saver, while it has written some.
#[test]
fn after_ten_kills_they_are_the_same() {
    let (site, start) = site();
    let walked = walked(&start);
    let before = site.pages().len();
    let crawl = Crawl::new();
    crawl.start(&start, &[]);
    let mut workers = vec![crawl.worker(), crawl.worker()];
    let mut saver = crawl.saver();
    for number in 1..=KILLS {
        let held = site.catch(before + walked.len() * number / (KILLS + 2));
        let holder = held.holder(workers.iter().map(Worker::pid));
        kill::kill(holder).unwrap();
        workers.retain(|worker| worker.pid() != holder);
        workers.push(crawl.worker());
        if number % 5 == 0 {
            until_more_is_written(&crawl);
            kill::kill(saver.pid()).unwrap();
            saver = crawl.saver();
        }
    }
    crawl.end(workers, saver);
    compare(&crawl.lines(), &walked, false);
    assert!(
        site.pages().len() - before >= walked.len() + KILLS,
        "what the killed ones waited for is fetched again"
    );
    crawl.place.fsck();
}

/// Waits until the file grows, while the saver is at work.
fn until_more_is_written(crawl: &Crawl) {
    let len = || std::fs::metadata(crawl.place.path("pages.jsonl.part")).map_or(0, |file| file.len());
    let (before, patience) = (len(), std::time::Instant::now() + PATIENCE);
    while len() == before {
        assert!(std::time::Instant::now() < patience, "nothing more is written");
        std::thread::yield_now();
    }
}

/// All of the standard library: thousands of pages, some with thousands of links.
#[test]
fn long_all_of_std_is_found_that_another_walk_finds() {
    if std::env::var_os("MANYHANDS_TEST_LONG").is_none() {
        return;
    }
    let site = Site::of(docs(), "User-agent: *\nDisallow: /\nAllow: /std/\n".to_owned());
    let start = site.url("/std/index.html");
    let walked = walk(&start, u64::MAX, |path| path.starts_with("/std/"));
    assert!(walked.len() > 2000, "only {} pages", walked.len());
    compare(&Crawl::new().whole(&start, &["--pages", "10000"]), &walked, false);
}
