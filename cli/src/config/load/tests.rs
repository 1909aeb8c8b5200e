use super::*;

/// The configuration of a file with this text and of these variables.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Configuration> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    std::fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(Given::default(), &Surroundings { variables, places: vec![folder.path().join("nothing"), file] })
}

fn why(text: &str, variables: &[(&str, &str)]) -> String {
    let error = read(text, variables).unwrap_err();
    format!("{} / {}", error.report(), error.advice().unwrap_or_default())
}

const EXAMPLE: &str = r#"
broker = "redis://user:secret@host:6379"

[queues.images]
order = "priority"
capacity = 10000

[queues."films.v2"]
key_limit = 2
key_interval = "1s"

[tasks.resize]
queue = "images"
process = ["python3", "resize.py"]
processes = 4
run_limit = "30s"
memory_limit = "1GiB"
cpu_limit = "60s"
open_files_limit = 64
max_tasks_per_child = 1000
max_age_per_child = "1h"
max_memory_per_child = "300MiB"
max_crashes = 1

[tasks.parse]
process = true

[tasks.Count-words]
command = ["wc", "-w", "{path}"]
max_attempts = 2
"#;

#[test]
fn a_file_is_read() {
    let read = read(EXAMPLE, &[]).unwrap();
    let settings = read.settings();
    assert_eq!(settings.broker.as_deref(), Some("redis://user:secret@host:6379"));
    let images = &settings.queues[&"images".parse().unwrap()];
    assert_eq!((images.capacity, images.order), (10_000, manyhands_broker::Order::Priority));
    assert_eq!(settings.queues[&"films.v2".parse().unwrap()].key_limit, Some(2));
    let resize = &settings.tasks[&"resize".parse().unwrap()];
    let program = vec!["python3".to_owned(), "resize.py".to_owned()];
    assert_eq!(resize.program, Some(super::super::Program::Process(program)));
    assert_eq!((resize.processes, resize.run_limit), (Some(4), Some(std::time::Duration::from_secs(30))));
    assert_eq!((resize.max_tasks_per_child, resize.max_crashes), (Some(1000), Some(1)));
    let minutes = |n: u64| Some(std::time::Duration::from_secs(60 * n));
    assert_eq!((resize.max_age_per_child, resize.cpu_limit), (minutes(60), minutes(1)));
    assert_eq!((resize.memory_limit, resize.max_memory_per_child), (Some(1 << 30), Some(300 << 20)));
    assert_eq!(resize.open_files_limit, Some(64));
    assert_eq!(settings.tasks[&"parse".parse().unwrap()].program, Some(super::super::Program::Own));
    assert_eq!(settings.tasks[&"Count-words".parse().unwrap()].max_attempts, Some(2));
}

#[test]
fn the_later_source_wins_and_is_named() {
    let variables = [("MANYHANDS__QUEUES__IMAGES__CAPACITY", "5"), ("MANYHANDS__WORKER__STRICT", "true")];
    let merged = read(EXAMPLE, &variables).unwrap();
    let (settings, entry) = (merged.settings(), |key| keys::find(&merged.entries, key).unwrap());
    assert_eq!(settings.queues[&"images".parse().unwrap()].capacity, 5);
    assert!(settings.worker.strict);
    let capacity = entry(&["queues", "images", "capacity"]);
    assert_eq!(capacity.source.to_string(), "MANYHANDS__QUEUES__IMAGES__CAPACITY");
    assert_eq!(entry(&["worker", "grace"]).source, Source::Default);
    assert!(
        matches!(&entry(&["queues", "images", "order"]).source, Source::File(file) if file.ends_with(FILE))
    );
    for (variables, flag, url) in [
        (&[][..], None, "redis://user:secret@host:6379"),
        (&[("MANYHANDS__BROKER", "local:/a")], None, "local:/a"),
        (&[("MANYHANDS__BROKER", "local:/a"), (BROKER, "local:/b")], None, "local:/b"),
        (&[(BROKER, "")], None, "redis://user:secret@host:6379"),
        (&[(BROKER, "local:/b")], Some("local:/c"), "local:/c"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), EXAMPLE).unwrap();
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let given = Given { file: None, broker: flag.map(str::to_owned) };
        let around = Surroundings { variables, places: vec![folder.path().join(FILE)] };
        assert_eq!(load(given, &around).unwrap().settings().broker.as_deref(), Some(url));
    }
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let nothing = load(Given::default(), &Surroundings::default()).unwrap();
    assert_eq!((nothing.file(), nothing.settings().broker.as_deref()), (None, Some("local:")));
}

