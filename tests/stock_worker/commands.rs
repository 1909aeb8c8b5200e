//! Programs that are started for each task.

use manyhands_test_support::kill::Watch;

use super::programs::{self, PATIENCE, Place, all_end};

/// The programs of a command, by their names.
fn commands() -> Place {
    let place = Place::with(
        "[tasks.flood]\ncommand = [\"sh\", \"-c\", \"head -c 40000000 /dev/zero | tr '\\\\0' x; head -c 5000000 /dev/zero | tr '\\\\0' y >&2\"]\n\
         [tasks.bytes]\ncommand = [\"printf\", '\\377']\n\
         [tasks.early]\ncommand = [\"true\"]\n\
         [tasks.three]\ncommand = [\"sh\", \"-c\", \"echo what a pity >&2; exit 3\"]\n\
         [tasks.segv]\ncommand = [\"sh\", \"-c\", \"kill -SEGV $$\"]\n\
         [tasks.stdin]\ncommand = [\"cat\"]\n\
         [tasks.args]\ncommand = [\"printf\", \"%s|\", \"{a}\", \"x{b}\", \"{{c}\", \"$HOME;`id`\"]\n\
         [tasks.env]\ncommand = [\"sh\", \"-c\", \"echo $MANYHANDS_TASK_ID $MANYHANDS_TASK $MANYHANDS_QUEUE $MANYHANDS_ATTEMPT\"]\n\
         [tasks.gone]\ncommand = [\"./gone\"]\n\
         [tasks.forks]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $! >forked; echo done\"]\n",
    );
    place.script("gone", "#!/no/such/interpreter\n");
    place
}

#[test]
fn commands_are_judged_by_their_end() {
    let place = commands();
    let worker = place.worker(&[]);
    let cases = [
        ("flood", "1", "its result of 40000000 bytes cannot be kept"),
        ("bytes", "1", "neither JSON nor text in UTF-8"),
        ("three", "1", "is dead: exit code 3: what a pity"),
        (
            "segv",
            "1",
            "crash 1 of 1: the handler's process crashed: killed by signal 11 (SIGSEGV), peak memory ",
        ),
        ("gone", "1", "exit code 127: cannot run ./gone: No such file or directory"),
        ("args", "{}", "the field \"a\" of the payload is missing"),
        ("args", r#"{"a": "-x", "b": ""}"#, "begins with a dash"),
    ];
    for (task, payload, why) in cases {
        let (code, said) = place.ask(task, payload);
        assert!(code == Some(1) && said.contains(why), "{task}: {said}");
    }
    let long = serde_json::json!({ "a": "x".repeat(900_000), "b": "" }).to_string();
    place.write("long", &long);
    for (task, result) in [("early", "null\n".to_owned()), ("stdin", format!("{long}\n"))] {
        let mut send = place.program("producer");
        let sent = send
            .args(["send", task, "-", "--wait", "50s", "--max-attempts", "1"])
            .stdin(std::fs::File::open(place.path("long")).unwrap());
        let (code, out, err) = programs::told(sent.output().unwrap());
        assert_eq!((code, out == result), (Some(0), true), "{task}: {err}");
    }
    let args = place.ask("args", r#"{"a": "b c\n'\"$(id)", "b": 7}"#);
    assert_eq!(args, (Some(0), format!("{}\n", serde_json::json!("b c\n'\"$(id)|x7|{c}|$HOME;`id`|"))));
    let sent = place.run("producer", &["send", "env", "1", "--id", "e", "--wait", "50s"]);
    assert_eq!(sent.1, "\"e env default 1\"\n", "{}", sent.2);
    assert_eq!(place.ask("forks", "1"), (Some(0), "\"done\"\n".to_owned()));
    let forked: u32 = place.told("forked").trim().parse().unwrap();
    assert!(
        Watch::open(forked).is_err_and(|e| e.raw_os_error() == Some(3))
            || Watch::open(forked).unwrap().ended(PATIENCE).unwrap()
    );
    let family = worker.family();
    assert_eq!(family.len(), 1, "nobody but the guard is left");
    assert_eq!(worker.stop().0, Some(0));
    all_end(family);
    place.fsck();
}
