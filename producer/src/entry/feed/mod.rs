//! `producer feed`: a file of payloads on its way, each line once, however often the command is interrupted and repeated.
//!
//! One thread reads ahead ([`reading`]); here one call after the other sends what it read, so the lines keep their order in
//! the queue. The id of a task is made from the batch and the number of its line ([`source`]), so a line that was sent before
//! is answered `Exists`.

mod lines;
mod pace;
mod progress;
mod reading;
mod rejected;
mod sender;
mod source;
mod tally;

use std::{path::PathBuf, process::ExitCode};

use manyhands_broker::{BatchName, Error, ErrorKind, Result, capabilities::Ids};
use manyhands_cli::{
    BrokerArg, INTERRUPTED, LogArgs, REFUSED, block_on, note, report, session, start_logging, success,
};

pub use pace::Rate;

use self::{
    progress::Progress,
    rejected::Rejected,
    sender::{End, Sender},
    source::Source,
};
use super::target::Target;

/// Puts the lines of a file on a queue, each a JSON payload of one task
///
/// The same command again sends only what is missing: the id of a task is made from the task's name, the batch and the number of its line,
/// and ids are remembered by the queue until an hour after their task was settled (remember_ids), at most 1 000 000 of them. The batch is
/// the file as it is now (device, inode, size, time of its last change) unless it is named. It has nothing to do with the batches of
/// `send --batch`. Blank lines are passed over. Lines that are not JSON, not UTF-8 or over 1 MiB go to FILE.rejected, with their number
/// and the reason, and the rest is sent.
///
/// Exit code 0 when all lines are on the queue, 4 when some were rejected, 130 when it was interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the tasks, by which a worker finds the handler
    task: String,

    /// The file; - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,

    /// The queue  [default: as the configuration file says for this task, else default]
    #[arg(long)]
    queue: Option<String>,

    /// Send no more tasks than so many in so long: 100/s, 30/m or 500/h
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    rate: Option<Rate>,

    /// Name the lines, so that they can be fed again from standard input, or from another file
    #[arg(long, value_name = "NAME")]
    batch: Option<String>,

    /// Stop at the first bad line
    #[arg(long)]
    strict: bool,

    /// Where bad lines go  [default: FILE.rejected; of standard input BATCH.rejected or stdin.rejected]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,

    /// Print the last line as a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    broker: BrokerArg,

    #[command(flatten)]
    log: LogArgs,
}

/// Runs the command.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    start_logging(&args.log);
    block_on("feed", feed(&args)).unwrap_or_else(|error| report(&error, args.broker.text()))
}

async fn feed(args: &Args) -> Result<ExitCode> {
    let target = Target::of(&args.task, args.queue.as_deref(), args.broker.configuration()?)?;
    let batch = args.batch.as_deref().map(BatchName::new).transpose()?;
    let mut source = Source::open(&args.file, &target.name, batch.as_ref())?;
    let rejected = args.rejected.clone().unwrap_or_else(|| source.rejected.clone());
    if source.is(&rejected) {
        let message =
            format!("{} is the file that is fed: nothing can be rejected to it", rejected.display());
        return Err(Error::invalid("feed", message).advise("--rejected with another file"));
    }
    let (url, broker) = session(&args.broker).await?;
    let resumable = broker.capabilities().ids == Ids::Remembered;
    if !resumable {
        if batch.is_some() {
            let message = format!("{} remembers no ids, so lines cannot be named", broker.backend());
            return Err(Error::new(ErrorKind::Unsupported, "feed", message)
                .advise("leave --batch out, or use a local: or redis:// broker"));
        }
        source.batch = None;
        tell(
            args,
            &format!(
                "note: {} remembers no ids: if this is interrupted, feeding it again doubles what was sent",
                broker.backend()
            ),
        );
    }
    target.declare(&*broker).await?;
    let rejected = Rejected::new(rejected)?;
    let progress = Progress::start(source.size, !args.log.quiet);
    let mut sender = Sender::new(broker, target, source.batch, args.rate, rejected, progress)?;
    let reader = std::mem::replace(&mut source.reader, Box::new(std::io::empty()));
    let chunks = reading::start(reader, source.is_file(), args.strict)
        .map_err(|e| Error::new(ErrorKind::Internal, "feed", "no thread can be started").because(e))?;
    let end = sender.run(chunks, args.strict).await;
    let (tally, rejected) = sender.finish();
    tally.print(args.json, rejected.path(), matches!(end, Ok(End::Done)))?;
    if let Some(path) = rejected.path() {
        tell(args, &format!("note: rejected lines are in {}", path.display()));
    }
    if source.changed() {
        tell(
            args,
            &format!("note: {} changed while it was fed: fed again, all its lines are new", source.name),
        );
    }
    let how = again(&source, resumable);
    match end {
        Ok(End::Done) if rejected.count == 0 => Ok(success()),
        Ok(End::Done) => Ok(ExitCode::from(REFUSED)),
        Ok(End::Stopped { line, reason }) => {
            let message = format!("line {line} of {}: {reason}", source.name);
            let error = Error::invalid("feed", message).advise("mend the line, or leave --strict out");
            let _ = report(&error, Some(&url.to_string()));
            Ok(ExitCode::from(REFUSED))
        }
        Ok(End::Interrupted) => {
            tell(args, &format!("interrupted: {how}"));
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => {
            let first = error.advice().map(|advice| format!("{advice}; ")).unwrap_or_default();
            Err(error.advise(format!("{first}{how}")))
        }
    }
}

/// What can be done about lines that were not sent.
fn again(source: &Source, resumable: bool) -> String {
    if source.batch.is_some() {
        return "the same command again sends the rest, and nothing twice".to_owned();
    }
    let sent = "the lines that were sent would be sent again";
    if resumable {
        format!("{sent}, as {} has no name; with --batch NAME it could be resumed", source.name)
    } else {
        format!("{sent}, as the broker remembers no ids")
    }
}

fn tell(args: &Args, line: &str) {
    if !args.log.quiet {
        note(line);
    }
}
