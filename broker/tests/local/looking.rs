//! A process that hears of nothing looks for it.

use super::*;

/// It hears of a task and of a death all the same: its leases have half a minute to go, so only a look at who lives can tell.
#[tokio::test]
async fn without_inotify_news_is_looked_for() {
    if let Some((folder, _)) = child() {
        return child_looks(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (broker, q) = (session(folder.path()).await.unwrap(), queue("q"));
    let child = Child::without_inotify("looking::without_inotify_news_is_looked_for", folder.path());
    assert_eq!(child.hear("waiting").unwrap(), "for a task");
    // Before the child looks for it.
    let victim = session(folder.path()).await.unwrap();
    enqueue(&*broker, &queue("r"), &["2".to_owned()]).await.unwrap();
    assert_eq!(victim.claim(&Claim::new(queue("r"), 1)).await.unwrap().tasks.len(), 1);
    enqueue(&*broker, &q, &["1".to_owned()]).await.unwrap();
    assert_eq!(child.hear("held").unwrap(), "1");
    drop(victim);
    assert_eq!(child.hear("held").unwrap(), "2");
}

/// The other process.
async fn child_looks(folder: &Path) {
    let broker = session(folder).await.unwrap();
    let files =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    let inotify = files.filter(|file| file.to_string_lossy().contains("inotify")).count();
    assert_eq!(inotify, 0, "inotify instances");
    for name in ["q", "r"] {
        let mut waiting = name == "q";
        loop {
            let hint = broker.wait(&[queue(name)]);
            if let Some(task) = broker.claim(&Claim::new(queue(name), 1)).await.unwrap().tasks.pop() {
                say("held", task.lease.id);
                break;
            }
            if std::mem::take(&mut waiting) {
                say("waiting", "for a task");
            }
            tokio::time::timeout(PATIENCE, hint).await.unwrap();
        }
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    unreachable!("nobody is left to kill this child");
}
