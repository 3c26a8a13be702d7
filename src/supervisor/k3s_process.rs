//! k3s as a process: its environment, its version, and its own words for why it ended.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, FileError};
use super::flags;
use super::k3s_config::STARTED_IN;
use super::plan::Plan;
use super::process::End;
use crate::intercept::{Exited, Interceptor, Launch, Session};
use crate::k3s::version::parse;
use crate::rules::observed::Traced;

/// Marks what belongs to a supervisor, so that `down` finds it after the supervisor was killed.
pub const INSTANCE: &str = "SANDBAR_INSTANCE";
/// Program name under which sandbar answers k3s's search for CNI plugins.
pub const HOST_LOCAL: &str = "host-local";

/// What is asked of the tracer to start k3s.
pub fn launch(k3s: &Path, plan: &Plan, bin: &Path, instance: &Path) -> Launch {
    let mut argv = vec![k3s.as_os_str().to_owned()];
    argv.extend(flags::plain(&plan.args).into_iter().map(OsString::from));
    Launch {
        argv,
        env: environment(bin, instance),
        cwd: Some(PathBuf::from(STARTED_IN)),
        stdio: [None, None, None],
        inherit: Vec::new(),
        session: Session::New,
        traced: plan.traced == Traced::Everything,
    }
}

/// The user's environment, with our directory last on PATH.
fn environment(bin: &Path, instance: &Path) -> Vec<(OsString, OsString)> {
    let ours = |name: &OsStr| {
        name == "PATH" || name == "NOTIFY_SOCKET" || name.as_encoded_bytes().starts_with(b"SANDBAR_")
    };
    let mut variables: Vec<_> = env::vars_os().filter(|(name, _)| !ours(name)).collect();
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let searched = env::split_paths(&path).chain([bin.to_owned()]);
    variables.push(("PATH".into(), env::join_paths(searched).unwrap_or(path.clone())));
    variables.push((INSTANCE.into(), instance.into()));
    variables
}

/// Puts a `host-local` into `bin`: with a flannel backend k3s looks for that CNI plugin even where no pod will ever run.
pub fn supply_host_local(bin: &Path) -> Result<(), FileError> {
    files::private_directory(bin)?;
    let link = bin.join(HOST_LOCAL);
    let program = env::current_exe().map_err(FileError::on("find", Path::new("/proc/self/exe")))?;
    files::remove_if_there(&link)?;
    match symlink(program, &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(FileError::on("link", &link)(error))
        }
        _ => Ok(()),
    }
}

/// The version that `k3s --version` names.
pub fn version(interceptor: &Interceptor, k3s: &Path) -> Option<String> {
    let argv = [k3s.as_os_str().to_owned(), "--version".into()];
    let said = super::process::output(interceptor, &argv, Duration::from_secs(20))?;
    parse(&said).map(|found| found.version)
}

/// Why k3s ended, in one line.
pub fn explain(end: &End) -> String {
    let how = match end.status {
        Some(Exited::Code(code)) => format!("exit status {code}"),
        Some(Exited::Signal(signal)) => format!("killed by signal {signal}"),
        None => "lost by the tracer".to_owned(),
    };
    match own_error(&end.tail) {
        Some(error) => format!("{error} ({how})"),
        None => how,
    }
}

/// k3s's own error among the last lines that it wrote: the last fatal message, else a panic, else the last error.
fn own_error(tail: &[String]) -> Option<String> {
    let last = |wanted: fn(&str) -> Option<String>| tail.iter().rev().find_map(|line| wanted(line));
    last(fatal)
        .or_else(|| last(|line| line.starts_with("panic: ").then(|| line.to_owned())))
        .or_else(|| last(|line| line.contains("level=error").then(|| message(line))))
        .or_else(|| last(|line| line.strip_prefix("Error: ").map(str::to_owned)))
}

fn fatal(line: &str) -> Option<String> {
    if line.contains("level=fatal") {
        return Some(message(line));
    }
    // logrus on a terminal: `FATA[0000] message`.
    line.strip_prefix("FATA[").and_then(|rest| rest.split_once("] ")).map(|(_, text)| text.trim().to_owned())
}

/// The `msg="…"` of a logrus line.
fn message(line: &str) -> String {
    let Some((_, rest)) = line.split_once("msg=") else { return line.to_owned() };
    match serde_json::Deserializer::from_str(rest).into_iter::<String>().next() {
        Some(Ok(text)) => text,
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: Exited, lines: &[&str]) -> String {
        let tail = lines.iter().map(|line| (*line).to_owned()).collect();
        explain(&End { status: Some(status), tail })
    }

    #[test]
    fn the_reason_is_k3ss_own() {
        let fatal =
            r#"time="2025-01-01T00:00:00Z" level=fatal msg="flag provided but not defined: -no-such-flag""#;
        let error = r#"time="2025-01-01T00:00:00Z" level=error msg="a \"quoted\" word""#;
        for (lines, expected) in [
            (vec![error, fatal, "   --help"], "flag provided but not defined: -no-such-flag (exit status 1)"),
            (vec!["FATA[0000] starting kubernetes: boom"], "starting kubernetes: boom (exit status 1)"),
            (vec!["x", error], "a \"quoted\" word (exit status 1)"),
            (vec!["goroutine 1", "panic: nil map"], "panic: nil map (exit status 1)"),
            (vec!["only noise"], "exit status 1"),
        ] {
            assert_eq!(explained(Exited::Code(1), &lines), expected);
        }
        assert_eq!(explained(Exited::Signal(9), &[]), "killed by signal 9");
    }

    #[test]
    fn k3s_searches_our_directory_last_and_gets_none_of_our_variables() {
        let variables = environment(Path::new("/state/bin"), Path::new("/run/x"));
        let value =
            |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert!(value("PATH").unwrap().to_str().unwrap().ends_with(":/state/bin"));
        assert_eq!(value(INSTANCE).unwrap(), "/run/x");
        assert_eq!(
            variables.iter().filter(|(name, _)| name.to_str().unwrap().starts_with("SANDBAR_")).count(),
            1
        );
    }
}
