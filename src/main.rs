//! The program: a server, a client for it, and an emulator.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use pluton_fichier::access::{self, TokenCommand};
use pluton_fichier::cli::{self, ClientCommand};
use pluton_fichier::config::{
    Config, Environment, Loaded, LogArgs, LogFormat, Logging, ServeArgs, StateArgs, with_variables,
};
use pluton_fichier::emulator::EmulatorArgs;
use pluton_fichier::server::Server;
use pluton_fichier::signals::Signals;
use pluton_fichier::spans;
#[cfg(feature = "otel")]
use pluton_fichier::telemetry::Telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// A gRPC storage-backend server for 1Fichier, and a client for it.
#[derive(Parser)]
#[command(version, about, max_term_width = 100, after_help = cli::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeCommand),
    /// Print every setting and where it comes from, and every problem with them.
    CheckConfig(CheckArgs),
    /// Make, list and revoke the tokens of callers. A running server sees it.
    Token(TokenArgs),
    /// Run only the emulator of the 1Fichier API.
    Emulator(EmulatorArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print a script that completes command lines, for a shell to read.
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of a command, for man to read: man -l FILE.
    Man {
        /// The command [default: the program]
        command: Option<String>,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
struct ServeCommand {
    #[command(subcommand)]
    face: Option<Face>,

    #[command(flatten)]
    args: ServeArgs,
}

#[derive(Subcommand)]
enum Face {
    /// Let restic reach a running server over standard input and output, in place of rclone:
    /// restic -o rclone.program=pluton-fichier -r rclone:REMOTE:PATH.
    Restic(cli::ResticArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Args)]
struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,

    #[command(flatten)]
    place: StateArgs,
}

fn log_to_stderr(logging: &Logging) {
    tracing_subscriber::registry().with(log(logging)).init();
}

/// Logs, and exports spans until what it returns is dropped. Whether they are
/// exported does not depend on what is logged.
#[cfg(feature = "otel")]
fn log_and_export(logging: &Logging) -> Option<Telemetry> {
    let (telemetry, problem) = match Telemetry::start(|name| std::env::var(name).ok()) {
        Ok(telemetry) => (telemetry, None),
        Err(problem) => (None, Some(problem)),
    };
    tracing_subscriber::registry()
        .with(telemetry.as_ref().map(Telemetry::layer))
        .with(log(logging))
        .init();
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
    telemetry
}

fn log<S>(logging: &Logging) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match logging.format {
        LogFormat::Text => layer
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let known = |metadata: &tracing::Metadata<'_>| metadata.target() != spans::TARGET;
    layer.with_filter(logging.env_filter().and(filter_fn(known)))
}

fn command() -> clap::Command {
    with_variables(Cli::command())
        .mut_subcommand("serve", with_variables)
        .mut_subcommand("check-config", with_variables)
        .mut_subcommand("token", with_variables)
}

fn parse() -> Cli {
    Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
}

fn completions(shell: clap_complete::Shell) -> Result<(), String> {
    let mut script = Vec::new();
    let mut command = command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

fn manual(name: Option<&str>) -> Result<(), String> {
    let mut command = command();
    // Gives the commands their full names.
    command.build();
    if let Some(name) = name {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| format!("there is no command {name:?}; see --help"))?;
        command = command.after_help(cli::EXIT_CODES);
    }
    let mut page = Vec::new();
    let title = command.get_bin_name().unwrap_or_default().replace(' ', "-");
    let written = clap_mangen::Man::new(command)
        .title(title)
        .render(&mut page);
    written.map_err(|error| format!("cannot write the page: {error}"))?;
    print(&page)
}

/// Whoever stops reading has what they wanted.
fn print(text: &[u8]) -> Result<(), String> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// How long what runs on a thread of its own may hold the end up.
const END: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = parse();
    // Before the first thread of the runtime: a server can be stopped from now on.
    let signals = match &cli.command {
        Command::Serve(ServeCommand { face: None, .. }) => match Signals::take_over() {
            Ok(signals) => Some(signals),
            Err(error) => return fail(&[format!("cannot wait for signals: {error}")]),
        },
        _ => None,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&[format!("cannot start threads: {error}")]),
    };
    let code = runtime.block_on(run(cli, signals));
    runtime.shutdown_timeout(END);
    code
}

