//! The supervisor from its start to its end: what is made in which order, and what is left behind (nothing).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::sys::eventfd::EventFd;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::claim::Claim;
use super::control::{Options, Running};
use super::controller_keeper::ControllerKeeper;
use super::controller_process::Handover;
use super::files;
use super::fitness;
use super::flags::Mode;
use super::initial::{self, Initial};
use super::k3s_config::{ConfigFile, Places};
use super::k3s_process;
use super::lifecycle::{Lifecycle, Refused, Timing};
use super::log::{MAX_BYTES, RotatingFile};
use super::logging;
use super::means;
use super::paths::{Component, Paths};
use super::plan::Plan;
use super::preflight;
use super::probe::Prober;
use super::record::Record;
use super::remedies::Remedies;
use super::rules_trial::RulesTrial;
use super::server::{self, Service};
use super::shutdown;
use super::sources;
use super::state::Reporter;
use super::supervise::{Event, Supervisor};
use crate::api::profiles::Environment;
use crate::doctor::{self, NodeAbilities, limits};
use crate::exit::{Exit, Failure};
use crate::intercept::{Backend, Interceptor, StartError};
use crate::mounts::{self, Mounts, namespace};
use crate::rules::model::{DesiredDocument, Interception};
use crate::rules::observed::{K3sArg, K3sState, Observed, ObservedDocument, Traced, create_observed};
use crate::rules::table::{DesiredReader, DesiredWriter, TableError, create_desired};
use crate::sys::shared;
use crate::sys::signal::Dispositions;

const AUDIT_BYTES: u64 = 4 << 20;

/// Runs the supervisor until it is told to stop, with the claim to be it. With `detached`, stdout and stderr are exchanged for the log as soon as
/// everything has begun: their end-of-file tells the starter so.
pub fn run(
    claim: Claim,
    paths: Paths,
    options: Options,
    backend: Backend,
    detached: bool,
) -> Result<(), Failure> {
    preflight::root()?;
    // As they were given to us, so that what we start gets them so.
    let inherited = Dispositions::current();
    let stop_signals = block_stop_signals()?;
    preflight::directories(&paths)?;
    shutdown::kill_left_over(&paths);
    // What a supervisor that was killed had created to mount on.
    mounts::sweep(&paths.run)?;
    let log = logging::start(&paths, !detached).map_err(log_failure)?;
    let started = boot(&paths, options, backend, (inherited, stop_signals))?;
    // After the trials of what can be done here, which are to see the limit that was given.
    if let Err(errno) = raise_open_files() {
        tracing::warn!("the limit of open descriptors stays as it was given: {errno}");
    }
    if detached {
        exchange_output(&log).map_err(log_failure)?;
    }
    tracing::info!(pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "supervisor is up");
    started.run();
    drop(claim);
    tracing::info!("supervisor has ended");
    Ok(())
}

fn log_failure(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the supervisor's log: {error}"))
}

/// Before any other thread exists, so that all inherit the mask and one alone receives them.
fn block_stop_signals() -> Result<SigSet, Failure> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(signals)
}

/// The network in user space has a descriptor for each connection of pods, and 1024, which many are given, are few for that.
fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

fn exchange_output(log: &Arc<Mutex<RotatingFile>>) -> io::Result<()> {
    let file = super::log::lock(log).descriptor()?;
    nix::unistd::dup2_stdout(&file)?;
    nix::unistd::dup2_stderr(&file)?;
    Ok(())
}

struct Tables {
    desired: OwnedFd,
    observed: OwnedFd,
}

/// The first generation; the writable mapping of the desired table ends with this function.
fn first_generation(document: &DesiredDocument) -> Result<Tables, TableError> {
    let tables = Tables { desired: create_desired()?, observed: create_observed()? };
    DesiredWriter::open(&tables.desired)?.publish(document)?;
    Ok(tables)
}

