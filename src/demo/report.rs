//! The table at the end.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};

use super::{
    board::{Board, Killed, Process},
    films::Film,
    role::RoleName,
};

/// Writes what each process did, what became of the killed one's tasks, how long it took, and the ten best films.
pub(super) fn report(board: &Board, films: &[Film], wall: Duration, out: &str) -> String {
    let mut text = format!("{}\n\n", processes(board));
    if let Some(killed) = &board.killed {
        text.push_str(&after_kill(board, killed));
        text.push('\n');
    }
    text.push_str(&format!("{}\n\n", best(films)));
    let (busy, seconds) = (board.busy().as_secs_f64(), wall.as_secs_f64());
    text.push_str(&format!(
        "{} films in {out}, equal to what the site made: {seconds:.2} s, {:.1} times faster than one task after the other ({busy:.2} s)\n",
        films.len(),
        busy / seconds.max(f64::EPSILON),
    ));
    text
}

fn processes(board: &Board) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["process", "pid", "tasks", "retries", "taken over", "seconds", "end"]);
    for process in &board.processes {
        let Process { role, pid, tasks, retries, taken_over, busy, end, .. } = process;
        let works = !matches!(role, RoleName::Site | RoleName::Producer);
        let number = |n: &u32, shown: bool| if shown { n.to_string() } else { String::new() };
        table.add_row([
            role.to_string(),
            pid.to_string(),
            number(tasks, *role != RoleName::Site),
            number(retries, works),
            number(taken_over, works),
            if works { format!("{:.2}", busy.as_secs_f64()) } else { String::new() },
            end.clone().unwrap_or_default(),
        ]);
    }
    right_align(&mut table, 1..6);
    table
}

fn after_kill(board: &Board, killed: &Killed) -> String {
    let Process { role, pid, .. } = &board.processes[killed.process];
    if matches!(role, RoleName::Site | RoleName::Producer) {
        return format!("killed {role} {pid}\n");
    }
    let held: Vec<_> = killed.running.iter().map(String::as_str).collect();
    if held.is_empty() {
        return format!("killed {role} {pid}, which was running nothing at that moment\n");
    }
    let mut text = format!("killed {role} {pid}, which was running {}\n", held.join(", "));
    let mut pids: Vec<_> = killed.reruns.iter().map(|rerun| rerun.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        let mine: Vec<_> = killed.reruns.iter().filter(|rerun| rerun.pid == pid).collect();
        let ids: Vec<_> = mine.iter().map(|rerun| rerun.id.as_str()).collect();
        let after = |pick: fn(Duration, Duration) -> Duration| {
            mine.iter().map(|rerun| rerun.after).reduce(pick).unwrap_or_default().as_millis()
        };
        let (first, last) = (after(Duration::min), after(Duration::max));
        text.push_str(&format!(
            "process {pid} then ran {}: {first} to {last} ms after the kill\n",
            ids.join(", ")
        ));
    }
    text
}

fn best(films: &[Film]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["the ten best films", "rating", "comments"]);
    for Film { title, rating, comments, .. } in films.iter().take(10) {
        table.add_row([title.clone(), format!("{rating:.1}"), comments.to_string()]);
    }
    right_align(&mut table, 1..3);
    table
}

fn right_align(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
