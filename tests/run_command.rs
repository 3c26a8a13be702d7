//! `sandbar run` as a command among others: its exit codes, what it leaves open, what outlives it, and what is left when one of
//! its processes is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{SANDBAR, guest, run, traced};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A traced shell. Signals are as by default, whoever runs the tests: under nohup, or as a job of a script, some come
/// ignored, sandbar passes that on as it must, and a shell cannot undo it.
fn shell(script: &str) -> Command {
    let plain = traced(None, "sh");
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(plain.get_program()).args(plain.get_args());
    command.args(["-c", script]);
    command
}

/// How the process in front ended.
fn end_of(front: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_for("the end of the command", || {
        status = front.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not happen within 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// As ps has it.
fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A command that prints its pid and runs on; the process in front, the command, and the tracing process between them.
fn running(script: &str) -> (Child, i32, i32) {
    let mut front = shell(&format!("echo $$; {script}")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let stdout = front.stdout.as_mut().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    let command: i32 = String::from_utf8(line).unwrap().parse().unwrap();
    let tracer = parent(command);
    assert_eq!(parent(tracer), front.id() as i32);
    (front, command, tracer)
}

#[test]
fn a_command_that_cannot_be_run_is_told_as_a_shell_tells_it() {
    for (program, code) in
        [("/no/such/program", 127), ("no-such-program", 127), ("/etc/passwd", 126), ("/tmp", 126)]
    {
        let ended = run(&mut traced(None, program));
        assert_eq!(ended.how, format!("exit {code}"), "{program}: {}", ended.stderr);
        assert!(ended.stderr.contains(program), "{}", ended.stderr);
    }
    // A name without a slash is looked up on PATH, never here.
    let ended = run(traced(None, "Cargo.toml").current_dir(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(ended.how, "exit 127");
    assert_eq!(run(Command::new(SANDBAR).args(["run", "--"])).how, "exit 2");
    assert_eq!(run(Command::new(SANDBAR).args(["run", "-f", "/no/such.yaml", "--", "true"])).how, "exit 2");
}

#[test]
fn a_script_without_a_shebang_runs_as_a_shell_would_run_it() {
    let path = common::build::directory().join("bare-script");
    common::build::write_if_changed(&path, b"exit 23\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    assert_eq!(run(&mut traced(None, path.to_str().unwrap())).how, "exit 23");
}

#[test]
fn pipes_end_when_the_command_closes_them() {
    let start = Instant::now();
    let mut front = shell("exec >&- 2>&-; sleep 3")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    front.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    front.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "stdout or stderr was still held by sandbar");
    assert!(end_of(&mut front).success());

    // A reader that goes away is noticed by the writer, and so on the other side.
    let mut front = shell("exec <&-; sleep 3").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = front.stdin.take().unwrap();
    wait_for("a broken pipe", || stdin.write_all(&[0; 4096]).is_err());
    kill(Pid::from_raw(front.id() as i32), Signal::SIGTERM).unwrap();
    end_of(&mut front);

    let mut front = traced(None, "cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    front.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let mut text = String::new();
    front.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), end_of(&mut front).success()), ("through\n", true));
}

#[test]
fn a_daemon_outlives_its_parent_and_keeps_its_rules() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("said");
    let script = format!(
        "(sleep 0.5; cat /proc/sys/kernel/sandbar_fake >{0}.new; mv {0}.new {0}) </dev/null >/dev/null 2>&1 &",
        file.display()
    );
    let mut command = traced(Some(common::answers::RULES), "sh");
    let start = Instant::now();
    assert!(command.args(["-c", &script]).status().unwrap().success());
    assert!(start.elapsed() < Duration::from_millis(450), "sandbar waited for the daemon");
    wait_for("the daemon's word", || file.exists());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "fake\n");
}

#[test]
fn signals_reach_the_command_and_its_end_is_ours() {
    for (signal, script, expected) in [
        (Signal::SIGTERM, "trap 'exit 5' TERM; while :; do sleep 0.05; done", "exit 5"),
        (Signal::SIGINT, "trap 'exit 6' INT; while :; do sleep 0.05; done", "exit 6"),
        (Signal::SIGUSR1, "while :; do sleep 0.05; done", "signal 10"),
        (Signal::SIGHUP, "while :; do sleep 0.05; done", "signal 1"),
    ] {
        let (mut front, _, tracer) = running(script);
        std::thread::sleep(Duration::from_millis(50)); // for the trap to be set
        kill(Pid::from_raw(front.id() as i32), signal).unwrap();
        assert_eq!(common::process::describe(end_of(&mut front)), expected, "{signal}");
        wait_for("the end of the tracing process", || !alive(tracer));
    }
}

#[test]
fn a_signal_that_comes_before_the_command_is_not_lost() {
    for wait in [0, 1, 2, 3, 5, 8] {
        let mut front = shell("sleep 20").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        kill(Pid::from_raw(front.id() as i32), Signal::SIGTERM).unwrap();
        let start = Instant::now();
        end_of(&mut front);
        assert!(start.elapsed() < Duration::from_secs(5), "SIGTERM after {wait} ms was lost");
    }
}

#[test]
fn a_signal_to_the_group_may_arrive_twice() {
    use std::os::unix::process::CommandExt;
    let script = "n=0; trap 'n=$((n+1))' USR1; echo ready; i=0; while [ $i -lt 10 ]; do sleep 0.05; i=$((i+1)); done; echo $n";
    let mut front = shell(script).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut stdout = front.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    // `sleep` dies of it, which the script does not mind.
    nix::sys::signal::killpg(Pid::from_raw(front.id() as i32), Signal::SIGUSR1).unwrap();
    let mut count = String::new();
    stdout.read_to_string(&mut count).unwrap();
    end_of(&mut front);
    assert!(count.trim() == "2" || count.trim() == "1", "{count}");
}

#[test]
fn stops_do_not_pass_through_the_process_in_front() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("steps");
    let (mut front, command, _) =
        running(&format!("while :; do echo step >>{}; sleep 0.01; done", file.display()));
    let steps = || std::fs::metadata(&file).map_or(0, |found| found.len());
    let in_front = Pid::from_raw(front.id() as i32);
    kill(in_front, Signal::SIGSTOP).unwrap();
    wait_for("the stop", || state(in_front.as_raw()) == 'T');
    let before = steps();
    wait_for("a step of the command meanwhile", || steps() > before + 10);
    kill(in_front, Signal::SIGCONT).unwrap();
    kill(Pid::from_raw(command), Signal::SIGSTOP).unwrap();
    let mut last = steps();
    wait_for("the command's stop", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut last, steps()) == last
    });
    assert_eq!(state(in_front.as_raw()), 'S');
    kill(Pid::from_raw(command), Signal::SIGKILL).unwrap();
    end_of(&mut front);
}

