//! All that a site can answer, on one that is made for it.

use manyhands_test_support::{kill, servers::Redis};
use serde_json::{Value, json};

use super::{
    crawler::{Crawl, line},
    programs::{Worker, repository},
    site::{Reply, Site},
};

/// Where the crawler is described.
const PAGE: &str = "docs/examples.md";

/// A page of 300 links to pages without any.
fn wide(path: &str) -> Reply {
    let links: String = (0..300).map(|number| format!("<a href=/{number}>x</a>")).collect();
    Reply::html(if path == "/" { links } else { String::new() })
}

/// One page of everything, and what it leads to.
fn odd(path: &str, times: usize) -> Reply {
    match path {
        "/" => Reply::html(
            "<!doctype html><title> A\n &amp; B </title><a name=x>no link</a>\
             <a href=missing>1</a><a href='#top'>2</a><a href='/moved#part'>3</a><a href=/loop-1>4</a>\
             <a href=/failing>5</a><a href=/broken>6</a><a href=/text>7</a><a href=/away>8</a>\
             <a href='http://other.example/'>9</a><a href='mailto:a@b'>10</a><a href='http://[bad'>11</a>\
             <a href=/missing>12</a><map><area href=/area></map><a href=/private/x>13</a><a href=/private/open>14</a>\
             <a href=/based/>15</a><a href=/large>16</a><a href=/packed>17</a>",
        ),
        "/robots.txt" => Reply::new(
            200,
            "User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /private/\nAllow: /private/open\n",
        ),
        "/moved" => Reply::redirect("/area"),
        "/loop-1" => Reply::redirect("/loop-2"),
        "/loop-2" => Reply::redirect("loop-1#x"),
        "/away" => Reply::redirect("http://other.example/"),
        // Mends itself.
        "/failing" if times == 1 => Reply::new(503, "").with("retry-after", "0"),
        "/failing" => Reply::html("<title>again</title>"),
        "/broken" => Reply::new(500, ""),
        "/text" => Reply::new(200, "<a href=/never>x</a>").with("content-type", "text/plain"),
        "/area" | "/private/open" => Reply::html("<a href=/missing>known</a>"),
        "/based/" => Reply::html("<base href='/deep/er/'><a href='../end'>x</a>"),
        "/deep/end" => Reply::html("caf\u{e9} without a title"),
        "/large" => Reply::html(vec![b' '; 9 * 1024 * 1024]),
        "/packed" => Reply::html("").with("content-encoding", "gzip"),
        _ => Reply::new(404, "<a href=/never>x</a>").with("content-type", "text/html"),
    }
}

