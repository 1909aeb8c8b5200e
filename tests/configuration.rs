//! The configuration file, as the programs use it.

#![cfg(all(feature = "cli", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod programs;

use manyhands::Order;

use self::programs::{Place, repository, told};

const FILE: &str = r#"
broker = "local:here"

[worker]
concurrency = 3

[queues.images]
order = "priority"
capacity = 2

[tasks.resize]
queue = "images"
command = ["curl", "https://user:secret@example.org/"]
max_attempts = 2
"#;

#[test]
fn the_command_says_where_each_value_came_from() {
    let place = Place::with(FILE);
    let mut command = place.program("manyhands");
    command.arg("config").env_remove("MANYHANDS_BROKER").env("MANYHANDS__QUEUES__IMAGES__CAPACITY", "5");
    let (code, out, err) = told(command.output().unwrap());
    let shown = r#"file: manyhands.toml
key                        value                              from
broker                     "local:here"                       manyhands.toml
queues.images.capacity     "5"                                MANYHANDS__QUEUES__IMAGES__CAPACITY
queues.images.order        "priority"                         manyhands.toml
tasks.resize.command       ["curl","https://…@example.org/"]  manyhands.toml
tasks.resize.max_attempts  2                                  manyhands.toml
tasks.resize.queue         "images"                           manyhands.toml
worker.concurrency         3                                  manyhands.toml
worker.grace               "30s"                              default
worker.lease               "30s"                              default
worker.strict              false                              default
"#;
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), shown, ""));
    let (_, out, _) = place.run("manyhands", &["config", "--broker", "redis://u:secret@host:1", "--json"]);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some(r#"{"file":"manyhands.toml"}"#));
    assert_eq!(lines.next(), Some(r#"{"key":"broker","source":"--broker","value":"redis://…@host:1"}"#));
    // The variable beats the file, and the flag beats both.
    let (_, out, _) = place.run("manyhands", &["config"]);
    let line = out.lines().nth(2).unwrap();
    assert!(line.starts_with("broker ") && line.ends_with("MANYHANDS_BROKER"), "{line}");
}

/// As on each other command: no line is wider than the terminal where it can be helped, and a reader may have enough.
#[test]
fn the_command_keeps_to_the_terminal_and_the_pipe() {
    let place = Place::with(FILE);
    let narrow = told(place.program("manyhands").arg("config").env("COLUMNS", "40").output().unwrap());
    assert!(
        narrow.1.contains("key    queues.images.order\nvalue  \"priority\"\nfrom   manyhands.toml\n"),
        "{}",
        narrow.1
    );
    assert!(narrow.1.lines().all(|line| line.chars().count() <= 40), "{}", narrow.1);
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let output = place.program("manyhands").arg("config").stdout(write).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.program("manyhands").arg("config").stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.starts_with("error: the answer cannot be printed"),
        "{said}"
    );
}

#[test]
fn the_first_file_that_is_there_counts() {
    let place = Place::new();
    let config = |folder: &std::path::Path, args: &[&str]| {
        let mut command = place.program("manyhands");
        command.arg("config").args(args).env("XDG_CONFIG_HOME", folder);
        let (code, out, err) = told(command.output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out.lines().next().unwrap().to_owned()
    };
    let user = place.path("config");
    assert_eq!(config(&user, &[]), "file: none");
    std::fs::create_dir_all(user.join("manyhands")).unwrap();
    place.write("config/manyhands/manyhands.toml", "");
    assert_eq!(config(&user, &[]), format!("file: {}", user.join("manyhands/manyhands.toml").display()));
    place.write("manyhands.toml", "");
    assert_eq!(config(&user, &[]), "file: manyhands.toml");
    place.write("other.toml", "");
    assert_eq!(config(&user, &["--config", "other.toml"]), "file: other.toml");
    let (code, _, err) = place.run("producer", &["send", "a", "--config", "missing.toml"]);
    assert_eq!((code, err.as_str()), (Some(2), "error: there is no configuration file missing.toml\n"));
    let (code, _, err) = place.run("producer", &["send", "a", "--config", "."]);
    assert_eq!((code, err.as_str()), (Some(2), "error: the configuration file . is no regular file\n"));
    // What a script makes of a variable that nobody has set.
    let (code, _, err) = place.run("producer", &["send", "a", "--broker", ""]);
    assert!(
        code == Some(2) && err.starts_with("error: --broker: the broker URL \"\" cannot be used: "),
        "{err}"
    );
    assert!(!err.contains("  broker  ") && err.contains("  try     local:/path"), "{err}");
}

/// The queue is configured before its first task, which goes where the file says.
#[test]
fn a_producer_sends_where_the_file_says() {
    let place = Place::with(FILE);
    for priority in ["2", "-1"] {
        let (code, _, err) = place.run("producer", &["send", "resize", "1", "--priority", priority]);
        assert_eq!(code, Some(0), "{err}");
    }
    let status = place.status("images");
    assert_eq!((status.options.order, status.options.capacity, status.ready), (Order::Priority, 2, 2));
    let (code, out, err) = place.run("producer", &["send", "images", "{}", "--queue", "images"]);
    let url = place.url();
    let form = format!(
        "error: queue \"images\" is full (2 of 2 tasks)\n  broker  {url}\n  \
         try     --wait-for-room 30s, or: manyhands queues set images --capacity 4\n"
    );
    assert_eq!((code, out.as_str(), err), (Some(4), "", form));
    // Another configuration is refused, with both values.
    place.write("manyhands.toml", "[queues.images]\ncapacity = 3\n");
    let (code, _, err) = place.run("producer", &["send", "a", "--queue", "images"]);
    assert!(code == Some(4) && err.contains("capacity 2") && err.contains("capacity 3"), "{err}");
}

/// All keys are in the documentation, and its example is one that is understood.
#[test]
fn the_documentation_of_the_file_is_true() {
    let page = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::with(example);
    let (code, out, err) = place.run("manyhands", &["config"]);
    assert_eq!(code, Some(0), "{err}");
    for key in ["broker", "worker.grace", "queues.images.capacity", "tasks.resize.run_limit"] {
        assert!(out.contains(key), "{out}");
    }
    // What the program says that there is must be on the page.
    for (section, table) in [("worker", "[worker]"), ("queues.a", "[queues.a]"), ("tasks.a", "[tasks.a]")] {
        place.write("manyhands.toml", format!("{table}\nzzzzzzzzzzzzzzzz = 1\n"));
        let (_, _, err) = place.run("manyhands", &["config"]);
        let keys = err.split("there are: ").nth(1).unwrap_or_else(|| panic!("{section}: {err}"));
        for key in keys.trim().split(", ") {
            assert!(page.contains(&format!("`{key}`")), "docs/configuration.md must name {section}.{key}");
        }
    }
}