fn boot(
    paths: &Paths,
    options: Options,
    backend: Backend,
    (inherited, stop): (Dispositions, SigSet),
) -> Result<Supervisor, Failure> {
    nix::sys::prctl::set_child_subreaper(true)?;
    // While no rule has put anything over the kernel's own files.
    let environment = Environment::here();
    let initial = initial::choose(&options, &paths.last_good())?;
    let builtin = sources::builtin()?;
    // For an `up` that does not say which: the same cluster comes back.
    files::write_atomically(&paths.mode(), options.mode.name().as_bytes()).map_err(preflight::failure)?;
    let config = ConfigFile::load(&options.k3s_flags);
    let places = Places::of(&options.k3s_flags, &config);
    let mut remedies =
        Remedies::new(options.mode, places.data.clone(), paths.cni(), &initial.document.remedies_off);
    let limits = match options.mode {
        Mode::Node => limits::try_all(&doctor::environment().cgroups).observed(),
        Mode::ControlPlane => Vec::new(),
    };
    remedies.before_threads();
    let namespace = match options.mode {
        Mode::Node => remedies.private_mounts(),
        Mode::ControlPlane => namespace::enter().map_err(|error| error.to_string()),
    };
    let record = Record {
        data: places.data.clone(),
        kubeconfig: places.kubeconfig.clone(),
        mounts_outside: options.mode == Mode::Node && namespace.is_err(),
    };
    record.save(&paths.record()).map_err(preflight::failure)?;
    // Before the tracer collects children, and where k3s will have its mounts.
    let kernel = match options.mode {
        Mode::Node => NodeAbilities::try_in(&places.data),
        Mode::ControlPlane => NodeAbilities::default(),
    };
    let mounts = Mounts::new(paths.run.clone(), namespace);
    let traced = |interception| means::traced(interception, options.mode, mounts.usable());
    let tables = first_generation(&initial.document)?;
    // Where nothing was proven yet, rules are the built-in ones, and settings those that are asked for.
    let good = initial
        .proven
        .clone()
        .unwrap_or_else(|| DesiredDocument { rules: builtin.rules.clone(), ..initial.document.clone() });
    let (lifecycle, unfit) = lifecycle(&options, &initial, &builtin, &kernel, traced)?;
    let first = lifecycle.current().traced;
    let commands_traced = Arc::new(AtomicBool::new(first != Traced::Nothing));
    let observed = Observed::open(&tables.observed, true)?;
    let odd_procfs = remedies.wants_procfs_root();
    let interceptor = Interceptor::start_restoring(observed.clone(), backend, inherited, odd_procfs)
        .map_err(|error| match error {
            StartError::Unsupported(_) => {
                Failure::new(Exit::Unsupported, error.to_string()).hint("sandbar doctor")
            }
            StartError::Thread(_) => Failure::from(error),
        })?;
    // A node needs the real one, which k3s brings along.
    if options.mode == Mode::ControlPlane {
        k3s_process::supply_host_local(&paths.bin()).map_err(preflight::failure)?;
    }
    let (events, received) = mpsc::channel();
    let desired_bell = Arc::new(EventFd::new()?);
    let observed_bell = Arc::new(EventFd::new()?);
    let running = Running {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        options: options.clone(),
        kubeconfig: places.kubeconfig.clone(),
        data: places.data.clone(),
    };
    let service = Service {
        interceptor: interceptor.clone(),
        commands_traced: commands_traced.clone(),
        observed: shared::read_only(&tables.observed)?,
        running,
        order: Box::new({
            let events = events.clone();
            move |order| events.send(Event::Order(order)).is_ok()
        }),
    };
    server::start(server::bind(&paths.socket()).map_err(preflight::failure)?, service)?;
    listen(&events, stop, desired_bell.clone())?;
    let prober = Prober::start(places.kubeconfig.clone(), {
        let events = events.clone();
        // The loop outlives this thread's interest.
        move |change| drop(events.send(Event::Readiness(change)))
    })?;
    let open = |path: &Path, max| RotatingFile::open(path, max).map_err(log_failure);
    let document = ObservedDocument {
        supervisor: std::process::id(),
        mode: options.mode.name().into(),
        published: 1,
        interceptor: interceptor.state().clone(),
        limits,
        k3s: K3sState { phase: "Starting".into(), ..Default::default() },
        ..Default::default()
    };
    let mut reporter =
        Reporter::new(document, observed, observed_bell.clone(), open(&paths.audit(), AUDIT_BYTES)?);
    reporter.note("SupervisorStarted", format!("with {}", initial.origin));
    for why in initial.ignored.iter().chain(&unfit) {
        reporter.event("LastGoodIgnored", why.clone());
    }
    let handover = Handover {
        desired: tables.desired.try_clone()?,
        observed: tables.observed,
        desired_bell,
        observed_bell,
        kubeconfig: places.kubeconfig,
        paths: paths.clone(),
        options: options.clone(),
        environment,
        told_events: 0,
        log: Arc::new(Mutex::new(open(&paths.log(Component::Controller), MAX_BYTES)?)),
    };
    Ok(Supervisor {
        reader: DesiredReader::open(&tables.desired)?,
        controller: ControllerKeeper::new(handover, events.clone()),
        k3s_log: Arc::new(Mutex::new(open(&paths.log(Component::K3s), MAX_BYTES)?)),
        held: options.safe,
        paths: paths.clone(),
        options,
        record,
        interceptor,
        remedies,
        mounts,
        traced: first,
        commands_traced,
        reporter,
        lifecycle,
        prober,
        in_force: DesiredDocument::default(),
        rules_trial: RulesTrial::new(good, initial.distrusted),
        kernel,
        seen: 0,
        k3s: None,
        k3s_runs: 0,
        events,
        received,
        began: Instant::now(),
        stopping: false,
        done: false,
        announced: false,
        mounts_lost: false,
    })
}