/// A file, variables, and what is said of them.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let cases: [Case; 21] = [
        (
            "[queues.images]\ncapcity = 1",
            &[],
            &["manyhands.toml: there is no key queues.images.capcity", "\"capacity\""],
        ),
        ("[task.x]\nqueue = \"a\"", &[], &["there is no key task", "did you mean \"tasks\""]),
        ("colour = 1", &[], &["there is no key colour", "there are: broker, queues, tasks, worker"]),
        (
            "",
            &[("MANYHANDS__WORKER__CONCURENCY", "3")],
            &["MANYHANDS__WORKER__CONCURENCY: there", "\"concurrency\""],
        ),
        ("broker = \"", &[], &["manyhands.toml cannot be read", "line 1"]),
        ("broker = 3", &[], &["manyhands.toml: broker: 3 is no text"]),
        ("broker = \"nonsense://u:secret@h\"", &[], &["broker", "no known scheme"]),
        ("queues = 3", &[], &["queues is to be a table"]),
        ("[tasks]\nresize = \"x\"", &[], &["tasks.resize is to be a table"]),
        ("[queues.\"a b\"]\ncapacity = 1", &[], &["queues.\"a b\".capacity", "may not contain ' '"]),
        ("[queues.a]\ncapacity = 0", &[], &["queues.a.capacity: 0 is no whole number from 1"]),
        ("[queues.a]\ncapacity = -1", &[], &["-1 is no whole number"]),
        ("[queues.a]\ncapacity = 1.5", &[], &["a fraction is no whole number"]),
        ("[queues.a]\norder = \"random\"", &[], &["\"random\" is no order"]),
        ("[queues.a]\nremember_ids = 3600", &[], &["3600 is no duration"]),
        ("[tasks.a]\ncommand = \"ls -l\"", &[], &["\"ls -l\" is no list", "there is no shell"]),
        ("[tasks.a]\ncommand = []", &[], &["names no program"]),
        ("[tasks.a]\ncommand = [\"a\", 3]", &[], &["tasks.a.command", "is no list"]),
        ("[tasks.a]\ncommand = [\"a\"]\nprocess = [\"a\"]", &[], &["tasks.a.process", "not both"]),
        ("[tasks.a]\nrun_limit = \"3s\"", &[], &["tasks.a.run_limit", "needs a command or a process"]),
        ("[tasks.a]\ncommand = [\"a\"]\nrun_limit = \"0s\"", &[], &["lets nothing run"]),
    ];
    for (text, variables, parts) in cases {
        let why = why(text, variables);
        for part in parts {
            assert!(why.contains(part), "{text:?}: {why}");
        }
        assert!(!why.contains("secret"), "{why}");
    }
    let missing = Given { file: Some("/nothing/here.toml".into()), broker: None };
    let error = load(missing, &Surroundings::default()).unwrap_err().report();
    assert_eq!(error, "there is no configuration file /nothing/here.toml");
}

#[test]
fn lists_in_the_environment_are_json() {
    let variables = [("MANYHANDS__TASKS__A__COMMAND", r#"["echo", "{x}"]"#)];
    let settings = read("", &variables).unwrap().settings().clone();
    let program = vec!["echo".to_owned(), "{x}".to_owned()];
    assert_eq!(settings.tasks[&"a".parse().unwrap()].program, Some(super::super::Program::Command(program)));
}

#[test]
fn passwords_are_not_shown() {
    let text = "broker = \"amqp://user:secret@host\"\n[tasks.a]\ncommand = [\"x\", \"https://u:secret@h/\"]";
    let read = read(text, &[]).unwrap();
    let shown = format!("{read:?} {:?}", read.entries().map(|e| e.value().to_string()).collect::<Vec<_>>());
    assert!(shown.contains("host") && !shown.contains("secret"), "{shown}");
}
