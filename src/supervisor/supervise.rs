//! The supervisor's one loop: events in, the state machine asked, its outputs carried out, the result published.

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;

use super::clock;
use super::control::Options;
use super::controller_keeper::ControllerKeeper;
use super::controller_process::News;
use super::fitness;
use super::flags::Mode;
use super::k3s_config::{self, ConfigFile, Places};
use super::k3s_process;
use super::last_good::{self, Saved, SavedRefusal};
use super::lifecycle::{Input, Lifecycle, Output, Phase};
use super::means;
use super::paths::Paths;
use super::plan::{self, Plan};
use super::pods;
use super::probe::{Change, Level, Prober, Target};
use super::process::{self, End, Running, SharedLog};
use super::record::Record;
use super::remedies::{Network, Remedies};
use super::rules_trial::{RulesTrial, Table};
use super::server::Order;
use super::shutdown;
use super::state::Reporter;
use super::status;
use crate::doctor::NodeAbilities;
use crate::intercept::Interceptor;
use crate::mounts::Mounts;
use crate::rules::model::DesiredDocument;
use crate::rules::observed::{RolledBack, Scalar, Traced};
use crate::rules::table::DesiredReader;

/// Longest sleep: a table whose bell was not rung is found this late.
const IDLE: Duration = Duration::from_secs(2);
/// How long the controller may take to end before it is killed with the rest.
const CONTROLLER_STOP: Duration = Duration::from_secs(3);
/// Nothing can be repaired from inside: what the namespace began with is gone, too.
const MOUNTS_LOST: &str = "the kernel has taken all mounts out of k3s's mount namespace, /proc among them (a fault of gVisor's: docs/node.md); \
                           nothing can go on in it: sandbar down, then sandbar up";

/// What the supervisor's threads tell its loop.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Event {
    Bell,
    Signal(Signal),
    Order(Order),
    Readiness(Change),
    Version(String),
    K3s { run: u64, end: End },
    Controller { run: u64, news: News },
}

/// The supervisor.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Supervisor {
    pub paths: Paths,
    pub options: Options,
    /// What is written down of the cluster.
    pub record: Record,
    pub interceptor: Interceptor,
    pub remedies: Remedies,
    pub mounts: Mounts,
    /// Who is traced.
    pub traced: Traced,
    /// Whether what `sandbar exec` starts is.
    pub commands_traced: Arc<AtomicBool>,
    pub reporter: Reporter,
    pub reader: DesiredReader,
    pub lifecycle: Lifecycle,
    pub prober: Prober,
    pub controller: ControllerKeeper,
    pub k3s_log: SharedLog,
    /// The table in force.
    pub in_force: DesiredDocument,
    /// Whether k3s can start with its rules.
    pub rules_trial: RulesTrial,
    /// What settings of a node can count on.
    pub kernel: NodeAbilities,
    /// Generation last taken or refused.
    pub seen: u64,
    /// Started with `--safe`, and not restarted since: what the cluster asks for is held back.
    pub held: bool,
    pub k3s: Option<Running>,
    pub k3s_runs: u64,
    pub events: Sender<Event>,
    pub received: Receiver<Event>,
    pub began: Instant,
    pub stopping: bool,
    pub done: bool,
    /// Whether the init system was told that we are ready.
    pub announced: bool,
    /// Whether our mount namespace is empty.
    pub mounts_lost: bool,
}

