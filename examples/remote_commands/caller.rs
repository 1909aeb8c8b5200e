//! A caller: asks a front.

use std::{io::Write, net::SocketAddr, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::TcpStream,
};

use crate::{
    answer::{Answer, Ran, Request},
    wire,
};

#[derive(clap::Args)]
pub(crate) struct CallArgs {
    /// Where the front listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7007")]
    front: SocketAddr,

    /// What the command reads; - is what this program reads
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    input: Option<String>,

    /// How long to wait, where that is less than the front does
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,

    /// The command's name in the list
    name: String,

    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Exit codes for what is no end of a command. A shell has 128 and more for signals, and this is what `ssh` has.
const NOT_RUN: u8 = 255;

/// Asks once, and prints what the command printed.
pub(crate) async fn call(args: CallArgs) -> Result<ExitCode> {
    let input = match args.input {
        Some(text) if text == "-" => Some(std::io::read_to_string(std::io::stdin())?),
        input => input,
    };
    let request = Request { command: args.name, args: args.args, input, deadline_ms: args.deadline_ms };
    let mut caller = Caller::connect(args.front).await?;
    let (answer, stdout, stderr) = caller.ask(&request).await?;
    std::io::stdout().write_all(&stdout)?;
    std::io::stderr().write_all(&stderr)?;
    let code = match answer {
        Answer::Ran(Ran { exit_code: Some(code), .. }) => u8::try_from(code).unwrap_or(NOT_RUN),
        Answer::Ran(Ran { signal, .. }) => u8::try_from(128 + signal.unwrap_or_default()).unwrap_or(NOT_RUN),
        Answer::Refused(why) => said("refused", &why),
        Answer::Late(why) => said("late", &why),
        Answer::Failed(why) => said("failed", &why),
    };
    Ok(code.into())
}

fn said(what: &str, why: &str) -> u8 {
    eprintln!("{what}: {why}");
    NOT_RUN
}

/// A connection to a front.
pub(crate) struct Caller(BufReader<TcpStream>);

/// The longest head of an answer that is read.
const HEAD: usize = 64 << 10;

impl Caller {
    pub(crate) async fn connect(front: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(front).await;
        let stream = stream.with_context(|| format!("there is no front at {front}"))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and reads the whole answer: what became of it, stdout, stderr.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<(Answer, Vec<u8>, Vec<u8>)> {
        wire::say(&mut self.0, request).await.context("the front does not take the request")?;
        let Some(head) = wire::read(&mut self.0, HEAD).await? else { bail!("the front does not answer") };
        let answer: Answer = serde_json::from_slice(&head).context("that is no front")?;
        let (out, err) = match &answer {
            Answer::Ran(ran) => (ran.stdout, ran.stderr),
            _ => (0, 0),
        };
        Ok((answer, self.read(out).await?, self.read(err).await?))
    }

    async fn read(&mut self, bytes: u64) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        (&mut self.0).take(bytes).read_to_end(&mut output).await?;
        ensure!(output.len() as u64 == bytes, "the answer is cut off: {} of {bytes} bytes", output.len());
        Ok(output)
    }
}