/// With it, why it does not begin with the settings that were saved, if it does not.
fn lifecycle(
    options: &Options,
    initial: &Initial,
    builtin: &DesiredDocument,
    kernel: &NodeAbilities,
    traced: impl Fn(Interception) -> Traced,
) -> Result<(Lifecycle, Option<String>), Failure> {
    let plan = |generation, document: &DesiredDocument| -> Result<Plan, super::flags::FlagError> {
        let file = ConfigFile::load(&options.k3s_flags);
        let args = super::flags::build(document, &options.k3s_flags, options.mode, &file, kernel)?;
        Ok(Plan::new(generation, document, options.mode, args, traced(document.interception)))
    };
    let failed = |error: super::flags::FlagError| {
        Failure::new(Exit::Failed, error.to_string()).hint("sandbar up --safe")
    };
    let unfit = |plan: &Plan| fitness::refusal(&plan.args, options.mode, kernel);
    let mut first = plan(1, &initial.document).map_err(failed)?;
    let mut ignored = None;
    if let Some(why) = unfit(&first) {
        if !options.files.is_empty() {
            let hint = "sandbar doctor says what can work here";
            return Err(Failure::new(Exit::Unsupported, why).hint(hint));
        }
        // Saved where it could: a changed kernel must not lock anybody out. The cluster's own table gets the reason.
        let settings = DesiredDocument { k3s: builtin.k3s.clone(), ..initial.document.clone() };
        first = plan(1, &settings).map_err(failed)?;
        ignored = Some(format!("starting with the built-in profile's k3s settings: {why}"));
    }
    // Saved settings that do not go with today's flags, or today's kernel, are no way back.
    let proven = initial.proven.as_ref().and_then(|document| plan(0, document).ok());
    let proven = proven.filter(|plan| unfit(plan).is_none());
    let refused = initial.refused.as_ref().map(|saved| {
        let arg = |arg: &String| K3sArg { arg: arg.clone(), source: String::new() };
        let args = saved.args.iter().map(arg).collect();
        let plan = Plan {
            generation: saved.generation,
            settings: saved.settings.clone(),
            args,
            traced: saved.traced,
            traced_source: None,
            node: saved.node.clone(),
        };
        Refused { plan, error: saved.error.clone(), tried: true }
    });
    Ok((Lifecycle::new(Timing::default(), first, proven, refused), ignored))
}

/// The threads that turn signals and the desired bell into events.
fn listen(events: &Sender<Event>, stop: SigSet, bell: Arc<EventFd>) -> io::Result<()> {
    let thread = |name: &str| std::thread::Builder::new().name(name.into()).stack_size(64 << 10);
    let sender = events.clone();
    thread("signals").spawn(move || {
        while let Ok(signal) = stop.wait() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let sender = events.clone();
    thread("bell").spawn(move || {
        loop {
            match bell.read() {
                Err(nix::errno::Errno::EINTR) => {}
                // A controller that makes the shared descriptor non-blocking must not make us spin.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
                Ok(_) if sender.send(Event::Bell).is_err() => return,
                Ok(_) => {}
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys::spawn::{Spawn, fork};

    #[test]
    fn what_is_started_gets_the_limit_of_descriptors_that_was_given() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // By one: other tests run in this process.
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
        let given = Dispositions::current();
        raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let (output, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let spawn = Spawn {
            program: c"/bin/sh".into(),
            argv: vec![c"sh".into(), c"-c".into(), c"ulimit -Sn; ulimit -Hn".into()],
            env: Vec::new(),
            cwd: None,
            fds: vec![(write.as_raw_fd(), 1)],
            new_session: false,
            terminal: false,
            filter: None,
            signals: &given,
            probe: false,
        };
        let started = fork(&spawn).unwrap();
        let pid = nix::unistd::Pid::from_raw(started.pid);
        let _failed = started.release().unwrap();
        drop(write);
        let mut said = String::new();
        File::from(output).read_to_string(&mut said).unwrap();
        // Another test's thread may have waited for it.
        let _ = nix::sys::wait::waitpid(pid, None);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(said, format!("{}\n{hard}\n", hard - 1));
    }
}