#[test]
fn closed_standard_descriptors_become_dev_null() {
    let script = "exec 3>&1 <&- >&- 2>&-; exec \"$@\"";
    let list = "readlink /proc/self/fd/0 /proc/self/fd/2 >&3";
    let ended = run(Command::new("sh").args(["-c", script, "sh", SANDBAR, "run", "--", "sh", "-c", list]));
    assert_eq!(ended.stdout, "/dev/null\n/dev/null\n");
}

#[test]
fn nothing_runs_on_when_the_front_is_killed() {
    let (mut front, command, tracer) = running("while :; do sleep 0.05; done");
    front.kill().unwrap();
    end_of(&mut front);
    wait_for("the end of the command", || !alive(command));
    wait_for("the end of the tracing process", || !alive(tracer));
}

#[test]
fn nothing_runs_on_when_the_tracing_process_is_killed() {
    let (mut front, command, tracer) = running("sleep 300 & while :; do sleep 0.05; done");
    kill(Pid::from_raw(tracer), Signal::SIGKILL).unwrap();
    assert_eq!(common::process::describe(end_of(&mut front)), "signal 9");
    wait_for("the end of the command", || !alive(command));
    wait_for("the end of its children", || !run(Command::new("pgrep").args(["-f", "^sleep 300$"])).ok());
}

#[test]
fn descriptors_pass_through_and_ours_do_not() {
    // 5 and 9 are given; whatever else sandbar opens must not show.
    let script = "exec 5</dev/null 9>/dev/null; exec \"$@\"";
    let list = |program: &[&str]| {
        let mut command = Command::new("sh");
        run(command.args(["-c", script, "sh"]).args(program).args([guest("fds").as_str(), "list"]))
    };
    let plain = list(&["env"]);
    assert!(plain.stdout.contains("came through: 5\ncame through: 9\n"), "{}", plain.stdout);
    assert_eq!(list(&[SANDBAR, "run", "--"]), plain);
}

#[test]
fn a_descriptor_whose_close_waits_does_not_keep_the_command_from_running() {
    if !common::needs_root("a_descriptor_whose_close_waits_does_not_keep_the_command_from_running") {
        return;
    }
    let ended =
        run(Command::new(guest("fuse")).args(["silent", SANDBAR, "run", "--", "/bin/echo", "served"]));
    assert!(ended.ok(), "{ended:?}");
}

#[test]
fn memory_stays_flat_through_a_fork_storm() {
    let seconds = std::env::var("SANDBAR_TEST_STORM_SECONDS").unwrap_or("4".to_owned());
    let mut command = traced(None, "sh");
    command.args(["-c", "echo $$; exec \"$0\" \"$1\"", &guest("forkstorm"), &seconds]);
    let mut front = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = front.stdout.take().unwrap();
    let mut first = [0; 16];
    let length = stdout.read(&mut first).unwrap();
    let pid: i32 = String::from_utf8_lossy(&first[..length]).trim().parse().unwrap();
    let tracer = parent(pid);
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{tracer}/statm")).unwrap_or_default();
        statm.split_whitespace().nth(1).map_or(0, |pages| pages.parse::<u64>().unwrap() * 4)
    };
    std::thread::sleep(Duration::from_secs(1));
    let early = resident();
    let mut late = early;
    while front.try_wait().unwrap().is_none() {
        late = resident().max(if alive(tracer) { 0 } else { late });
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("tracing process: {early} KiB after one second, {late} KiB after {seconds} s");
    assert!(end_of(&mut front).success());
    assert!(early > 0 && late < early + 1024, "{early} KiB grew to {late} KiB");
}

#[test]
fn where_nothing_can_be_traced_it_is_told_at_once() {
    // A process has one tracer only, and this one has it already.
    let mut inner = Command::new(SANDBAR);
    inner.args(["run", "--", "echo", "nested"]);
    let line: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    let mut outer = traced(None, "timeout");
    let ended = run(outer.args(["-k", "1", "20"]).args(line));
    let said = ended.stderr.contains("PTRACE_SEIZE") && ended.stderr.contains("sandbar doctor");
    assert!(said && ended.how.contains('5') && ended.stdout.is_empty(), "{}: {}", ended.how, ended.stderr);
}

#[test]
fn a_background_process_is_not_lost_when_its_parent_ends_at_once() {
    let out = tempfile::tempdir().unwrap();
    let rounds = 200;
    for round in 0..rounds {
        let script = format!("(echo here >{}/{round}) & exit 0", out.path().display());
        assert!(shell(&script).stdin(Stdio::null()).status().unwrap().success());
    }
    wait_for("the word of every background process", || {
        std::fs::read_dir(out.path()).unwrap().count() == rounds
    });
}
