//! `sandbar up`: start (or adopt) the cluster and wait until it is ready.

use std::path::PathBuf;
use std::time::Duration;

use super::output::{self, Phases};
use super::wait::Bound;
use super::{spawn, wait};
use crate::doctor;
use crate::exit::{Exit, Failure, Outcome};
use crate::k3s::args;
use crate::rules::observed::ObservedDocument;
use crate::supervisor::claim::{self, Claim};
use crate::supervisor::client::{self, ClientError, View};
use crate::supervisor::control::Options;
use crate::supervisor::flags::Mode;
use crate::supervisor::k3s_config::{ConfigFile, Places};
use crate::supervisor::lock::{LockError, Role};
use crate::supervisor::paths::{Component, Paths};
use crate::supervisor::{preflight, shutdown, status};

/// Flags of `sandbar up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    start: Start,
    /// Image archives, or directories of them, for the node: imported when k3s starts, or now if it runs already.
    #[arg(long, value_name = "FILE|DIR")]
    images: Vec<PathBuf>,
    /// How long to wait until all is ready.
    #[arg(long, default_value = "180s", value_parser = output::duration)]
    timeout: Duration,
    #[command(flatten)]
    paths: Paths,
    /// Flags for `k3s server`; they win over SandboxConfigs and k3s's configuration file.
    #[arg(last = true, value_name = "K3S FLAGS")]
    k3s_flags: Vec<String>,
}

/// What `up` and `supervise` have in common.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Which parts of k3s to run.
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeArg,
    /// SandboxConfig files to start with (several documents per file are fine).
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Start with the built-in profile alone: saved settings are ignored, and the cluster's held until `sandbar restart`.
    #[arg(long)]
    pub safe: bool,
    /// The k3s executable [default: $SANDBAR_K3S, then k3s on PATH or in sandbar's cache, then a download]
    #[arg(long, value_name = "PATH")]
    pub k3s: Option<PathBuf>,
    /// Version of k3s to fetch if there is none.
    #[arg(long, value_name = "VERSION")]
    pub k3s_version: Option<String>,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeArg {
    /// As at the last start; the first time control-plane.
    #[default]
    Auto,
    /// API server, controllers and scheduler; no kubelet.
    ControlPlane,
    /// A whole node with pods.
    Node,
}

impl Start {
    /// The options of a supervisor, all paths absolute; finds k3s, or fetches it.
    pub fn options(self, paths: &Paths, k3s_flags: Vec<String>) -> Result<Options, Failure> {
        let asked = self.asked(paths, k3s_flags)?;
        preflight::root()?;
        let mode = match asked.mode {
            Mode::ControlPlane => doctor::Mode::ControlPlane,
            Mode::Node => doctor::Mode::Node,
        };
        doctor::preflight(mode, &Places::of(&asked.k3s_flags, &ConfigFile::load(&asked.k3s_flags)).data)?;
        let found = super::k3s::locate(self.k3s.as_deref(), self.k3s_version.as_deref())?;
        Ok(Options { k3s: found.path, k3s_version: found.version, ..asked })
    }

    /// The same as `up` hands it to the daemon: it has checked the machine and found k3s.
    pub fn checked(self, paths: &Paths, k3s_flags: Vec<String>) -> Result<Options, Failure> {
        let asked = self.asked(paths, k3s_flags)?;
        let (k3s, k3s_version) = (self.k3s.unwrap_or_default(), self.k3s_version.unwrap_or_default());
        Ok(Options { k3s, k3s_version, ..asked })
    }

    /// The same without k3s.
    fn asked(&self, paths: &Paths, k3s_flags: Vec<String>) -> Result<Options, Failure> {
        let mode = match self.mode {
            ModeArg::Auto => {
                let last = std::fs::read_to_string(paths.mode()).unwrap_or_default();
                Mode::named(last.trim()).unwrap_or_default()
            }
            ModeArg::ControlPlane => Mode::ControlPlane,
            ModeArg::Node => Mode::Node,
        };
        let files: Result<Vec<PathBuf>, _> = self.files.iter().map(std::path::absolute).collect();
        let k3s_flags = args::absolute(&k3s_flags, &std::env::current_dir()?);
        Ok(Options { mode, files: files?, safe: self.safe, k3s_flags, ..Options::default() })
    }

