//! Functions that are called in the processes of a pool.

use manyhands::App;

/// How long the text is that [`wide`] returns.
const WIDE: usize = 100 * 1024;

/// Adds all of them.
pub(crate) fn register(app: App) -> App {
    app.function(square).function(wide).function(hang)
}

/// Next to nothing, so that what is measured is the way there and back.
pub(crate) fn square(n: u64) -> u64 {
    n * n
}

/// Its number, who called it, and a long text: a process is busy writing results for most of the time.
pub(crate) fn wide(n: u64) -> (u64, u32, String) {
    (n, std::process::id(), text(n))
}

/// Never returns: who runs it must be killed.
pub(crate) fn hang(_n: u64) {
    loop {
        std::thread::park();
    }
}

/// Whether this is what [`wide`] makes of a number.
pub(crate) fn is_whole(n: u64, result: &str) -> bool {
    result == text(n)
}

fn text(n: u64) -> String {
    let digits = n.to_string();
    digits.repeat(WIDE / digits.len())
}
