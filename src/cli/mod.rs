//! The command line: one verb per file, dispatched here.

pub mod completion;
pub mod controller;
pub mod crd;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod host_local;
pub mod image;
pub mod k3s;
pub mod kubeconfig;
pub mod logs;
pub mod output;
pub mod pty;
pub mod restart;
pub mod rules;
pub mod run;
pub mod setup;
pub mod spawn;
pub mod status;
pub mod supervise;
pub mod up;
pub mod wait;

use crate::exit::Outcome;

/// Kubernetes, whole, where the kernel is only pretended.
#[derive(Debug, clap::Parser)]
#[command(name = "sandbar", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Start (or adopt) the cluster and wait until it is ready.
    Up(up::Args),
    /// Stop everything that sandbar started.
    Down(down::Args),
    /// Health of k3s, controller and interceptor.
    Status(status::Args),
    /// What this environment is, what k3s needs that it lacks, and what sandbar does about it.
    Doctor(doctor::Args),
    /// The rules in force, with hit counters.
    Rules(rules::Args),
    /// Run a command under a private interceptor, no cluster.
    Run(run::Args),
    /// Run a command in the running supervisor's view.
    Exec(exec::Args),
    /// Container images without a registry.
    Image(image::Args),
    /// Show a component's log.
    Logs(logs::Args),
    /// Restart k3s, taking up settings that wait for it.
    Restart(restart::Args),
    /// Print the kubeconfig, or merge it.
    Kubeconfig(kubeconfig::Args),
    /// Print the CustomResourceDefinition.
    Crd(crd::Args),
    /// Print a shell completion script.
    Completion(completion::Args),
    /// The supervisor daemon, as `up` starts it.
    Supervise(supervise::Args),
    /// The controller daemon, as the supervisor starts it.
    Controller(controller::Args),
    /// Check and install the tools that the workflow needs.
    Setup(setup::Args),
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> Outcome {
        match self {
            Self::Up(args) => up::run(args),
            Self::Down(args) => down::run(args),
            Self::Status(args) => status::run(args),
            Self::Doctor(args) => doctor::run(args),
            Self::Rules(args) => rules::run(args),
            Self::Run(args) => run::run(args),
            Self::Exec(args) => exec::run(args),
            Self::Image(args) => image::run(args),
            Self::Logs(args) => logs::run(args),
            Self::Restart(args) => restart::run(args),
            Self::Kubeconfig(args) => kubeconfig::run(args),
            Self::Crd(args) => crd::run(args),
            Self::Completion(args) => completion::run(args),
            Self::Supervise(args) => supervise::run(args),
            Self::Controller(args) => controller::run(args),
            Self::Setup(args) => setup::run(args),
        }
    }
}
