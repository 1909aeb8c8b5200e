//! The programs that the configuration names as handlers.

use std::{
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use manyhands_broker::{Error, QueueName, Result, TaskName};
use manyhands_cli::config::{Program, Settings, TaskSettings};

use crate::{
    App,
    children::{Children, Command, Outfit, Pool, Template},
    handler::Handler,
};

/// The queue of a task for which the configuration names none.
const QUEUE: &str = "default";

/// Adds a handler for each kind of task that has a program.
pub(super) fn register(mut app: App, settings: &Settings, children: &Children) -> Result<App> {
    for (name, task) in &settings.tasks {
        let Some(program) = &task.program else { continue };
        let handler = handler(&app, name, task, program, settings, children)?;
        let queue = task.queue.clone().map_or_else(|| QueueName::new(QUEUE), Ok)?;
        app = app.add_named(name.clone(), queue, handler);
    }
    Ok(app)
}

fn handler(
    app: &App,
    name: &TaskName,
    task: &TaskSettings,
    program: &Program,
    settings: &Settings,
    children: &Children,
) -> Result<Arc<dyn Handler>> {
    let one_a_core = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let processes = task.processes.unwrap_or_else(one_a_core);
    let outfit = Outfit {
        folder: settings.folder.clone(),
        limit: task.run_limit,
        most_tasks: task.max_tasks_per_child,
        name: name.clone(),
    };
    Ok(match program {
        Program::Command(words) => {
            let template = Template::parse(words)
                .map_err(|why| Error::invalid("configuration", format!("tasks.{name}.command: {why}")))?;
            find(name, &words[0], &settings.folder)?;
            Arc::new(Command::new(children, outfit, template, processes))
        }
        Program::Process(words) => {
            find(name, &words[0], &settings.folder)?;
            Arc::new(Pool::new(children, outfit, words.clone(), processes, Arc::clone(&app.news)))
        }
    })
}

/// Makes sure that a program is there before any task is taken for it.
fn find(name: &TaskName, program: &str, folder: &Path) -> Result<()> {
    let wrong = |why: String| Err(Error::invalid("configuration", format!("tasks.{name}: {why}")));
    if program.contains('/') {
        let path = folder.join(program);
        return match (path.is_file(), runs(&path)) {
            (true, true) => Ok(()),
            (true, false) => wrong(format!("{} cannot be run: it is not executable", path.display())),
            (false, _) => wrong(format!("there is no program {}", path.display())),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|place: PathBuf| place.join(program));
    if places.any(|place| place.is_file() && runs(&place)) {
        return Ok(());
    }
    let beside = folder.join(program);
    let advice = if beside.is_file() {
        format!("; write \"./{program}\" for the one in the file's folder")
    } else {
        String::new()
    };
    wrong(format!("there is no program \"{program}\" on PATH{advice}"))
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}