#[test]
fn whatever_is_answered_is_written_down() {
    let site = Site::new(odd);
    let crawl = Crawl::new();
    let lines = crawl.whole(&site.url("/"), &["--attempts", "2"]);
    let known = |path: &str, what: &[&str]| {
        let line = line(&lines, &site.url(path));
        what.iter().map(|name| line[*name].clone()).collect::<Vec<_>>()
    };
    let url = |path: &str| Value::from(site.url(path).as_str());
    let links = [
        "/missing",
        "/",
        "/moved",
        "/loop-1",
        "/failing",
        "/broken",
        "/text",
        "/away",
        "http://other.example/",
        "/area",
        "/private/x",
        "/private/open",
        "/based/",
        "/large",
        "/packed",
    ];
    let links: Vec<_> = links.map(|to| if to.starts_with('/') { url(to) } else { Value::from(to) }).into();
    assert_eq!(
        known("/", &["status", "title", "links", "depth", "content_type"]),
        [json!(200), json!("A & B"), json!(links), json!(0), json!("text/html; charset=utf-8")]
    );
    assert_eq!(known("/missing", &["status", "title", "links"]), [json!(404), Value::Null, json!([])]);
    assert_eq!(known("/moved", &["status", "redirect"]), [json!(301), url("/area")]);
    assert_eq!(known("/loop-1", &["redirect", "depth"]), [url("/loop-2"), json!(1)]);
    assert_eq!(known("/loop-2", &["redirect", "depth"]), [url("/loop-1"), json!(2)]);
    assert_eq!(known("/away", &["redirect"]), [json!("http://other.example/")]);
    assert_eq!(known("/failing", &["status", "title"]), [json!(200), json!("again")]);
    assert_eq!(known("/broken", &["status"]), [json!(500)]);
    assert_eq!(
        known("/text", &["status", "content_type", "links"]),
        [json!(200), json!("text/plain"), json!([])]
    );
    assert_eq!(known("/based/", &["links"]), [json!([url("/deep/end")])]);
    assert_eq!(known("/deep/end", &["status", "title"]), [json!(200), Value::Null]);
    assert_eq!(known("/large", &["status", "error"]), [json!(200), json!("it has more than 8 MiB")]);
    assert_eq!(known("/packed", &["error"]), [json!("it is encoded as gzip, which was not asked for")]);
    known("/private/open", &[]);
    assert_eq!(lines.len(), 15, "{lines:#?}");
    let asked = |path: &str| site.pages().iter().filter(|page| *page == path).count();
    assert_eq!((asked("/private/x"), asked("/never"), asked("/broken"), asked("/missing")), (0, 0, 2, 1));
    assert_eq!(site.agents(), [concat!("manyhands-crawl/", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(site.robots(), 1);
    crawl.place.fsck();
}

/// They are handed on by tasks that hand on some each.
#[test]
fn more_links_than_a_settlement_carries_are_all_followed() {
    let site = Site::new(|path, _| wide(path));
    assert_eq!(Crawl::new().whole(&site.url("/"), &[]).len(), 301);
}

/// Nobody listens there any more: tried as often as was asked for, then written down.
#[test]
fn a_server_that_goes_away_is_written_down() {
    let site = Site::new(|path, _| wide(path));
    let (crawl, start) = (Crawl::new(), site.url("/"));
    crawl.start(&start, &["--attempts", "1"]);
    drop(site);
    let workers = [crawl.worker()];
    crawl.end(workers, crawl.saver());
    let lines = crawl.lines();
    let (line, error) = (line(&lines, &start), lines[0]["error"].as_str().unwrap());
    assert_eq!((lines.len(), &line["status"]), (1, &Value::Null));
    assert!(error.starts_with(&format!("no answer from {start}: ")), "{error}");
}

/// The same over Redis, where a death is noticed when the leases run out.
#[test]
fn a_crawl_over_redis_survives_a_kill() {
    let server = Redis::start().unwrap();
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::on(server.url());
    crawl.start(&site.url("/"), &["--depth", "1", "--pages", "200"]);
    let mut workers = vec![crawl.worker(), crawl.worker()];
    let saver = crawl.saver();
    let held = site.catch(100);
    let holder = held.holder(workers.iter().map(Worker::pid));
    kill::kill(holder).unwrap();
    workers.retain(|worker| worker.pid() != holder);
    workers.push(crawl.worker());
    drop(held);
    crawl.end(workers, saver);
    let mut urls: Vec<_> = crawl.lines().iter().map(|line| line["url"].to_string()).collect();
    urls.sort();
    urls.dedup();
    assert_eq!((urls.len(), crawl.lines().len()), (200, 200));
    let mut fsck = crawl.place.program("manyhands");
    assert!(fsck.args(["fsck", "--broker", &server.url()]).status().unwrap().success());
}

/// All of it by one command, whose processes are replaced when they are killed.
#[test]
fn one_command_does_all() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    let url = site.url("/");
    let command = ["run", url.as_str(), "--interval", "0s", "--at-once", "6"];
    let mut running = Worker::start(&mut crawl.command(&command));
    let held = site.catch(50);
    kill::kill(held.holder(kill::descendants(running.pid()))).unwrap();
    drop(held);
    running.says("another one takes its place");
    let (code, said) = running.end();
    assert_eq!((code, crawl.lines().len()), (Some(0), 301), "{said}");
    // Nothing is fetched again.
    let (asked, told) = (site.pages().len(), format!("301 pages of {url} in pages.jsonl\n"));
    for command in [&command[..], &["save"]] {
        let (code, out, err) = crawl.run(command);
        assert_eq!((code, &out), (Some(0), &told), "{err}");
    }
    assert_eq!(site.pages().len(), asked);
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    crawl.place.write("pages.jsonl", "mine\n");
    let url = site.url("/");
    let why = |command: &[&str]| {
        let (code, _, err) = crawl.run(command);
        assert!(
            code == Some(1) && err.contains("pages.jsonl is there already: choose another --out"),
            "{err}"
        );
    };
    why(&["run", url.as_str()]);
    assert_eq!(site.robots(), 0, "nothing was begun");
    crawl.start(&url, &[]);
    why(&["save"]);
    assert_eq!(crawl.place.told("pages.jsonl"), "mine\n");
}

/// Whoever stops it and starts it again goes on, with processes of its own.
#[test]
fn one_command_goes_on_where_it_was_stopped() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    let url = site.url("/");
    let command = ["run", url.as_str(), "--interval", "0s", "--at-once", "6"];
    let running = Worker::start(&mut crawl.command(&command));
    let held = site.catch(150);
    let family = running.family();
    let (code, said) = running.stop();
    assert!(code == Some(130) && said.contains("the same command goes on"), "{said}");
    super::programs::all_end(family);
    drop(held);
    let asked = site.pages().len();
    let (code, out, err) = crawl.run(&command);
    assert_eq!((code, out), (Some(0), format!("301 pages of {url} in pages.jsonl\n")), "{err}");
    assert!(site.pages().len() - asked < 301, "what was fetched is not fetched again");
    assert_eq!(crawl.lines().len(), 301);
}

/// A task is run at least once: a saver that died between a line and its settlement leaves the line, and one that died within a line
/// half of one.
#[test]
fn a_line_is_written_once() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    let whole = crawl.whole(&site.url("/"), &["--depth", "0"]);
    let crawl = Crawl::new();
    crawl.start(&site.url("/"), &["--depth", "1"]);
    let (code, said) = crawl.worker().end();
    assert_eq!(code, Some(0), "{said}");
    crawl.place.write("pages.jsonl.part", format!("{}\n{{\"url\":\"http://", whole[0]));
    let (code, out, err) = crawl.run(&["save"]);
    assert_eq!((code, out), (Some(0), format!("301 pages of {} in pages.jsonl\n", site.url("/"))), "{err}");
    assert_eq!(crawl.lines()[0], whole[0]);
    assert_eq!(crawl.lines().len(), 301);
}

