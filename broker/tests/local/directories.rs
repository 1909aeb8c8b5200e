//! Directories.

use super::*;

/// Many processes that start together on an empty place find one queue, not several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_opened_at_once_share_a_new_directory() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet");
        let open = |number: u32| {
            let path = path.clone();
            async move {
                let broker = session(&path).await.unwrap();
                enqueue(&*broker, &queue("q"), &[number.to_string()]).await.unwrap();
                broker
            }
        };
        let opening: Vec<_> = (0..8).map(|number| tokio::spawn(open(number))).collect();
        let mut brokers = Vec::new();
        for broker in opening {
            brokers.push(broker.await.unwrap());
        }
        let incarnations: BTreeSet<_> = brokers.iter().map(|broker| broker.incarnation()).collect();
        assert_eq!(incarnations.len(), 8, "incarnations");
        let tasks = brokers[0].claim(&Claim::new(queue("q"), 9)).await.unwrap().tasks;
        let ids: BTreeSet<_> = tasks.iter().map(|task| task.lease.id.to_string()).collect();
        assert_eq!(ids, (0..8).map(|number| number.to_string()).collect(), "what all of them enqueued");
        let alive = fs::read_dir(path.join("mh/incarnations")).unwrap().count();
        assert_eq!(alive, 8, "files of the living");
    }
}

/// Payloads may be private: whatever the directory was, nobody but its owner reads what is below.
#[tokio::test]
async fn the_directory_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let new = folder.path().join("new");
    for path in [&open, &new] {
        let broker = session(path).await.unwrap();
        enqueue(&*broker, &queue("q"), &["1"]).await.unwrap();
        for made in [path.join("mh"), path.join("mh/incarnations")] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
    }
    assert_eq!(mode(&new), 0o700, "a directory that was made");
    assert_eq!(mode(&open), 0o755, "a directory that was there is not ours to change");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