impl Supervisor {
    /// Runs until told to stop, then takes everything down.
    pub fn run(mut self) {
        self.guarded("the start", |this| {
            this.take_table();
            let outputs = this.lifecycle.handle(this.now(), Input::Begin);
            this.carry_out(outputs);
            this.settle();
        });
        while !self.done {
            match self.received.recv_timeout(self.patience()) {
                Ok(event) => self.guarded("an event", |this| this.handle(event)),
                Err(RecvTimeoutError::Timeout) => {}
                // We hold a sender ourselves.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.guarded("the time", |this| {
                this.take_table();
                this.tick();
                this.settle();
            });
        }
        self.end();
    }

    /// A panic in one step must not end the supervisor, and with it everything that it traces.
    fn guarded(&mut self, what: &str, step: impl FnOnce(&mut Self)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| step(self))).is_err() {
            self.reporter.event("SupervisorPanicked", format!("a bug in handling {what}; carrying on"));
        }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn patience(&self) -> Duration {
        let due = [self.lifecycle.deadline(), self.controller.deadline()].into_iter().flatten().min();
        due.map_or(IDLE, |due| due.saturating_sub(self.now())).min(IDLE)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Bell => {}
            Event::Signal(signal) => {
                tracing::info!("{signal}: stopping");
                self.stop();
            }
            Event::Order(Order::Down) => self.stop(),
            Event::Order(Order::Restart) => self.restart(),
            Event::Readiness(Change { run, level }) if self.is_current(run) => {
                // What is wrong with a node may be for a SandboxConfig to put right.
                if level != Level::Down {
                    self.controller.k3s_ready(self.now());
                }
                self.reporter.document.k3s.waiting_for = match &level {
                    Level::Api(why) => Some(why.clone()),
                    Level::Down | Level::Ready => None,
                };
                if level == Level::Ready {
                    self.rules_trial.ready(&self.in_force);
                }
                self.feed(Input::Ready(level == Level::Ready));
            }
            Event::Readiness(_) => {}
            Event::Version(version) => self.reporter.document.k3s.version = version,
            Event::K3s { run, end } if self.is_current(run) => {
                self.k3s = None;
                self.reporter.document.k3s.waiting_for = None;
                self.prober.set(None);
                self.k3s_ended(k3s_process::explain(&end));
            }
            Event::K3s { .. } => {}
            Event::Controller { run, news } => {
                if let News::Refused(refused) = &news {
                    self.reporter.refused(refused);
                }
                if let Some(end) = self.controller.take(self.now(), run, news)
                    && !self.stopping
                {
                    let how = k3s_process::explain(&end);
                    self.reporter.event("ControllerRestarted", format!("the controller ended: {how}"));
                }
            }
        }
    }

    fn is_current(&self, run: u64) -> bool {
        self.k3s.is_some_and(|k3s| k3s.run == run)
    }

    /// Gives the state machine an input and does what it says.
    pub fn feed(&mut self, input: Input) {
        let outputs = self.lifecycle.handle(self.now(), input);
        self.carry_out(outputs);
    }

    fn tick(&mut self) {
        if self.lifecycle.stays(self.now()) && self.rules_trial.stayed() {
            self.save();
        }
        self.feed(Input::Tick);
        if self.stopping {
            return;
        }
        self.look_for_mounts();
        if self.lifecycle.phase() == Phase::Starting {
            let plan = self.lifecycle.current().clone();
            self.remedies.while_starting(&plan);
        }
        if let Err(error) = self.controller.tick(self.now(), &self.interceptor) {
            self.reporter.event("ControllerNotStarted", error.to_string());
        }
    }

    /// Notices when they are gone; they never come back.
    pub fn look_for_mounts(&mut self) {
        if !self.mounts_lost && self.remedies.mounts_lost() {
            self.mounts_lost = true;
            self.reporter.event("MountsLost", MOUNTS_LOST);
        }
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut waiting: VecDeque<Output> = outputs.into();
        while let Some(output) = waiting.pop_front() {
            match output {
                Output::Launch(plan) => {
                    if let Err(error) = self.launch(&plan) {
                        waiting.extend(self.lifecycle.handle(self.now(), Input::Exited { error }));
                    }
                }
                Output::Terminate => {
                    self.k3s.iter().for_each(|k3s| process::signal(k3s.pid, Signal::SIGTERM))
                }
                Output::Kill => {
                    self.k3s.iter().for_each(|k3s| process::signal_group(k3s.pid, Signal::SIGKILL))
                }
                Output::Proven(plan) => {
                    self.reporter.note("K3sSettingsProven", flags_of(&plan).join(" "));
                    self.save();
                }
                Output::Report { reason, message, sources } => {
                    self.reporter.event_about(reason, message, sources);
                    if reason == "K3sSettingsRolledBack" {
                        self.save();
                    }
                }
                Output::Stopped => self.done = true,
            }
        }
    }

    fn launch(&mut self, plan: &Plan) -> Result<(), String> {
        self.look_for_mounts();
        if self.mounts_lost {
            return Err(MOUNTS_LOST.to_owned());
        }
        self.k3s_runs += 1;
        let run = self.k3s_runs;
        let events = self.events.clone();
        // The loop is gone only when nobody wants to know.
        let ended = move |end| drop(events.send(Event::K3s { run, end }));
        self.switch_means(plan);
        for old in self.remedies.rewires(plan) {
            self.rewire(old);
        }
        self.remedies.before_k3s(plan);
        self.rules_trial.started(self.table(plan));
        let launch = k3s_process::launch(&self.options.k3s, plan, &self.paths.bin(), &self.paths.run);
        let started = process::start(&self.interceptor, "k3s", launch, &self.k3s_log, run, ended);
        let running = started.map_err(|error| error.to_string())?;
        self.reporter.note("K3sStarted", format!("pid {}: {}", running.pid, flags_of(plan).join(" ")));
        self.reporter.document.k3s.started_at = Some(clock::now());
        self.k3s = Some(running);
        let args = flags_of(plan);
        let file = ConfigFile::load(&args);
        let node = (self.options.mode == Mode::Node).then(|| k3s_config::node_name(&args, &file));
        let port = Places::of(&args, &file).port;
        self.prober.set(Some(Target { run, port, node, since: Timestamp::now() }));
        self.find_version();
        Ok(())
    }

    /// Clears a former pod network: that of a supervisor that was killed, with its pods, or one whose pods are to come back in another.
    fn rewire(&mut self, old: Network) {
        let own = self.remedies.own();
        let cleared = match self.k3s_runs {
            1 => pods::clear(&self.interceptor, old, own).map(|()| {
                pods::forget_namespaces();
                ("PodNetworkCleared", "what was left of an earlier pod network is gone".to_owned())
            }),
            _ => pods::rewire(&self.interceptor, old, own).map(|ended| {
                (
                    "PodsRewired",
                    format!("another pod network: {ended} processes of pods ended, to be made anew"),
                )
            }),
        };
        let (reason, message) = match cleared {
            Ok(done) => {
                self.remedies.wired.cleared(old);
                done
            }
            Err(why) => ("PodNetworkClearFailed", why),
        };
        self.reporter.event(reason, message);
    }

    /// Beside the start, not before it, and not when it was just asked: it must not make the start longer. Asked again at
    /// each further start, since the file may be another by then.
    fn find_version(&mut self) {
        if self.k3s_runs == 1 && !self.options.k3s_version.is_empty() {
            self.reporter.document.k3s.version = self.options.k3s_version.clone();
            return;
        }
        let (interceptor, k3s, events) =
            (self.interceptor.clone(), self.options.k3s.clone(), self.events.clone());
        let find = move || {
            if let Some(version) = k3s_process::version(&interceptor, &k3s) {
                // As above.
                drop(events.send(Event::Version(version)));
            }
        };
        // Without a thread the version stays unknown.
        let _ = std::thread::Builder::new().name("version".into()).stack_size(128 << 10).spawn(find);
    }

    fn restart(&mut self) {
        let held = std::mem::take(&mut self.held);
        if held {
            self.reporter.event("SafeModeEnded", "the cluster's own settings are taken up again");
        }
        if self.rules_trial.forgive() || held {
            self.take_again();
        }
        self.reporter.note("RestartRequested", "sandbar restart");
        self.feed(Input::Restart);
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.controller.stop();
            self.feed(Input::Stop);
        }
    }

    /// The table in force as k3s has it with this plan.
    pub fn table(&self, plan: &Plan) -> Table {
        let interception = means::proven(plan, self.in_force.interception, |one| self.traced_under(one));
        let document = last_good::of(&self.in_force, plan, interception);
        Table { generation: self.reporter.document.applied, document }
    }

    /// Saves what is known to work. Before any settings were proven there is nothing worth to come back to, and what k3s suffers
    /// from when its mounts are gone proves nothing.
    pub fn save(&mut self) {
        let Some(proven) = self.lifecycle.proven().filter(|_| !self.held && !self.mounts_lost) else {
            return;
        };
        let rules = self.rules_trial.good_rules().to_vec();
        let document = DesiredDocument { rules, ..self.table(proven).document };
        // What cannot work is found out anew at each start.
        let rolled_back =
            self.lifecycle.refused().filter(|refused| refused.tried).map(|refused| SavedRefusal {
                generation: refused.plan.generation,
                args: flags_of(&refused.plan),
                settings: refused.plan.settings.clone(),
                traced: refused.plan.traced,
                node: refused.plan.node.clone(),
                error: refused.error.clone(),
            });
        let taken_back = self.rules_trial.distrusted().cloned();
        let saved = Saved::new(document, rolled_back, taken_back);
        if let Err(error) = saved.save(&self.paths.last_good()) {
            self.reporter.event("LastGoodNotSaved", error.to_string());
        }
    }

    /// Brings the observed document up to date and publishes it.
    fn settle(&mut self) {
        let lifecycle = &self.lifecycle;
        let document = &mut self.reporter.document;
        let k3s = &mut document.k3s;
        k3s.phase = phase_name(lifecycle.phase()).into();
        k3s.pid = self.k3s.map(|k3s| k3s.pid);
        k3s.args.clone_from(&lifecycle.current().args);
        k3s.restarts = lifecycle.restarts();
        k3s.last_error = lifecycle.last_error().map(str::to_owned);
        k3s.rules_on_trial = self.rules_trial.is_on(&self.in_force);
        if self.mounts_lost {
            k3s.waiting_for = Some(MOUNTS_LOST.to_owned());
        }
        k3s.restart_pending =
            lifecycle.pending().map(|pending| plan::difference(lifecycle.current(), pending));
        let current = lifecycle.current();
        k3s.coming = lifecycle.next().map(|next| next.news(current)).unwrap_or_default();
        // What runs now is not taken back: it is tried again.
        let refused = lifecycle.refused().filter(|refused| !refused.plan.same_start(current));
        k3s.rolled_back = refused.map(|refused| RolledBack {
            generation: refused.plan.generation,
            args: flags_of(&refused.plan),
            parts: refused.plan.news(current),
            error: refused.error.clone(),
            tried: refused.tried,
        });
        k3s.snapshotter =
            fitness::snapshotter(&current.args, &current.settings, self.options.mode, &self.kernel);
        document.controller = self.controller.state();
        document.remedies =
            means::effective(self.remedies.report(&self.in_force.remedies_off), &document.interceptor);
        if let Err(error) = self.reporter.publish() {
            tracing::error!("cannot publish the observed table: {error}");
        }
        self.announce();
    }

    /// Tells an init system that asked for it (`Type=notify`).
    fn announce(&mut self) {
        let acknowledged = self.reporter.observed().scalar(Scalar::Acknowledged);
        if self.announced || status::ready(&self.reporter.document, acknowledged).is_err() {
            return;
        }
        self.announced = true;
        if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
            // Abstract names (`@…`) are not supported by std's path API; systemd uses a path.
            let sent = UnixDatagram::unbound().and_then(|from| from.send_to(b"READY=1", socket));
            if let Err(error) = sent {
                tracing::warn!("cannot notify the init system: {error}");
            }
        }
    }

    fn end(&mut self) {
        let until = Instant::now() + CONTROLLER_STOP;
        while self.controller.runs() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            if let Ok(Event::Controller { run, news }) = self.received.recv_timeout(left) {
                self.controller.take(self.now(), run, news);
            }
        }
        let killed = shutdown::kill_descendants();
        self.mounts.clear();
        for network in self.remedies.wired.end() {
            match pods::clear(&self.interceptor, network, self.remedies.own()) {
                Ok(()) => self.remedies.wired.cleared(network),
                // It stays on record, for `down` and for the next start.
                Err(why) => self.reporter.event("PodNetworkClearFailed", why),
            }
        }
        // Without containers nothing was mounted for them.
        let unmounted = match self.options.mode {
            Mode::Node => {
                let unmounted = shutdown::unmount_left_over(&self.record.data);
                pods::forget_namespaces();
                unmounted
            }
            Mode::ControlPlane => 0,
        };
        if std::mem::take(&mut self.record.mounts_outside)
            && let Err(error) = self.record.save(&self.paths.record())
        {
            tracing::warn!("{error}");
        }
        self.reporter
            .note("SupervisorStopped", format!("{killed} left-over processes killed, {unmounted} unmounted"));
    }
}

fn flags_of(plan: &Plan) -> Vec<String> {
    super::flags::plain(&plan.args)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Stopped => "Stopped",
        Phase::Starting => "Starting",
        Phase::Ready => "Ready",
        Phase::Restarting => "Restarting",
        Phase::BackingOff => "BackingOff",
        Phase::Stopping => "Stopping",
    }
}
