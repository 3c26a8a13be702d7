//! `sandbar controller`: the controller daemon, as the supervisor starts it.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::api::SandboxConfig;
use crate::api::files;
use crate::api::profiles::{self, Environment};
use crate::controller::api::Objects;
use crate::controller::{self, Config, ControllerError, link};
use crate::exit::{Exit, Failure, Outcome};

/// Flags of `sandbar controller`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The administrator's kubeconfig; awaited if it is not there yet.
    #[arg(long, env = "KUBECONFIG", default_value = "/etc/rancher/k3s/k3s.yaml", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Name of this node [default: the host name, in lower case]
    #[arg(long, env = "SANDBAR_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(
        long,
        env = "SANDBAR_METRICS_ADDRESS",
        default_value = "127.0.0.1:9177",
        value_name = "ADDRESS:PORT"
    )]
    metrics_address: SocketAddr,
    /// SandboxConfig files to apply once, joined by `:`; `sandbar up -f` gives them.
    #[arg(long, env = "SANDBAR_CONFIG_FILES", value_name = "FILES", hide_short_help = true)]
    config_files: Option<OsString>,
    /// Whose built-in profiles are applied [default: found out]
    #[arg(long, env = "SANDBAR_ENVIRONMENT", value_enum, value_name = "NAME", hide_short_help = true)]
    environment: Option<Environment>,
    /// Sequence of the last of the supervisor's events that an earlier controller has told.
    #[arg(
        long,
        env = "SANDBAR_TOLD_EVENTS",
        default_value_t = 0,
        value_name = "SEQUENCE",
        hide_short_help = true
    )]
    told_events: u64,
    /// Serve no metrics and probes.
    #[arg(long)]
    no_metrics: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    log();
    let config = Config {
        kubeconfig: args.kubeconfig,
        node: args.node_name.map_or_else(host_name, Ok)?,
        address: (!args.no_metrics).then_some(args.metrics_address),
        objects: Objects {
            builtin: profiles::builtin(args.environment.unwrap_or_else(Environment::here))?,
            given: given(args.config_files.as_deref()),
        },
        told_events: args.told_events,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (tables, signals) = link::take().map_err(|error| {
            Failure::new(Exit::Usage, format!("the controller works for a supervisor: {error}"))
                .hint("sandbar up   (starts both)")
        })?;
        tokio::select! {
            outcome = controller::run(config, tables, signals) => outcome.map_err(Failure::from),
            stopped = stop_signal() => stopped.map_err(Failure::from),
        }
    })?;
    Ok(0)
}

/// The objects in `files`. One that has become unreadable since `up` keeps neither the others nor the controller back.
fn given(files: Option<&OsStr>) -> Vec<SandboxConfig> {
    let files = files.filter(|files| !files.is_empty());
    let load = |path| {
        files::load_files([path]).unwrap_or_else(|error| {
            tracing::warn!("left out: {error}");
            Vec::new()
        })
    };
    files.iter().flat_map(std::env::split_paths).flat_map(load).collect()
}

fn host_name() -> Result<String, ControllerError> {
    let name = nix::unistd::gethostname().map_err(|errno| ControllerError::HostName(errno.into()))?;
    Ok(name.to_string_lossy().to_lowercase())
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Lines for people on a terminal, JSON for machines; `RUST_LOG` chooses what.
fn log() {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { builder.compact().init() } else { builder.json().init() }
}