async fn run(cli: Cli, signals: Option<Signals>) -> ExitCode {
    let environment = Environment::of_process();
    let log = |args: LogArgs| {
        let logging = args.resolve(&environment);
        logging.map(|logging| log_to_stderr(&logging))
    };
    match cli.command {
        Command::Serve(ServeCommand {
            face: Some(Face::Restic(args)),
            ..
        }) => cli::serve_restic(&args).await,
        Command::Serve(ServeCommand { face: None, args }) => {
            let Some(mut signals) = signals else {
                return fail(&["a server cannot run without its signals".to_owned()]);
            };
            // A command may have to tell the password of rclone's configuration.
            let loaded = tokio::select! {
                loaded = args.load(cli.log, &environment) => loaded,
                () = signals.came(1) => return ExitCode::SUCCESS,
            };
            #[cfg(feature = "otel")]
            let _exported = log_and_export(&loaded.logging);
            #[cfg(not(feature = "otel"))]
            log_to_stderr(&loaded.logging);
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            match loaded.config {
                Ok(config) => serve(config, signals)
                    .await
                    .unwrap_or_else(|error| fail(&[error])),
                Err(problems) => fail(&problems),
            }
        }
        Command::CheckConfig(args) => {
            check_config(&args.serve.load(cli.log, &environment).await, args.json)
        }
        Command::Token(args) => tokens(args, &environment),
        Command::Emulator(args) => match log(cli.log) {
            Ok(()) => finish(pluton_fichier::emulator::run(args).await),
            Err(problem) => wrong_usage(&problem),
        },
        Command::Client(command) => match log(cli.log) {
            Ok(()) => cli::run(command).await,
            Err(problem) => wrong_usage(&problem),
        },
        Command::Completions { shell } => finish(completions(shell)),
        Command::Man { command } => finish(manual(command.as_deref())),
    }
}

fn tokens(args: TokenArgs, environment: &Environment) -> ExitCode {
    let printed = match args.place.resolve(environment) {
        Ok(state_dir) => access::run(&args.command, &state_dir),
        Err(problems) => return fail(&problems),
    };
    finish(printed.and_then(|text| {
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|error| format!("cannot write to standard output: {error}"))
    }))
}

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&[error]),
    }
}

fn fail(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    ExitCode::FAILURE
}

fn wrong_usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::from(2)
}

/// What is configured goes to stdout, what is wrong with it to stderr.
fn check_config(loaded: &Loaded, json: bool) -> ExitCode {
    let problems = loaded.config.as_ref().err().map_or(&[][..], Vec::as_slice);
    let mut out = std::io::stdout();
    // Whoever does not read it to the end still gets the exit code.
    if json {
        let _ = writeln!(out, "{}", loaded.report.to_json(problems, &loaded.warnings));
    } else {
        let _ = write!(out, "{}", loaded.report);
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
    }
    match problems {
        [] => ExitCode::SUCCESS,
        _ if json => ExitCode::FAILURE,
        _ => fail(problems),
    }
}

async fn serve(config: Config, mut signals: Signals) -> Result<ExitCode, String> {
    let failed = |error: std::io::Error| format!("cannot wait for signals: {error}");
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let server = Server::start(config).await?;
    // Whoever started the server may have closed stdout; that is their choice.
    let _ = writeln!(std::io::stdout(), "{}", server.ready_line());
    tracing::info!(addresses = ?server.addresses(), "listening");
    loop {
        tokio::select! {
            () = signals.came(1) => break,
            Some(()) = hangup.recv() => server.reload(),
        }
    }
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        () = server.stop() => return Ok(ExitCode::SUCCESS),
        () = signals.came(2) => {}
    }
    tracing::error!("stopped at once by a second signal; what was in work is cut off");
    Ok(ExitCode::FAILURE)
}
