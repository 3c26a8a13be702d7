//! How a long transfer is shown: a bar on a terminal, plain lines elsewhere; always on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// What a long operation tells while it runs.
pub trait Progress {
    /// A remark.
    fn note(&mut self, line: &str);
    /// A transfer begins, or goes on after `already` bytes.
    fn start(&mut self, label: &str, total: Option<u64>, already: u64);
    /// More bytes are in.
    fn advance(&mut self, bytes: u64);
    /// The transfer ended, well or not.
    fn finish(&mut self);
}

/// A bar if stderr is a terminal, else lines.
pub fn auto() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::new(std::io::stderr()))
    }
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn note(&mut self, _line: &str) {}
    fn start(&mut self, _label: &str, _total: Option<u64>, _already: u64) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
}

/// A bar that is redrawn in place.
#[derive(Debug, Default)]
pub struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn start(&mut self, label: &str, total: Option<u64>, already: u64) {
        self.finish();
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            None => ProgressBar::no_length().with_style(style("{msg} {spinner} {bytes} {bytes_per_sec}")),
        };
        bar.set_message(label.to_owned());
        bar.set_position(already);
        // The rate is of this transfer, not of what an earlier one brought.
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A line per tenth of the whole, or every five seconds where the whole is not known.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    label: String,
    total: Option<u64>,
    at: u64,
    told: u64,
    when: Instant,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, label: String::new(), total: None, at: 0, told: 0, when: Instant::now() }
    }

    fn say(&mut self, line: &str) {
        // Progress that cannot be shown is no reason to stop.
        let _ = writeln!(self.out, "{line}");
    }
}

impl<W: Write> Progress for Lines<W> {
    fn note(&mut self, line: &str) {
        self.say(line);
    }

    fn start(&mut self, label: &str, total: Option<u64>, already: u64) {
        (self.label, self.total, self.at) = (label.to_owned(), total, already);
        self.told = total.map_or(0, |total| tenths(already, total));
        self.when = Instant::now();
        let size = total.map_or_else(String::new, |total| format!(", {}", mebibytes(total)));
        let from = if already > 0 { format!(", continued at {}", mebibytes(already)) } else { String::new() };
        self.say(&format!("fetching {label}{size}{from}"));
    }

    fn advance(&mut self, bytes: u64) {
        self.at += bytes;
        match self.total {
            Some(total) if tenths(self.at, total) > self.told => {
                self.told = tenths(self.at, total);
                self.say(&format!("{}: {} % of {}", self.label, self.told * 10, mebibytes(total)));
            }
            None if self.when.elapsed() > Duration::from_secs(5) => {
                self.when = Instant::now();
                self.say(&format!("{}: {}", self.label, mebibytes(self.at)));
            }
            _ => {}
        }
    }

    fn finish(&mut self) {}
}

fn tenths(at: u64, total: u64) -> u64 {
    at.saturating_mul(10).checked_div(total).unwrap_or(10)
}

fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes.div_ceil(1024)) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_tenths_once() {
        let mut lines = Lines::new(Vec::new());
        lines.start("k3s", Some(10 << 20), 5 << 20);
        for _ in 0..50 {
            lines.advance(1 << 20 >> 3);
        }
        let text = String::from_utf8(lines.out).unwrap();
        let expected: Vec<String> = std::iter::once("fetching k3s, 10 MiB, continued at 5 MiB".to_owned())
            .chain((6..=11).map(|tenth| format!("k3s: {} % of 10 MiB", tenth * 10)))
            .collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
