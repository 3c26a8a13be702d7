//! How things are printed: progress and its symbols on stderr, results on stdout, one JSON document for `-o json`.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit::Failure;

/// Form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document and nothing else.
    Json,
}

/// Prints one JSON document on stdout.
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    text(&serde_json::to_string_pretty(value)?)
}

/// Prints a line on stdout. A reader that has closed the pipe (`| head`) has seen enough, which is no failure.
pub fn text(line: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Waits, for what goes on printing. False once nobody reads stdout any more, which a quiet printer never learns from writing.
pub fn wait_for_reader(time: Duration) -> bool {
    std::thread::sleep(time);
    let stdout = io::stdout();
    let mut pipe = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    let polled = poll(&mut pipe, PollTimeout::ZERO);
    polled.is_err() || !pipe[0].revents().is_some_and(|events| events.intersects(gone))
}

/// Whether a stream may be coloured: a terminal, without NO_COLOR, that is not dumb.
pub fn coloured(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

/// Colours of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Colour {
    Green,
    Yellow,
    Red,
    Dim,
}

/// `text` in a colour, or plain.
pub fn paint(on: bool, colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Red => "31",
        Colour::Dim => "2",
    };
    if on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Progress of a command in phases, one line each: `• what …` while it lasts, `✓ what (1.2s)` when done. On a terminal the
/// line is rewritten and carries what is waited for; elsewhere every line is written once.
#[derive(Debug)]
pub struct Phases {
    live: bool,
    colour: bool,
    current: Option<(String, Instant)>,
    detail: String,
}

impl Default for Phases {
    fn default() -> Self {
        Self::new()
    }
}

impl Phases {
    /// Progress on stderr.
    pub fn new() -> Self {
        let colour = coloured(&io::stderr());
        let live = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { live, colour, current: None, detail: String::new() }
    }

    /// Begins a phase; the one before it is done.
    pub fn begin(&mut self, what: &str) {
        self.done();
        self.current = Some((what.to_owned(), Instant::now()));
        self.detail.clear();
        let line = format!(" • {what} …");
        if self.live {
            self.write(&line);
        } else {
            self.write(&format!("{line}\n"));
        }
    }

    /// What the present phase waits for.
    pub fn detail(&mut self, detail: &str) {
        if self.detail == detail {
            return;
        }
        detail.clone_into(&mut self.detail);
        let Some((what, _)) = &self.current else { return };
        if self.live {
            let detail = paint(self.colour, Colour::Dim, &shortened(detail));
            let line = format!("\r\x1b[K • {what} … {detail}");
            self.write(&line);
        }
    }

    /// The present phase is done.
    pub fn done(&mut self) {
        if let Some((what, since)) = self.current.take() {
            let tick = paint(self.colour, Colour::Green, "✓");
            self.finish(&format!(" {tick} {what} ({})", seconds(since.elapsed())));
        }
    }

    /// The present phase has failed.
    pub fn failed(&mut self) {
        if let Some((what, since)) = self.current.take() {
            let cross = paint(self.colour, Colour::Red, "✗");
            self.finish(&format!(" {cross} {what} ({})", seconds(since.elapsed())));
        }
    }

    /// A line of its own that people should read.
    pub fn warn(&mut self, message: &str) {
        let mark = paint(self.colour, Colour::Yellow, "!");
        self.finish(&format!(" {mark} {message}"));
    }

    fn finish(&self, line: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{line}\n"));
    }

    fn write(&self, text: &str) {
        let mut stderr = io::stderr();
        // Nobody reads progress of which stderr is closed.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// A line that is rewritten must not wrap.
fn shortened(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() <= 60 {
        first.to_owned()
    } else {
        first.chars().take(59).chain(['…']).collect()
    }
}

/// `3.4s`, `2m05s`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 100 {
        format!("{:.1}s", time.as_secs_f64())
    } else {
        format!("{}m{:02}s", whole / 60, whole % 60)
    }
}

/// Reads `90`, `90s`, `3m`, `1h`, `500ms` and sums of them, as `--timeout` takes it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration; write for example 90s or 3m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: u32 = number.parse().map_err(|_| bad())?;
        let letters = after.find(|one: char| one.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "" | "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(bad()),
        };
        total = unit.checked_mul(number).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = after;
    }
    Ok(total)
}

/// Columns padded to their widest cell, two blanks apart; the last one is as long as it is.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in
            [("90", 90_000), ("90s", 90_000), ("3m", 180_000), ("1h30m", 5_400_000), ("1500ms", 1500)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5m", "5 minutes", "99999999999999h", "4294967295h99999999h"] {
            assert!(duration(text).is_err() || text.starts_with("4294967295"), "{text} was taken");
        }
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["A", "BB", "C"]), row(["long", "é", "x y"])]), "A     BB  C\nlong  é   x y");
    }
}