#[test]
fn a_file_has_one_saver_at_a_time() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    crawl.start(&site.url("/"), &["--depth", "0"]);
    let mut saver = crawl.saver();
    saver.says("waiting for pages");
    let (code, _, err) = crawl.run(&["save"]);
    assert!(code == Some(1) && err.contains("pages.jsonl.part: another saver writes it"), "{err}");
    crawl.end([crawl.worker()], saver);
    assert_eq!(crawl.lines().len(), 1);
}

/// What was given up is not passed over.
#[test]
fn a_page_that_cannot_be_saved_is_told() {
    let site = Site::new(|path, _| wide(path));
    let crawl = Crawl::new();
    crawl.start(&site.url("/"), &["--depth", "0"]);
    let (code, _, err) = crawl.place.run("producer", &["send", "save", "{}", "--queue", "save"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, said) = crawl.worker().end();
    assert_eq!(code, Some(0), "{said}");
    let (code, out, err) = crawl.run(&["save"]);
    assert_eq!((code, out), (Some(1), format!("1 pages of {} in pages.jsonl\n", site.url("/"))));
    assert!(
        err.contains("1 tasks of save were given up: `manyhands dead list --queue save` says why"),
        "{err}"
    );
}

/// A line of the file is what the documentation shows.
#[test]
fn the_line_of_the_documentation_is_one() {
    let site = Site::new(|path, _| match path {
        "/" => Reply::html(
            "<title>Example Domain</title><a href=https://iana.org/domains/example>Learn more</a>",
        ),
        _ => Reply::new(404, ""),
    });
    let crawl = Crawl::new();
    assert_eq!(crawl.whole(&site.url("/"), &[]).len(), 1);
    let line = std::fs::read_to_string(crawl.out()).unwrap();
    let line = line.replace(site.url("/").as_str(), "https://example.org/");
    assert!(std::fs::read_to_string(repository(PAGE)).unwrap().contains(&line), "{line}");
}

/// What the documentation shows does what it says.
#[test]
fn the_commands_of_the_documentation_work() {
    let site = Site::new(|path, _| wide(path));
    let url = site.url("/");
    let page = std::fs::read_to_string(repository(PAGE)).unwrap();
    let shown = page.lines().filter_map(|line| line.split_once("--example crawl -- ").map(|(_, rest)| rest));
    let commands: Vec<_> = shown
        .map(|rest| rest.split('#').next().unwrap().replace("https://example.org/", url.as_str()))
        .collect();
    let [all, parts @ ..] = &*commands else { panic!("{PAGE} shows no commands") };
    assert_eq!(parts.len(), 3, "{parts:?}");
    let run = |crawl: &Crawl, command: &str| {
        let (code, out, err) = crawl.run(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(code, Some(0), "{command}: {err}");
        out
    };
    // With the interval of the page it takes longer than a test should.
    let quick = |command: &str| format!("{command} --interval 0s --at-once 6");
    assert_eq!(run(&Crawl::new(), &quick(all)), format!("200 pages of {url} in pages.jsonl\n"));
    let crawl = Crawl::new();
    assert_eq!((run(&crawl, &quick(&parts[0])), run(&crawl, &parts[1])), (String::new(), String::new()));
    assert_eq!(run(&crawl, &parts[2]), format!("301 pages of {url} in example.jsonl\n"));
}
