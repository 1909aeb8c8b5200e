use super::*;

fn disk(events: impl IntoIterator<Item = Event>) -> Disk {
    let mut disk = Disk::default();
    events.into_iter().for_each(|event| disk.apply(&Entry { pid: 1, event }).unwrap());
    disk
}

fn open(fd: i32, path: &str) -> Event {
    Event::Open { fd, create: true, truncate: false, path: path.into() }
}

fn write(fd: i32, offset: u64, byte: u8, count: usize) -> Event {
    Event::Write { fd, offset, data: vec![byte; count] }
}

/// What is left of the file `a`, for many seeds; `None` where there is no such file.
fn left(disk: &Disk, loss: Loss) -> BTreeSet<Option<Vec<u8>>> {
    let left = |seed: u64| {
        let folder = tempfile::tempdir().unwrap();
        disk.cut(loss, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), folder.path()).unwrap();
        fs::read(folder.path().join("a")).ok()
    };
    (1..100).map(left).collect()
}

#[test]
fn what_is_synced_stays() {
    let disk =
        disk([open(3, "a"), write(3, 0, 1, 700), Event::Sync { fd: 3 }, open(4, ""), Event::Sync { fd: 4 }]);
    for loss in Loss::ALL {
        assert_eq!(left(&disk, loss), [Some(vec![1; 700])].into(), "{loss:?}");
    }
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn a_file_without_a_synced_name_may_be_gone() {
    let disk = disk([open(3, "a"), write(3, 0, 1, 7), Event::Sync { fd: 3 }]);
    assert_eq!(left(&disk, Loss::All), [None].into());
    assert_eq!(left(&disk, Loss::Nothing), [Some(vec![1; 7])].into());
    assert_eq!(left(&disk, Loss::Any), [None, Some(vec![1; 7])].into());
}

/// A write over one and a half sectors, on synced bytes.
#[test]
fn an_unsynced_write_is_torn_at_sectors() {
    let disk = disk([
        open(3, "a"),
        write(3, 0, 1, 1000),
        Event::Sync { fd: 3 },
        open(4, ""),
        Event::Sync { fd: 4 },
        write(3, 256, 2, 512),
    ]);
    let torn = |first: u8, second: u8| {
        let mut data = vec![1; 1000];
        data[256..512].fill(first);
        data[512..768].fill(second);
        Some(data)
    };
    assert_eq!(left(&disk, Loss::All), [torn(1, 1)].into());
    assert_eq!(left(&disk, Loss::Nothing), [torn(2, 2)].into());
    assert_eq!(left(&disk, Loss::Any), [torn(1, 1), torn(1, 2), torn(2, 1), torn(2, 2)].into());
}

/// Of what was done last, nothing is there without all that was done before.
#[test]
fn a_tail_is_lost_in_order() {
    let begin = [open(3, "a"), Event::Sync { fd: 3 }, open(4, ""), Event::Sync { fd: 4 }];
    let writes = (0..4).map(|number| write(3, number, 1 + number as u8, 1));
    let disk = disk(begin.into_iter().chain(writes));
    let wanted: BTreeSet<_> = (0..=4).map(|count| Some((1..=count).collect::<Vec<u8>>())).collect();
    assert_eq!(left(&disk, Loss::Tail), wanted);
}

/// A name that was removed, and given to another file, each unsynced.
#[test]
fn names_change_in_their_order() {
    let disk = disk([
        open(3, "a"),
        write(3, 0, 1, 1),
        Event::Sync { fd: 3 },
        open(4, ""),
        Event::Sync { fd: 4 },
        Event::Remove { path: "a".into() },
        open(5, "b"),
        write(5, 0, 2, 1),
        Event::Sync { fd: 5 },
        Event::Rename { from: "b".into(), to: "a".into() },
        // Of the file that has no name any more.
        write(3, 0, 3, 1),
    ]);
    assert_eq!(disk.whole(), [("a".into(), vec![2])].into());
    assert_eq!(left(&disk, Loss::All), [Some(vec![1])].into());
    let any = left(&disk, Loss::Any);
    assert!(any.contains(&None) && any.contains(&Some(vec![2])), "{any:?}");
}

#[test]
fn what_cannot_happen_is_an_error() {
    let mut disk = Disk::default();
    assert!(disk.apply(&Entry { pid: 1, event: write(3, 0, 1, 1) }).is_err());
    disk.apply(&Entry { pid: 1, event: open(3, "a") }).unwrap();
    assert!(disk.apply(&Entry { pid: 2, event: write(3, 0, 1, 1) }).is_err(), "another process's descriptor");
}
