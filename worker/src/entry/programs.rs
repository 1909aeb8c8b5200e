//! The programs that the configuration names as handlers.

use std::{
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use manyhands_broker::{QueueName, Result, TaskName};
use manyhands_cli::config::{Configuration, Program, TaskSettings};

use crate::{
    App,
    children::{Children, Command, Outfit, Pool, Template},
    handler::Handler,
};

/// The queue of a task for which the configuration names none.
const QUEUE: &str = "default";

/// Adds a handler for each kind of task that has a program.
pub(super) fn register(mut app: App, configuration: &Configuration, children: &Children) -> Result<App> {
    for (name, task) in &configuration.settings().tasks {
        let Some(program) = &task.program else { continue };
        let handler = handler(&app, name, task, program, configuration, children)?;
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
    configuration: &Configuration,
    children: &Children,
) -> Result<Arc<dyn Handler>> {
    let folder = configuration.settings().folder.clone();
    let wrong = |key: &str, why: String| configuration.wrong(&["tasks", name.as_str(), key], &why);
    let one_a_core = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let processes = task.processes.unwrap_or_else(one_a_core);
    let outfit = Outfit {
        folder: folder.clone(),
        limit: task.run_limit,
        most_tasks: task.max_tasks_per_child,
        name: name.clone(),
    };
    Ok(match program {
        Program::Command(words) => {
            let template = Template::parse(words).map_err(|why| wrong("command", why))?;
            find(&words[0], &folder).map_err(|why| wrong("command", why))?;
            Arc::new(Command::new(children, outfit, template, processes))
        }
        Program::Process(words) => {
            find(&words[0], &folder).map_err(|why| wrong("process", why))?;
            Arc::new(Pool::new(children, outfit, words.clone(), processes, Arc::clone(&app.news)))
        }
    })
}

/// Makes sure that a program is there before any task is taken for it.
fn find(program: &str, folder: &Path) -> Result<(), String> {
    if program.contains('/') {
        let path = folder.join(program);
        return match (path.is_file(), runs(&path)) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("{} cannot be run: it is not executable", path.display())),
            (false, _) => Err(format!("there is no program {}", path.display())),
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
    Err(format!("there is no program \"{program}\" on PATH{advice}"))
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}
