//! Other programs, run with a bound on time and output: a tool that hangs must not hang us.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// More than this is not kept.
const MOST_OUTPUT: usize = 256 << 10;

/// What a program did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ran {
    /// The first line that is not empty, of stdout, or of stderr if there is none.
    pub fn first_line(&self) -> &str {
        let mut lines = self.stdout.lines().chain(self.stderr.lines()).map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// The last line of stderr (or stdout) that is not empty: where programs say what went wrong.
    pub fn last_line(&self) -> &str {
        let mut lines = self.stderr.lines().rev().chain(self.stdout.lines().rev()).map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// Runs a command to its end, without stdin, or kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Ran> {
    run_from(command, Stdio::null(), limit)
}

/// The same with `input` on stdin: a file, since a program that does not read a pipe would hold us up.
pub fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> io::Result<Ran> {
    run_from(command, self::input(input)?.into(), limit)
}

/// A file in memory to be read from its start.
pub fn input(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn run_from(command: &mut Command, input: Stdio, limit: Duration) -> io::Result<Ran> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let deadline = Instant::now() + limit;
    let finished = collect(&mut child, deadline);
    if finished.is_err() {
        // Too late, or unreadable: either way it must not outlive us.
        let _ = child.kill();
        let _ = child.wait();
    }
    finished.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(error.kind(), format!("no answer in {limit:?}")),
        _ => error,
    })
}

fn collect(child: &mut Child, deadline: Instant) -> io::Result<Ran> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // Non-blocking: a grandchild may keep the pipe open after the child has ended.
    let pipes = [child.stdout.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)];
    for pipe in pipes.into_iter().flatten() {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    loop {
        let status = child.try_wait()?;
        drain(child.stdout.as_mut(), &mut out)?;
        drain(child.stderr.as_mut(), &mut err)?;
        if let Some(status) = status {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Ran { status, stdout: text(out), stderr: text(err) });
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(pipe: Option<&mut impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut buffer = [0; 8192];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => into.extend(&buffer[..count.min(MOST_OUTPUT.saturating_sub(into.len()))]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file just written is "busy" while another thread's fork still holds it open for writing: wait a moment.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> io::Result<Ran> {
        run(Command::new("/bin/sh").args(["-c", script]), Duration::from_millis(700))
    }

    #[test]
    fn output_and_status() {
        let ran = sh("echo; echo '  v1  '; echo v2; echo no >&2; exit 3").unwrap();
        assert_eq!((ran.first_line(), ran.last_line(), ran.status.code()), ("v1", "no", Some(3)));
    }

    #[test]
    fn more_than_a_pipe_holds() {
        let ran = sh("head -c 200000 /dev/zero | tr '\\0' x").unwrap();
        assert_eq!(ran.stdout.len(), 200_000);
    }

    #[test]
    fn input_larger_than_a_pipe_whether_it_is_read_or_not() {
        let input = vec![b'x'; 300_000];
        let count = run_with(Command::new("wc").arg("-c"), &input, Duration::from_secs(5)).unwrap();
        assert_eq!(count.first_line(), "300000");
        assert!(
            run_with(&mut Command::new("true"), &input, Duration::from_secs(5)).unwrap().status.success()
        );
    }

    #[test]
    fn a_hang_ends() {
        assert_eq!(sh("exec sleep 5").unwrap_err().to_string(), "no answer in 700ms");
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_us() {
        let start = Instant::now();
        assert_eq!(sh("sleep 3 & echo v1").unwrap().first_line(), "v1");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
