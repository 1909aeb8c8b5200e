//! On a terminal: its width, its colours, and the question before something is destroyed.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
    process::Command,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::support::*;

/// Runs a command on a terminal of so many columns on which somebody has typed this. Returns its exit code and what is on the screen.
fn on_terminal(mut command: Command, columns: u16, typed: &str) -> (Option<i32>, String) {
    let side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&side).unwrap();
    unlockpt(&side).unwrap();
    let name = ptsname(&side, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(no_control).open(path).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let side = File::from(side);
    (&side).write_all(typed.as_bytes()).unwrap();
    command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut process = command.spawn().unwrap();
    // Its ends are open here too as long as the command is.
    drop(command);
    let mut screen = Vec::new();
    // Reading ends with an error when the last process has closed the terminal.
    let _ = (&side).read_to_end(&mut screen);
    (process.wait().unwrap().code(), String::from_utf8(screen).unwrap().replace("\r\n", "\n"))
}

#[test]
fn whoever_says_yes_is_obeyed_and_nobody_else() {
    let place = local();
    place.with(async |broker| enqueue(&*broker, &[task("q", "1"), task("q", "2")]).await);
    let question = "cancel 2 tasks of queue \"q\" that are ready or scheduled or held? [y/N] ";
    let purge = |typed| on_terminal(place.command(&["queues", "purge", "q"]), 80, typed);
    for no in ["n\n", "\n", "yesterday\n", "\u{4}"] {
        let (code, screen) = purge(no);
        assert_eq!(code, Some(1), "{no:?}: {screen}");
        assert!(screen.contains(question) && screen.contains("error: nothing was changed\n"), "{screen}");
    }
    assert_eq!(place.objects(&["queues", "list", "q"])[0]["ready"], 2, "nothing was");
    let (code, screen) = purge("y\n");
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains(question) && screen.ends_with("q: 2 tasks cancelled\n"), "{screen}");
}

#[test]
fn a_terminal_has_a_width_and_colours() {
    let place = local();
    place.with(async |broker| three_dead(&*broker).await);
    let list = || place.command(&["queues", "list"]);
    let (_, wide) = on_terminal(list(), 100, "");
    assert!(wide.lines().count() == 2 && wide.contains("\u{1b}[31m3\u{1b}[0m"), "{wide}");
    let (_, narrow) = on_terminal(list(), 40, "");
    assert!(narrow.starts_with("queue      default\nready      0\n"), "{narrow}");
    let mut plain = list();
    plain.env("NO_COLOR", "1");
    let (_, plain) = on_terminal(plain, 100, "");
    assert!(!plain.contains('\u{1b}'), "{plain}");
}