    /// Whether anything but the executable and what is read at the start was asked for.
    fn asks_for_something(&self) -> bool {
        self.mode != ModeArg::Auto || self.safe
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    preflight::root()?;
    let paths = args.paths.absolute()?;
    let mut phases = Phases::new();
    let bound = Bound::new(args.timeout);
    // Before anything is started: a wrong name is told at once.
    let archives = super::image::archives(&args.images)?;
    match find(&paths, bound, &mut phases)? {
        Found::Running(view) => {
            adopt(args, &paths, &view, bound, &mut phases)?;
            if !archives.is_empty() {
                super::image::import(&archives, &paths)?;
            }
            next_command(&view)?;
        }
        Found::Nothing(claim) => start(claim, args, &archives, &paths, bound, &mut phases)?,
    }
    Ok(0)
}

/// What there is to begin with.
enum Found {
    /// A supervisor.
    Running(Box<View>),
    /// None, and the claim to start it.
    Nothing(Claim),
}

/// Looks for a supervisor. The claim is taken before anything else is done, and nobody starts a second one meanwhile: who
/// finds it taken waits for what the other one starts, or for its end.
fn find(paths: &Paths, bound: Bound, phases: &mut Phases) -> Result<Found, Failure> {
    let mut told = None;
    loop {
        match client::observe(paths) {
            Ok(view) => return Ok(Found::Running(Box::new(view))),
            Err(ClientError::NotRunning) => {}
            Err(other) => return Err(other.failure()),
        }
        match Claim::take(paths, Role::Up) {
            Ok(claim) => return Ok(Found::Nothing(claim)),
            Err(LockError::Held(holder)) => {
                if told.replace(holder.pid) != Some(holder.pid) {
                    phases.begin(&format!("Waiting: {holder}"));
                }
                bound.step(phases, "its supervisor, or its end")?;
            }
            Err(error) => return Err(claim::failure(error)),
        }
    }
}

/// A supervisor runs already: wait for it, and say if it was started with other flags.
fn adopt(args: Args, paths: &Paths, view: &View, bound: Bound, phases: &mut Phases) -> Result<(), Failure> {
    let running = &view.running;
    if args.start.safe && !running.options.safe {
        let message = format!(
            "--safe is about how to start, and sandbar runs already (supervisor pid {}); nothing was changed",
            running.pid
        );
        return Err(Failure::new(Exit::Failed, message).hint("sandbar down, then sandbar up --safe"));
    }
    phases.begin(&format!("Already running (supervisor pid {})", running.pid));
    for file in &args.start.files {
        std::fs::metadata(file)
            .map_err(|why| Failure::new(Exit::Failed, format!("{}: {why}", file.display())))?;
        phases.warn(&format!(
            "{0} is read when sandbar starts, and it runs already; now: kubectl apply -f {0}",
            file.display()
        ));
    }
    if args.start.asks_for_something() || !args.k3s_flags.is_empty() {
        let asked = args.start.asked(paths, args.k3s_flags)?;
        let Options { k3s, k3s_version, files, .. } = running.options.clone();
        let same = Options { k3s, k3s_version, files, ..asked };
        if same != running.options {
            let flags = running.options.k3s_flags.join(" ");
            phases.warn(&format!(
                "it was started with other flags, which stay in force (mode {}, k3s flags: {}); to change them: sandbar down, then sandbar up",
                running.options.mode.name(),
                if flags.is_empty() { "none" } else { &flags }
            ));
        }
    }
    wait::ready(paths, bound, phases)?;
    phases.done();
    Ok(())
}

fn start(
    claim: Claim,
    args: Args,
    archives: &[PathBuf],
    paths: &Paths,
    bound: Bound,
    phases: &mut Phases,
) -> Result<(), Failure> {
    phases.begin("Checking this machine");
    let options = args.start.options(paths, args.k3s_flags)?;
    let places = Places::of(&options.k3s_flags, &ConfigFile::load(&options.k3s_flags));
    preflight::directories(paths)?;
    shutdown::kill_left_over(paths);
    if let Err(taken) = preflight::ports(&places, &options.k3s_flags) {
        if !shutdown::await_dying() {
            return Err(taken);
        }
        preflight::ports(&places, &options.k3s_flags)?;
    }
    if !archives.is_empty() {
        super::image::keep(archives, &places.data)?;
    }
    phases.begin("Starting the supervisor");
    spawn::supervisor(claim, paths, &options)?;
    phases.begin("Starting k3s");
    let view = wait::until(paths, bound, phases, |document, _| {
        if document.k3s.phase == "Ready" || is_hopeless(document) {
            Ok(())
        } else {
            status::ready(document, 0)
        }
    })?;
    check_running(paths, &view, phases)?;
    phases.begin("Applying the SandboxConfig definition and the built-in profile");
    let view = wait::until(paths, bound, phases, |document, acknowledged| {
        if is_hopeless(document) { Ok(()) } else { status::ready(document, acknowledged) }
    })?;
    let document = check_running(paths, &view, phases)?;
    phases.done();
    wait::warn(&document, 0, phases);
    next_command(&view)
}

/// k3s has ended, and there is nothing to go back to: trying again for ever is the supervisor's business, not that of who waits.
fn is_hopeless(document: &ObservedDocument) -> bool {
    document.k3s.phase == "BackingOff" && !document.k3s.rules_on_trial
}

/// Fails if k3s has ended and there is nothing to go back to.
fn check_running(paths: &Paths, view: &View, phases: &mut Phases) -> Result<ObservedDocument, Failure> {
    let document = view.document().map_err(ClientError::failure)?;
    if !is_hopeless(&document) {
        return Ok(document);
    }
    phases.failed();
    Err(k3s_ended(paths, document.k3s.last_error.as_deref().unwrap_or_default()))
}

/// k3s ended before it was ever ready: show why, and leave nothing running.
fn k3s_ended(paths: &Paths, error: &str) -> Failure {
    let log = std::fs::read_to_string(paths.log(Component::K3s)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(10)..].join("\n  ");
    let mut message = format!("k3s exited: {error}\nits last lines:\n  {last}");
    // What cannot be stopped now is found by `sandbar down`.
    if let Err(failure) = super::down::stop(paths) {
        message = format!("{message}\nand the supervisor could not be stopped: {failure}");
    }
    let hint = format!(
        "the whole log: {}; without saved settings: sandbar up --safe",
        paths.log(Component::K3s).display()
    );
    Failure::new(Exit::K3sExited, message).hint(hint)
}

fn next_command(view: &View) -> Result<(), Failure> {
    output::text(&format!("export KUBECONFIG={}\nkubectl get ns", view.running.kubeconfig.display()))
}
