//! What cannot be crawled is said before anything is enqueued.

use std::net::TcpListener;

use manyhands_test_support::servers::RabbitMq;

use super::{
    crawler::Crawl,
    site::{Reply, Site},
};

/// Starts, which is refused, and says why; nothing was enqueued.
fn refused(url: &str, args: &[&str]) -> (Option<i32>, String) {
    let crawl = Crawl::new();
    let (code, out, err) = crawl.run(&[&["start", url], args].concat());
    assert_eq!(out, "");
    let queues = crawl.place.look(|broker| async move { broker.queues(None, 256).await.unwrap() });
    assert_eq!(queues, [], "{err}");
    let (worker, _, said) = crawl.run(&["worker"]);
    assert_eq!((worker, &*said), (Some(1), "error: there is no crawl: begin one with `crawl start URL`\n"));
    (code, err)
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["nonsense", "ftp://example.org/", "http://", "mailto:a@b"] {
        let (code, err) = refused(url, &[]);
        assert!(code == Some(2) && err.contains(&format!("{url:?} is no URL")), "{err}");
    }
    for args in [["--pages", "0"], ["--depth", "101"], ["--interval", "5"], ["--at-once", "0"]] {
        assert_eq!(refused("http://127.0.0.1/", &args).0, Some(2), "{args:?}");
    }
}

#[test]
fn a_host_that_does_not_answer_is_refused() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let (code, err) = refused(&url, &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with(&format!("error: the crawl is not begun: no answer from {url}robots.txt: ")),
        "{err}"
    );
}

#[test]
fn a_host_that_allows_nothing_is_refused() {
    let site = Site::new(|_, _| Reply::new(200, "User-agent: Manyhands-Crawl\nDisallow: /a\n"));
    let url = site.url("/a/b");
    let (code, err) = refused(url.as_str(), &[]);
    assert_eq!((code, err), (Some(1), format!("error: robots.txt of the host does not allow {url}\n")));
    for (status, why) in [(429, "429 Too Many Requests"), (503, "503 Service Unavailable")] {
        let site = Site::new(move |_, _| Reply::new(status, ""));
        let (code, err) = refused(site.url("/").as_str(), &[]);
        let why = format!("robots.txt answered {why}: so nothing may be fetched now\n");
        assert!(code == Some(1) && err.ends_with(&why), "{err}");
        assert!(site.pages().is_empty());
    }
}

/// A crawl is one: with the same wishes it is found, with others it is left alone.
#[test]
fn a_second_crawl_in_the_same_place_is_refused() {
    let site = Site::new(|_, _| Reply::new(404, ""));
    let (crawl, url) = (Crawl::new(), site.url("/"));
    crawl.start(&url, &[]);
    let start = |args: &[&str]| crawl.run(&[&["start", "--at-once", "6"], args].concat());
    let (code, _, err) = start(&[url.as_str(), "--interval", "0s"]);
    assert_eq!((code, err), (Some(0), format!("the crawl of {url} was begun before\n")));
    let other = site.url("/other");
    for args in [
        [url.as_str(), "--interval", "0s", "--pages", "7"],
        [url.as_str(), "--interval", "0s", "--depth", "1"],
        [url.as_str(), "--interval", "1s", "--pages", "1000"],
        [other.as_str(), "--interval", "0s", "--pages", "1000"],
    ] {
        let (code, _, err) = start(&args);
        assert!(code == Some(1) && err.contains("there is another crawl already"), "{err}");
    }
    let status = crawl.place.status("control");
    assert_eq!((status.ready, status.closed), (1, false));
    assert_eq!(site.robots(), 1);
}

#[test]
fn a_broker_that_cannot_is_refused() {
    let site = Site::new(|_, _| Reply::new(404, ""));
    let rabbitmq = format!("{}?namespace=crawl-{}", RabbitMq::shared_url().unwrap(), std::process::id());
    let cases = [
        ("memory:", "memory: is for one process"),
        (&rabbitmq, "rabbitmq has no unique keys, no limits by key"),
    ];
    for (broker, why) in cases {
        let crawl = Crawl::on(broker.to_owned());
        for command in [&["start", site.url("/").as_str()][..], &["worker"], &["save"]] {
            let (code, _, err) = crawl.run(command);
            assert!(code == Some(1) && err.contains(why), "{command:?}: {err}");
        }
    }
    assert_eq!((site.robots(), site.pages().len()), (0, 0));
}
