//! `sandbar supervise`: the supervisor daemon, as `up` starts it, or an init system.

use crate::cli::up::Start;
use crate::exit::Outcome;
use crate::intercept::Backend;
use crate::supervisor::claim::{self, Claim};
use crate::supervisor::lock::Role;
use crate::supervisor::paths::Paths;
use crate::supervisor::{daemon, preflight};
use crate::sys;

/// Flags of `sandbar supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    start: Start,
    #[command(flatten)]
    paths: Paths,
    /// How calls are intercepted; `ptrace-syscall` is there for comparison.
    #[arg(long, value_enum, default_value_t, hide_short_help = true)]
    backend: Backend,
    /// Leave the session and the descriptors of whoever started us, take over the lock that is our stdin, and trust what it
    /// found. `sandbar up` uses it; an init system should not.
    #[arg(long, hide = true, requires = "k3s")]
    detach: bool,
    /// Flags for `k3s server`.
    #[arg(last = true, value_name = "K3S FLAGS")]
    k3s_flags: Vec<String>,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    if args.detach {
        // The first thing that happens here: nothing of ours is open yet.
        sys::daemon::close_inherited(3);
        // Fails for the leader of a process group, which `up` does not make us.
        nix::unistd::setsid()?;
    }
    preflight::root()?;
    let paths = args.paths.absolute()?;
    // Before what takes long: whoever looks finds that a supervisor is about to be there.
    let claim = match args.detach {
        true => Claim::take_over(&paths),
        false => Claim::take(&paths, Role::Supervisor),
    };
    let claim = claim.map_err(claim::failure)?;
    let options = match args.detach {
        true => args.start.checked(&paths, args.k3s_flags)?,
        false => args.start.options(&paths, args.k3s_flags)?,
    };
    // A daemon must not keep the file system of its start busy.
    std::env::set_current_dir("/")?;
    daemon::run(claim, paths, options, args.backend, args.detach)?;
    Ok(0)
}
