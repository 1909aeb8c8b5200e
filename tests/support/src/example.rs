//! The examples, which cargo builds beside the tests.

use std::path::PathBuf;

/// Where the program of an example is. To be called by a test of the same package.
///
/// # Panics
///
/// When it is not there, as the tests are run without the examples: that is nobody's fault but the caller's.
#[must_use]
#[expect(clippy::panic, reason = "a test that is run without what it tests fails, and says why")]
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    let folder = tests.parent().and_then(|deps| deps.parent()).map(|target| target.join("examples"));
    match folder.map(|folder| folder.join(name)) {
        Some(path) if path.exists() => path,
        _ => panic!("the example {name} is not built: run the tests with all targets"),
    }
}
