//! Files that are not ours.

use super::*;

/// A directory with another program's database is not touched.
#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    for sql in [
        "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')",
        "PRAGMA journal_mode = wal; CREATE TABLE notes (text TEXT)",
        "PRAGMA application_id = 1196444487; PRAGMA user_version = 1",
        "CREATE TABLE meta (oldest_reader INTEGER, oldest_writer INTEGER); PRAGMA user_version = 1",
    ] {
        let place = Place::new();
        Connection::open(place.database()).unwrap().execute_batch(sql).unwrap();
        let error = place.refuses(ErrorKind::Invalid).await;
        assert!(error.to_string().contains("another program"), "{sql}: {error}");
    }
}

/// A file that is no database is neither used nor overwritten.
#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    for bytes in [&b"these are my notes\n"[..], &[0xa5; 8192], &[0; 4096], &b"SQLite format 3\0 or not?"[..]]
    {
        let place = Place::new();
        fs::write(place.database(), bytes).unwrap();
        place.refuses(ErrorKind::Corrupt).await;
    }
}

/// A database that lost its end is refused, not repaired in silence.
#[tokio::test]
async fn a_truncated_database_is_refused() {
    let (place, whole) = Place::with_tasks().await;
    let pages = whole.len() / 4096;
    assert!(pages > 4, "{pages} pages are too few to cut some off");
    for len in [50, 1000, 4096, 4096 * (pages / 2), 4096 * (pages / 2) + 1, whole.len() - 4096] {
        fs::write(place.database(), &whole[..len]).unwrap();
        let error = place.refuses(ErrorKind::Corrupt).await;
        assert!(error.to_string().contains("damaged"), "{len} bytes of {}: {error}", whole.len());
    }
    fs::write(place.database(), &whole).unwrap();
    assert_eq!(counts(&*session(place.path()).await.unwrap(), &queue("q")).await, [100, 0, 0, 0], "mended");
}

/// The same where less than a page is missing, which SQLite reads as zeros.
#[tokio::test]
async fn a_database_cut_inside_its_last_page_is_refused() {
    let (place, whole) = Place::with_tasks().await;
    for missing in [100, 4000] {
        fs::write(place.database(), &whole[..whole.len() - missing]).unwrap();
        place.refuses(ErrorKind::Corrupt).await;
    }
}

/// What a newer version wrote in a way that this one does not know is left to that version.
#[tokio::test]
async fn a_newer_format_is_refused() {
    let (place, _) = Place::with_tasks().await;
    for column in ["oldest_reader", "oldest_writer"] {
        let set = |format: u32| {
            let sql = format!("UPDATE meta SET {column} = {format}");
            Connection::open(place.database()).unwrap().execute_batch(&sql).unwrap();
        };
        set(5);
        let error = place.refuses(ErrorKind::Incompatible).await;
        assert!(error.to_string().contains("format 5"), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("upgrade")), "{error:?}");
        set(4);
    }
    assert_eq!(counts(&*session(place.path()).await.unwrap(), &queue("q")).await, [100, 0, 0, 0], "again");
}

/// A path where no directory can be is refused, and the error names it.
#[tokio::test]
async fn a_path_that_cannot_be_a_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let namespace = folder.path().join("other");
    fs::create_dir(&namespace).unwrap();
    fs::write(namespace.join("mh"), "mine too").unwrap();
    let cases = [
        (file.clone(), ErrorKind::Invalid),
        (file.join("below"), ErrorKind::Invalid),
        (namespace.clone(), ErrorKind::Invalid),
        // No directory can be made there, not even by root.
        (PathBuf::from("/proc/nothing"), ErrorKind::Unavailable),
    ];
    for (path, kind) in cases {
        let error = session(&path).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {}", path.display(), error.report());
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.advice().is_some(), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(fs::read_to_string(namespace.join("mh")).unwrap(), "mine too");
}

/// A directory whose files are looked at before and after.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mh")).unwrap();
        Self(folder)
    }

    /// A place with a hundred tasks, closed, and the bytes of its database.
    async fn with_tasks() -> (Self, Vec<u8>) {
        let place = Self::new();
        let broker = session(place.path()).await.unwrap();
        let ids: Vec<String> = (0..100).map(|id| format!("{id}-{}", "x".repeat(100))).collect();
        enqueue(&*broker, &queue("q"), &ids).await.unwrap();
        drop(broker);
        // The last one who closes the database removes this.
        gone(&place.database().with_extension("db-wal")).await;
        let bytes = fs::read(place.database()).unwrap();
        (place, bytes)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("mh/tasks.db")
    }

    /// Opens it, which must be refused and must change nothing.
    async fn refuses(&self, kind: ErrorKind) -> Error {
        let before = fs::read(self.database()).unwrap();
        let sessions = self.sessions();
        let opened = session(self.path()).await;
        assert!(opened.is_err(), "a database of {} bytes was opened", before.len());
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.report());
        assert!(error.advice().is_some(), "{error:?}");
        assert!(fs::read(self.database()).unwrap() == before, "the database was changed");
        let beside = ["db-wal", "db-journal"].map(|name| self.database().with_extension(name));
        assert!(!beside.iter().any(|file| file.exists()), "a journal was left");
        assert_eq!(self.sessions(), sessions, "a file of a session that was never opened");
        error
    }

    /// How many sessions left a file. The last one that closes does, as nobody is left to remove it.
    fn sessions(&self) -> usize {
        fs::read_dir(self.path().join("mh/incarnations")).map_or(0, Iterator::count)
    }
}
