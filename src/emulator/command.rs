//! The emulator as a command, for people and for tests in other languages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::control_http::merged;
use super::{AccountOptions, Behaviour, DEMO_API_KEY, Emulator, Limits, Offer, Options};

/// Options of the emulator command.
#[derive(Debug, Clone, clap::Args)]
pub struct EmulatorArgs {
    /// Address to listen on; loopback only. Port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Serve TLS under the service's real host names.
    #[arg(long)]
    pub tls: bool,
    /// Write the certificate authority to trust to this file (with --tls).
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca_out: Option<PathBuf>,
    /// API key of the account.
    #[arg(
        long,
        value_name = "KEY",
        env = "PLUTON_FICHIER_EMULATOR_API_KEY",
        default_value = DEMO_API_KEY,
        hide_env_values = true
    )]
    pub api_key: String,
    /// Keep file contents below this directory until the end.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Which limits to enforce.
    #[arg(long, value_enum, default_value_t = LimitsChoice::Documented)]
    pub limits: LimitsChoice,
    /// Serve /_control: calls, tree, requests, faults, switches.
    #[arg(long)]
    pub control: bool,
    /// Seconds until uploads and removals show in listings.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub index_delay: f64,
    /// Switches as a JSON object, for example '{"mkdir_existing":"duplicate"}'.
    #[arg(long, value_name = "JSON")]
    pub behaviour: Option<String>,
    /// How much the account may store, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000_000_000)]
    pub quota: u64,
    /// Make the account a free one, which cannot download.
    #[arg(long)]
    pub free: bool,
    /// Determines everything random.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// A set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LimitsChoice {
    /// As documented and observed.
    Documented,
    /// As documented, without tolerance for repeated listings.
    Strict,
    /// None.
    None,
}

impl From<LimitsChoice> for Limits {
    fn from(choice: LimitsChoice) -> Limits {
        match choice {
            LimitsChoice::Documented => Limits::documented(),
            LimitsChoice::Strict => Limits::strict(),
            LimitsChoice::None => Limits::none(),
        }
    }
}

impl EmulatorArgs {
    fn options(&self) -> Result<Options, String> {
        let mut behaviour = match &self.behaviour {
            Some(text) => merged(&Behaviour::default(), text.as_bytes())
                .map_err(|error| format!("--behaviour: {error}"))?,
            None => Behaviour::default(),
        };
        if self.index_delay != 0.0 {
            behaviour.index_delay = Duration::try_from_secs_f64(self.index_delay)
                .map_err(|error| format!("--index-delay: {error}"))?;
        }
        Ok(Options {
            listen: self.listen,
            tls: self.tls,
            data_dir: self.data_dir.clone(),
            accounts: vec![AccountOptions {
                api_keys: vec![self.api_key.clone()],
                offer: if self.free {
                    Offer::Free
                } else {
                    Offer::Premium
                },
                quota_bytes: self.quota,
                ..AccountOptions::default()
            }],
            limits: self.limits.into(),
            behaviour,
            seed: self.seed,
            control_endpoints: self.control,
            start_date: None,
        })
    }
}

/// Runs the emulator until it is interrupted. Prints one line of JSON when it is ready.
///
/// # Errors
///
/// A text for people, when it cannot be started.
pub async fn run(args: EmulatorArgs) -> Result<(), String> {
    let emulator = Emulator::start(args.options()?)
        .await
        .map_err(|error| format!("cannot start the emulator on {}: {error}", args.listen))?;
    if let (Some(file), Some(pem)) = (&args.ca_out, emulator.ca_pem()) {
        std::fs::write(file, pem)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    announce(&emulator).map_err(|error| format!("cannot write to stdout: {error}"))?;
    interrupted()
        .await
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    emulator.stop().await;
    Ok(())
}

/// The ready line, by which the starting process learns the port.
fn announce(emulator: &Emulator) -> std::io::Result<()> {
    use std::io::Write;
    let line = serde_json::json!({
        "ready": true,
        "address": emulator.address().to_string(),
        "api_url": emulator.api_url(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
