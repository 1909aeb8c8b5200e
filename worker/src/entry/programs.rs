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
    children::{Children, Command, Limits, Outfit, Pool, Routes, Start, Template},
    handler::Handler,
};

/// The queue of a task for which the configuration names none.
const QUEUE: &str = "default";

/// Adds a handler for each kind of task that has a program.
pub(super) fn register(mut app: App, configuration: &Configuration, children: &Children) -> Result<App> {
    let routes = routes(&app, configuration);
    for (name, task) in &configuration.settings().tasks {
        let Some(program) = &task.program else { continue };
        let outfit = outfit(name, task, configuration, &routes);
        let handler = handler(&app, task, program, outfit, configuration, children)?;
        if *program == Program::Own {
            app.isolate(name, handler, task.queue.clone());
            continue;
        }
        let queue = task.queue.clone().map_or_else(|| QueueName::new(QUEUE), Ok)?;
        app = app.add_named(name.clone(), queue, handler);
    }
    Ok(app)
}

/// Where tasks go that name no queue: where the configuration says, else where a handler of theirs in this program takes them.
fn routes(app: &App, configuration: &Configuration) -> Routes {
    let own = app.handlers.iter().map(|(name, registered)| (name.clone(), registered.queue.clone()));
    let configured = &configuration.settings().tasks;
    let configured = configured.iter().filter_map(|(name, task)| Some((name.clone(), task.queue.clone()?)));
    Arc::new(own.chain(configured).collect())
}

fn outfit(name: &TaskName, task: &TaskSettings, configuration: &Configuration, routes: &Routes) -> Outfit {
    let folder = match task.program {
        // It is where the worker is, as any handler in Rust.
        Some(Program::Own) => PathBuf::new(),
        _ => configuration.settings().folder.clone(),
    };
    Outfit {
        folder,
        limit: task.run_limit,
        limits: Limits {
            memory: task.memory_limit,
            address_space: task.address_space_limit,
            cpu: task.cpu_limit.map(|time| time.as_secs()),
            open_files: task.open_files_limit,
            file_size: task.file_size_limit,
        },
        most_tasks: task.max_tasks_per_child,
        most_age: task.max_age_per_child,
        most_memory: task.max_memory_per_child,
        routes: Arc::clone(routes),
        name: name.clone(),
    }
}

fn handler(
    app: &App,
    task: &TaskSettings,
    program: &Program,
    outfit: Outfit,
    configuration: &Configuration,
    children: &Children,
) -> Result<Arc<dyn Handler>> {
    let (name, folder) = (outfit.name.clone(), outfit.folder.clone());
    let wrong = |key: &str, why: String| configuration.wrong(&["tasks", name.as_str(), key], &why);
    let one_a_core = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let processes = task.processes.unwrap_or_else(one_a_core);
    let pool = |outfit, start| Arc::new(Pool::new(children, outfit, start, processes, Arc::clone(&app.news)));
    Ok(match program {
        Program::Command(words) => {
            let template = Template::parse(words).map_err(|why| wrong("command", why))?;
            find(&words[0], &folder).map_err(|why| wrong("command", why))?;
            Arc::new(Command::new(children, outfit, template, processes))
        }
        Program::Process(words) => {
            find(&words[0], &folder).map_err(|why| wrong("process", why))?;
            pool(outfit, Start::Program(words.iter().map(Into::into).collect()))
        }
        Program::Own if app.handlers.contains_key(&name) => pool(outfit, Start::Own(name)),
        Program::Own => {
            let why = "this program has no handler of that name; for one in another language, write the program and its \
                       arguments, [\"python3\", \"resize.py\"]";
            return Err(wrong("process", why.to_owned()));
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
