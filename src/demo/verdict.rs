//! Whether the demo showed what it claims: the file is what the site made, and the killed process's tasks were run.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail, ensure};

use super::{
    board::{Board, Killed},
    films::{FILMS, Film, films},
    role::RoleName,
};

/// How many tasks a fetcher must be running when it is killed.
pub(super) const HELD: usize = 2;

/// Reads the films that were saved and compares them, field for field, with what the site made.
pub(super) fn check_films(path: &Path) -> anyhow::Result<Vec<Film>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut saved = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let film: Film =
            serde_json::from_str(line).with_context(|| format!("line {} is torn", number + 1))?;
        if let Some(twice) = saved.insert(film.id, film) {
            bail!("film {} is there twice", twice.id);
        }
    }
    let made = films();
    for film in &made {
        let found = saved
            .remove(&film.id)
            .with_context(|| format!("film {} ({}) is missing", film.id, film.title))?;
        ensure!(found == *film, "film {} was made as {film:?} and saved as {found:?}", film.id);
    }
    if let Some(film) = saved.values().next() {
        bail!("{} films more than the site made, such as {film:?}", saved.len());
    }
    Ok(made)
}

/// Checks that somebody else ran what the killed process was running.
pub(super) fn check_kill(board: &Board, victim: Option<RoleName>) -> anyhow::Result<()> {
    let Some(role) = victim else { return Ok(()) };
    let Some(Killed { running, reruns, .. }) = &board.killed else {
        bail!("no {role} was found at work, so none was killed");
    };
    for id in running {
        ensure!(
            reruns.iter().any(|rerun| rerun.id == *id),
            "{id}, which the killed {role} was running, was not run again"
        );
    }
    let least = if role == RoleName::Fetcher { HELD } else { 0 };
    ensure!(running.len() >= least, "the {role} was running {} tasks when it was killed", running.len());
    Ok(())
}

/// Checks that nothing was given up.
pub(super) fn check_dead(board: &Board) -> anyhow::Result<()> {
    ensure!(board.buried == 0, "{} tasks are dead, so fewer than {FILMS} films can be there", board.buried);
    Ok(())
}
