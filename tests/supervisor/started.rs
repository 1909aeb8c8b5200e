//! What is said at the start, and what is refused.

use manyhands_test_support::kill::Signal;

use super::{
    WAITS, all_ready, processes,
    programs::{Place, Worker, all_end, told},
    supervisor,
};

#[test]
fn it_says_once_what_its_processes_do() {
    let place = Place::with(WAITS);
    let mut worker = place.worker(&["--processes", "3"]);
    let line = worker.says("worker 0.1.0: 3 worker processes, each of them: broker local:");
    assert!(
        line.ends_with("queues default; handlers waits; slots 100 async, 2 blocking, 2 processes"),
        "{line}"
    );
    place.write("go", "");
    assert_eq!(place.ask("waits", "1"), (Some(0), "1\n".to_owned()));
    let (code, said) = worker.stop();
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
}

#[test]
fn all_are_listed_with_their_supervisor() {
    let place = Place::with(&format!("[worker]\nprocesses = 2\n{WAITS}"));
    let mut worker = place.worker(&["-v"]);
    all_ready(&mut worker, 2);
    let pids = processes(&worker);
    // A worker is ready before it has told of itself.
    let listed = loop {
        let listed = place.live_workers();
        if listed.len() == 2 {
            break listed;
        }
    };
    for one in &listed {
        assert_eq!(one["supervisor"], worker.pid(), "{one}");
        assert!(pids.contains(&u32::try_from(one["pid"].as_u64().unwrap()).unwrap()), "{one}");
    }
    let id = listed[0]["worker"].as_str().unwrap();
    let (_, shown, _) = place.run("manyhands", &["workers", "show", id]);
    assert!(shown.contains(&format!(", of supervisor {}", worker.pid())), "{shown}");
    assert_eq!(worker.stop().0, Some(0));
}

/// The first one's words, once, and its exit code.
#[test]
fn what_ends_a_worker_at_the_start_ends_the_supervisor() {
    let cases: [(&str, &[&str], i32, &str); 7] = [
        ("", &[], 2, "the worker has no handler"),
        ("[tasks.a]\ncommnd = [\"true\"]", &[], 2, "there is no key tasks.a.commnd"),
        ("[worker]\nprocesses = 0", &[], 2, "worker.processes: 0 is no whole number from 1 to 512"),
        (WAITS, &["--processes", "0"], 2, "0 is not in 1..=512"),
        (WAITS, &["--processes", "513"], 2, "513 is not in 1..=512"),
        (WAITS, &["--broker", "local:/proc/nothing"], 3, "cannot use /proc/nothing"),
        (
            "[tasks.a]\ncommand = [\"true\"]\n[queues.default]\nkey_interval = \"1s\"",
            &["--broker", "amqp://127.0.0.1:1"],
            3,
            "error: ",
        ),
    ];
    for (text, args, code, why) in cases {
        let place = Place::with(text);
        let args = if args.contains(&"--processes") || text.contains("processes") {
            args.to_vec()
        } else {
            [&["--processes", "3"], args].concat()
        };
        let (ended, out, said) = place.run("worker", &args);
        assert_eq!((ended, out.as_str()), (Some(code), ""), "{text:?} {args:?}: {said}");
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn what_is_refused_ends_the_supervisor() {
    let place = Place::with("[tasks.a]\ncommand = [\"true\"]\n[queues.default]\ncapacity = 5\n");
    let mut first = supervisor(&place, 1);
    all_ready(&mut first, 1);
    place.write("manyhands.toml", "[tasks.a]\ncommand = [\"true\"]\n[queues.default]\ncapacity = 6\n");
    let (code, _, said) = place.run("worker", &["--processes", "2"]);
    assert_eq!((code, said.matches("error: ").count()), (Some(4), 1), "{said}");
    assert_eq!(first.stop().0, Some(0));
}

/// As `manyhands worker`, and as a worker program of one's own.
#[test]
fn it_works_by_every_name() {
    let place = Place::with(WAITS);
    place.write("go", "");
    place.write("text", "one two");
    let example = manyhands_test_support::example("count");
    let mut own = place.program("worker");
    let mut command = std::process::Command::new(&example);
    command.current_dir(place.path(""));
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut by_command = place.program("manyhands");
    own.args(["-v", "--processes", "2"]);
    command.args(["-v", "--processes", "2"]);
    by_command.args(["worker", "-v", "--processes", "2"]);
    for (command, task, result) in [(&mut command, "count", "2\n"), (&mut by_command, "waits", "1\n")] {
        let mut worker = Worker::start(command);
        all_ready(&mut worker, 2);
        let family = worker.family();
        assert_eq!(processes(&worker).len(), 2);
        assert_eq!(place.ask(task, "{\"path\": \"text\"}"), (Some(0), result.to_owned()));
        assert_eq!(worker.stop().0, Some(0));
        all_end(family);
    }
}

/// What a worker process inherited from somebody else does not make it one of a supervisor.
#[test]
fn a_worker_of_nobody_is_a_plain_one() {
    let place = Place::with(WAITS);
    for pid in ["1", "nobody", &std::process::id().to_string()] {
        let mut worker = Worker::start(place.program("worker").env("MANYHANDS_SUPERVISOR", pid));
        worker.says("worker 0.1.0: broker local:");
        worker.signal(Signal::TERM);
        assert_eq!(worker.end().0, Some(0));
    }
    let output = place.program("worker").env("MANYHANDS_SUPERVISOR", "1").arg("--help").output().unwrap();
    assert_eq!(told(output).0, Some(0));
}
