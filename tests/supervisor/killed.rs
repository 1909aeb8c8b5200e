//! A supervisor that is killed.

use std::time::{Duration, Instant};

use manyhands_test_support::kill::{self, Watch};

use super::{
    all_ready,
    programs::{PATIENCE, Place},
    supervisor,
};

/// SIGKILL of the supervisor alone: the kernel and the guards see to the rest, handlers and what they started among it.
///
/// With `MANYHANDS_TEST_LONG` a hundred times.
#[test]
fn nobody_outlives_it() {
    let rounds = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 100 } else { 5 };
    let (mut longest, mut late, mut all) = (Duration::ZERO, 0, 0);
    for _ in 0..rounds {
        let place = Place::with(
            "[tasks.waits]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo begun >>begun; sleep 1000\"]\nprocesses = 2\n",
        );
        let mut worker = supervisor(&place, 2);
        all_ready(&mut worker, 2);
        (0..4).for_each(|_| drop(place.run("producer", &["send", "waits"])));
        while place.told("begun").lines().count() < 4 {
            std::thread::yield_now();
        }
        // Two worker processes, a guard each and the supervisor's, four handlers and what they started.
        let family = worker.family();
        assert!(family.len() >= 2 + 3 + 4, "{}", family.len());
        all += family.len();
        kill::kill(worker.pid()).unwrap();
        let killed = Instant::now();
        let lives =
            |watch: &&Watch| !watch.ended(Duration::from_secs(1).saturating_sub(killed.elapsed())).unwrap();
        late += family.iter().filter(lives).count();
        family.iter().for_each(|watch| watch.end(PATIENCE).unwrap());
        longest = longest.max(killed.elapsed());
        place.fsck();
    }
    println!(
        "{rounds} times killed: {all} processes, the last of each gone after {longest:?} at most, {late} alive after 1 s"
    );
}
