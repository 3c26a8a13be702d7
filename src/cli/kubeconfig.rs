//! `sandbar kubeconfig`: print k3s's kubeconfig, or merge it into the user's own.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::output;
use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::k3s_config::{ConfigFile, Places};
use crate::supervisor::kubeconfig::{CONTEXT, Text, merge};
use crate::supervisor::paths::Paths;
use crate::supervisor::{client, files, preflight};

/// Flags of `sandbar kubeconfig`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Merge it into ~/.kube/config (or the first file in $KUBECONFIG) as context `sandbar`.
    #[arg(long)]
    merge: bool,
    /// Make that the current context as well.
    #[arg(long, requires = "merge")]
    switch_context: bool,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let running = client::observe(&args.paths).map(|view| view.running.kubeconfig);
    let source = running.unwrap_or_else(|_| Places::of(&[], &ConfigFile::load(&[])).kubeconfig);
    let text = std::fs::read_to_string(&source).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("no kubeconfig at {}: k3s has not written it yet", source.display());
            Failure::new(Exit::NotRunning, message).hint("sandbar up")
        }
        ErrorKind::PermissionDenied => {
            Failure::new(Exit::Unsupported, format!("cannot read {}: {error}", source.display()))
                .hint("run this as root")
        }
        _ => Failure::new(Exit::Failed, format!("cannot read {}: {error}", source.display())),
    })?;
    if !args.merge {
        output::text(text.trim_end())?;
        return Ok(0);
    }
    let target = target()?;
    if target == source {
        return Err(Failure::new(Exit::Failed, format!("{} is k3s's own file", target.display()))
            .hint("unset KUBECONFIG"));
    }
    let existing = match std::fs::read_to_string(&target) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(files::FileError::on("read", &target)).map_err(preflight::failure)?,
    };
    let (mine, k3s) = (Text { path: &target, text: &existing }, Text { path: &source, text: &text });
    let merged = merge(mine, k3s, args.switch_context)?;
    if let Some(directory) = target.parent().filter(|directory| !directory.exists()) {
        files::private_directory(directory).map_err(preflight::failure)?;
    }
    files::write_atomically(&target, merged.as_bytes()).map_err(preflight::failure)?;
    eprintln!("merged into {} as context {CONTEXT}", target.display());
    output::text(&format!("kubectl --context {CONTEXT} get ns"))?;
    Ok(0)
}

/// Where kubectl itself would write; a symbolic link stays one.
fn target() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    let home = || std::env::home_dir().map(|home| home.join(".kube/config"));
    let target = named
        .or_else(home)
        .ok_or_else(|| Failure::new(Exit::Failed, "no home directory").hint("set KUBECONFIG"))?;
    std::fs::canonicalize(&target).or_else(|_| Ok(std::path::absolute(target)?))
}
