//! Disks.

use super::*;

/// A full disk refuses what does not fit, says so, and loses nothing. With more room the same session goes on.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let disk = Disk::mount(1);
    let (broker, q) = (session(disk.path()).await.unwrap(), queue("q"));
    let text = Payload::encode(&"x".repeat(4000)).unwrap();
    let mut told = 0;
    let error = loop {
        assert!(told < 1000, "{told} tasks of 4 kB fit on a disk of 1 MiB");
        let tasks: Vec<NewTask> =
            (0..2).map(|_| NewTask::new(q.clone(), TaskName::new("work").unwrap(), text.clone())).collect();
        match broker.enqueue(&tasks, None).await {
            Ok(answers) => {
                assert_eq!(answers, vec![Enqueued::Enqueued; 2]);
                told += 2;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
    assert!(error.to_string().contains("full"), "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("room")), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    assert!(told > 10, "only {told} tasks fit");
    assert_eq!(counts(&*broker, &q).await, [told, 0, 0, 0], "what was acknowledged, and no more");

    // Whatever else is asked for now either works or is refused for the same reason.
    let full = |error: Error| assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
    let held =
        broker.claim(&Claim::new(q.clone(), 1)).await.map_err(full).map_or(Vec::new(), |reply| reply.tasks);
    let release: Vec<_> = held.iter().map(|task| Settlement::new(task.lease.clone(), End::Release)).collect();
    let released = broker.settle(&release).await.map_err(full);

    disk.resize(4);
    if released.is_err() {
        assert_eq!(
            broker.settle(&release).await.unwrap(),
            vec![Settled::Settled; release.len()],
            "with more room"
        );
    }
    enqueue(&*broker, &q, &["after"]).await.unwrap();
    assert_eq!(counts(&*broker, &q).await, [told + 1, 0, 0, 0], "with more room");
    let mut claimed = 0;
    loop {
        let tasks = broker.claim(&Claim::new(q.clone(), 64)).await.unwrap().tasks;
        let Some(last) = tasks.last() else { break };
        claimed += tasks.len() as u64;
        assert_eq!(last.lease.id.to_string() == "after", claimed == told + 1, "the last one");
        for task in &tasks {
            assert_eq!(settle(&*broker, task, complete()).await, Settled::Settled);
        }
    }
    assert_eq!(claimed, told + 1, "all that was acknowledged");
}

/// Making a queue on a disk that somebody else filled is refused as that; and works when there is room.
#[tokio::test]
async fn a_new_queue_on_a_full_disk_is_refused() {
    let disk = Disk::mount(1);
    let filler = disk.fill();
    let error = session(disk.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
    fs::remove_file(&filler).unwrap();
    let broker = session(disk.path()).await.unwrap();
    enqueue(&*broker, &queue("q"), &["1"]).await.unwrap();
}

/// The same with a queue that is there already, as after a restart of the box: to open it takes some room too.
#[tokio::test]
async fn an_old_queue_on_a_full_disk_is_refused_as_that() {
    let (disk, q) = (Disk::mount(1), queue("q"));
    let broker = session(disk.path()).await.unwrap();
    enqueue(&*broker, &q, &["1"]).await.unwrap();
    drop(broker);
    // The last one who closes the database removes this.
    gone(&disk.path().join("mh/tasks.db-wal")).await;
    let filler = disk.fill();
    let error = session(disk.path()).await.unwrap_err();
    fs::remove_file(&filler).unwrap();
    assert_eq!(counts(&*session(disk.path()).await.unwrap(), &q).await, [1, 0, 0, 0], "with more room");
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
}

/// A tmpfs of its own, unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(mebibytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let made =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        let made = made.expect("this test needs the program mount");
        assert!(
            made.status.success(),
            "this test needs root, as it mounts a small disk: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room, and returns the file that takes it.
    fn fill(&self) -> PathBuf {
        let file = self.path().join("filler");
        let full = fs::write(&file, vec![0; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "the disk of this test");
        file
    }

    fn resize(&self, mebibytes: u32) {
        let size = format!("remount,size={mebibytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as the threads of a session that was just dropped may still close its files.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
