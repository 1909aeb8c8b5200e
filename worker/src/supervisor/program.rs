//! Which file worker processes are started from.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The file of this program by the name that it was started under, as the next start finds it: where it was replaced meanwhile, or a
/// link on the way to it, that is the new one. `name` is its first argument, `path` the folders in which programs are looked for.
///
/// # Errors
/// When the system does not say which file this program is.
pub(crate) fn own_file(name: &OsStr, path: &OsStr) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let named = if Path::new(name).components().count() > 1 {
        Some(PathBuf::from(name))
    } else {
        std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    // The first argument may be anything.
    let named = named.filter(|named| is_same(named, &own)).and_then(|named| std::path::absolute(named).ok());
    Ok(named.unwrap_or(own))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    file(one).is_some_and(|one| file(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_on_the_way_stays_one() {
        let own = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("program");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let found = |name: &str, path: &Path| own_file(name.as_ref(), path.as_os_str()).unwrap();
        assert_eq!(found(link.to_str().unwrap(), Path::new("")), link);
        assert_eq!(found("program", folder.path()), link);
        assert_eq!(found("program", Path::new("/nothing")), own, "it is not there");
        std::fs::write(folder.path().join("another"), "").unwrap();
        assert_eq!(found("another", folder.path()), own, "it is another program");
    }
}
