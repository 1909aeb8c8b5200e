//! `README.md`, done as it says: its handlers are taken from its text and run, and a line with an answer behind it gives that answer.
//! The one in Rust is `examples/count.rs`, which `tests/worker_program.rs` runs.

#![cfg(all(feature = "cli", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod programs;

use std::{path::Path, process::Command};

use self::programs::{Place, Worker, repository, told};

/// A piece of the README that is no prose.
#[derive(Debug)]
struct Block {
    chapter: String,
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let (mut chapter, mut found, mut open) = (String::new(), Vec::new(), None::<Block>);
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, Some(language)) => {
                open = Some(Block {
                    chapter: chapter.clone(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            // A comment of a shell begins as a heading does, but stands in a block.
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches(['#', ' ']).clone_into(&mut chapter);
            }
            (None, None) => {}
        }
    }
    found
}

/// The only block of a chapter in a language that has this in it.
fn block(chapter: &str, language: &str, part: &str) -> String {
    let all = blocks();
    let fits = |b: &&Block| b.chapter.starts_with(chapter) && b.language == language && b.text.contains(part);
    let found: Vec<_> = all.iter().filter(fits).collect();
    let [block] = found[..] else { panic!("{chapter}, {language}, {part:?}: {found:?}") };
    block.text.clone()
}

/// A line of the README in a shell, with our programs on its path.
fn shell(place: &Place, line: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_worker")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = place.program("producer");
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = Command::new("sh");
    command.args(["-c", line]).current_dir(place.path("")).envs(environment).env("PATH", path.unwrap());
    command
}

/// Starts the worker of these lines, runs the one that waits for a result, and compares that with what is shown behind it.
fn done_as_shown(place: &Place, lines: &str) {
    let start = lines.lines().find_map(|line| line.strip_suffix(" &")).unwrap();
    let worker = Worker::start(&mut shell(place, &format!("exec {start}")));
    let (line, shown) = lines.lines().find(|line| line.contains("--wait")).unwrap().split_once('#').unwrap();
    let (code, out, err) = told(shell(place, line).output().unwrap());
    assert_eq!((code, out.trim()), (Some(0), shown.trim()), "{line}: {err}");
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn the_handler_in_python_is_one() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("examples/python")).unwrap();
    let chapter = "In Python";
    place.write("examples/python/manyhands.toml", block(chapter, "toml", "[tasks."));
    place.write("examples/python/resize.py", block(chapter, "python", "import"));
    done_as_shown(&place, &block(chapter, "sh", "worker --config"));
}

#[test]
fn the_handler_in_shell_is_one() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("examples/shell")).unwrap();
    let chapter = "In shell";
    place.write("examples/shell/manyhands.toml", block(chapter, "toml", "[tasks."));
    place.script("examples/shell/words.sh", &block(chapter, "sh", "#!/bin/sh"));
    let lines = block(chapter, "sh", "worker --config");
    done_as_shown(&place, &lines);
    // And many of them, from a file.
    place.write("files.jsonl", "{\"path\": \"words.sh\"}\n{\"path\": \"words.sh\"}\n");
    let feed = lines.lines().find(|line| line.starts_with("producer feed")).unwrap();
    let (code, out, err) = told(shell(&place, feed).output().unwrap());
    assert!(code == Some(0) && out.starts_with("sent 2, already there 0, rejected 0, "), "{out}{err}");
    let (_, out, _) = told(shell(&place, feed).output().unwrap());
    assert!(out.starts_with("sent 0, already there 2, rejected 0, "), "{out}");
}

/// What a newcomer reads first comes first.
#[test]
fn the_chapters_are_in_their_order() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let chapters: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let wanted = [
        "Run it",
        "Your own handler",
        "More boxes",
        "Brokers",
        "What is promised, and what is not",
        "Figures",
    ];
    assert_eq!(chapters, wanted);
}

/// Every page that the README and the pages under `docs/` lead to is there, and so is the chapter of it.
#[test]
fn links_lead_somewhere() {
    let mut pages = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in std::fs::read_dir(repository("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        pages.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    for page in pages {
        let text = std::fs::read_to_string(repository(&page)).unwrap();
        let folder = repository(&page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            let (path, chapter) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { repository(&page) } else { folder.join(path) };
            assert!(path.exists(), "{page} leads to {link}, which is not there");
            if !chapter.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut chapters = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(chapters.any(|known| known == chapter), "{page} leads to {link}: no such chapter");
            }
        }
    }
}

/// How a heading is called in a link.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches(['#', ' ']).to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
