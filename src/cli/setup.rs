//! `sandbar setup`: check and install the tools that the workflow needs; write session-start hooks.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, Outcome};
use crate::fetch::{Fetcher, progress};
use crate::k3s::Places;
use crate::setup::catalog::{self, TOOLS, Tool};
use crate::setup::hook::{self, Change, Flavour};
use crate::setup::{self, Installer};

/// Flags of `sandbar setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only check, install nothing. Exit code 1 if something lacks.
    #[arg(long)]
    check: bool,
    /// Provide this tool too (repeatable); `--with list` shows what there is.
    #[arg(long = "with", value_name = "NAME")]
    with: Vec<String>,
    /// Provide this tool and no other (repeatable).
    #[arg(long, value_name = "NAME", conflicts_with = "with")]
    only: Vec<String>,
    /// Where programs go.
    #[arg(long, default_value = "/usr/local/bin", value_name = "DIR")]
    prefix: PathBuf,
    /// Write the hook that starts a cluster with every session, instead of installing tools.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "auto", value_name = "KIND")]
    session_hook: Option<Flavour>,
    /// The project that the hook is for; default: the repository around the current directory.
    #[arg(long, value_name = "DIR", requires = "session_hook")]
    project: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    if let Some(flavour) = args.session_hook {
        return session_hook(flavour, args.project);
    }
    if args.with.iter().any(|name| name == "list") {
        for tool in TOOLS {
            println!("{:12} {}{}", tool.name, tool.purpose, if tool.default { " (by default)" } else { "" });
        }
        return Ok(0);
    }
    let tools = choose(&args.with, &args.only)?;
    let prefix = std::path::absolute(&args.prefix)?;
    let mirror = std::env::var("SANDBAR_MIRROR").ok().filter(|base| !base.is_empty());
    let installer = Installer { places: Places::from_env(), prefix, mirror, fetcher: Fetcher::default() };
    let mut progress = progress::auto();
    let mut lacking = Vec::new();
    for tool in tools {
        match setup::provide(&installer, tool, args.check, progress.as_mut()) {
            setup::Outcome::Found(present) => say("√", tool, &describe(&present)),
            setup::Outcome::Installed(how, present) => {
                say("√", tool, &format!("{}, {how}", describe(&present)))
            }
            setup::Outcome::Lacking(failures) => {
                say("×", tool, &format!("missing ({})", tool.purpose));
                for failure in &failures {
                    println!("    {failure}");
                    failure.hint().into_iter().for_each(|hint| println!("    hint: {hint}"));
                }
                lacking.push(tool.name);
            }
        }
    }
    if lacking.is_empty() {
        return Ok(0);
    }
    let list = lacking.join(", ");
    Err(if args.check {
        Failure::new(Exit::Failed, format!("missing: {list}")).hint("sandbar setup")
    } else {
        Failure::new(Exit::Failed, format!("could not be installed: {list}")).hint(
            "sandbar doctor shows what can be reached; SANDBAR_MIRROR names a mirror; --prefix another place",
        )
    })
}

fn choose(with: &[String], only: &[String]) -> Result<Vec<&'static Tool>, Failure> {
    let mut tools: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.default && only.is_empty()).collect();
    for name in with.iter().chain(only) {
        let tool = catalog::find(name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("setup knows no tool {name:?}"))
                .hint("sandbar setup --with list")
        })?;
        if !tools.iter().any(|have| have.name == tool.name) {
            tools.push(tool);
        }
    }
    Ok(tools)
}

fn describe(present: &setup::Present) -> String {
    let version = if present.version.is_empty() { String::new() } else { format!(": {}", present.version) };
    format!("{}{version}", present.path.display())
}

fn say(symbol: &str, tool: &Tool, what: &str) {
    println!("{symbol} {}: {what}", tool.name);
}

fn session_hook(flavour: Flavour, project: Option<PathBuf>) -> Outcome {
    let project = match project {
        Some(dir) => dir,
        None => repository(&std::env::current_dir()?),
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let root = nix::unistd::geteuid().is_root();
    let changes = hook::write(flavour, &project, home.as_deref(), root).map_err(|error| {
        let hint = match error {
            hook::Error::Malformed { .. } | hook::Error::Unexpected { .. } => {
                "correct the file and try again"
            }
            _ => "check that the directory can be written",
        };
        Failure::new(Exit::Failed, error.to_string()).hint(hint)
    })?;
    for change in changes {
        let (word, path) = match &change {
            Change::Created(path) => ("written", path),
            Change::Changed(path) => ("changed", path),
            Change::Kept(path) => ("already as it should be", path),
        };
        println!("√ {}: {word}", path.display());
    }
    Ok(0)
}

/// The nearest directory above that holds a repository, or `dir` itself.
fn repository(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_chosen_by_name() {
        let names = |with: &[&str], only: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            choose(&owned(with), &owned(only))
                .map(|tools| tools.iter().map(|tool| tool.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[], &[]).unwrap(), ["kubectl", "helm", "cni-plugins"]);
        assert_eq!(names(&["jq", "helm"], &[]).unwrap(), ["kubectl", "helm", "cni-plugins", "jq"]);
        assert_eq!(names(&[], &["k3s"]).unwrap(), ["k3s"]);
        assert_eq!(names(&["emacs"], &[]).unwrap_err().exit, Exit::Usage);
    }
}
