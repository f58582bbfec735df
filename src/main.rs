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
use tokio::signal::unix::{SignalKind, signal};

/// A gRPC storage-backend server for 1Fichier, and a client for it.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Print every setting and where it comes from, and every problem with them.
    CheckConfig(CheckArgs),
    /// Make, list and revoke the tokens of callers. A running server sees it.
    Token(TokenArgs),
    /// Run only the emulator of the 1Fichier API.
    Emulator(EmulatorArgs),
    #[command(flatten)]
    Client(ClientCommand),
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(logging.env_filter())
        .with_writer(std::io::stderr);
    match logging.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn parse() -> Cli {
    let command = with_variables(Cli::command())
        .mut_subcommand("serve", with_variables)
        .mut_subcommand("check-config", with_variables)
        .mut_subcommand("token", with_variables);
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// How long what runs on a thread of its own may hold the end up.
const END: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&[format!("cannot start threads: {error}")]),
    };
    let code = runtime.block_on(run());
    runtime.shutdown_timeout(END);
    code
}

async fn run() -> ExitCode {
    let cli = parse();
    let environment = Environment::of_process();
    let log = |log: LogArgs| {
        let logging = log.resolve(&environment);
        logging.map(|logging| log_to_stderr(&logging))
    };
    match cli.command {
        Command::Serve(args) => {
            let loaded = args.load(cli.log, &environment).await;
            log_to_stderr(&loaded.logging);
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            match loaded.config {
                Ok(config) => serve(config).await.unwrap_or_else(|error| fail(&[error])),
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

async fn serve(config: Config) -> Result<ExitCode, String> {
    let failed = |error: std::io::Error| format!("cannot wait for signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let server = Server::start(config).await?;
    // Whoever started the server may have closed stdout; that is their choice.
    let _ = writeln!(std::io::stdout(), "{}", server.ready_line());
    tracing::info!(addresses = ?server.addresses(), "listening");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(()) = hangup.recv() => server.reload(),
        }
    }
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        () = server.stop() => return Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::error!("stopped at once by a second signal; what was in work is cut off");
    Ok(ExitCode::FAILURE)
}
