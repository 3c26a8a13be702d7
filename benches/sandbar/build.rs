//! What a build does to a filesystem: many small files, timed by this binary run as its own guest in a container.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::stats::summarise;

const DIRECTORIES: usize = 50;
const FILES: usize = 2000;
const CONTENT: [u8; 1024] = [b'x'; 1024];
/// The first fills caches; the median counts.
const TIMES: usize = 5;

/// What the guest reports, as one line of JSON.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Seconds by step, in all.
    pub seconds: BTreeMap<String, f64>,
    /// Whether a system call filter is in force: with none of the container's own, whether it is traced.
    pub filtered: bool,
}

/// The guest: works in a new directory below `place` and reports.
pub fn guest(place: &Path) -> io::Result<()> {
    let mut rounds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..TIMES {
        let mut sum = 0.0;
        for (step, seconds) in round(&place.join("tree"))? {
            sum += seconds;
            rounds.entry(step.to_owned()).or_default().push(seconds);
        }
        rounds.entry("all".to_owned()).or_default().push(sum);
    }
    let seconds = rounds.into_iter().map(|(step, values)| (step, summarise(&values).median)).collect();
    let report = Report { seconds, filtered: filtered()? };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn round(tree: &Path) -> io::Result<[(&'static str, f64); 5]> {
    let directories: Vec<PathBuf> =
        (0..DIRECTORIES).map(|index| tree.join(format!("directory-{index}"))).collect();
    let named = |name: &str| -> Vec<PathBuf> {
        (0..FILES).map(|index| directories[index % DIRECTORIES].join(format!("{name}-{index}.c"))).collect()
    };
    let (files, renamed) = (named("source"), named("object"));
    let create = timed(|| {
        directories.iter().try_for_each(fs::create_dir_all)?;
        files.iter().try_for_each(|file| fs::write(file, CONTENT))
    })?;
    let stat = timed(|| {
        files.iter().try_for_each(|file| {
            black_box(fs::metadata(file)?);
            Ok(())
        })
    })?;
    let read = timed(|| files.iter().try_for_each(|file| fs::read(file).map(|read| drop(black_box(read)))))?;
    let rename = timed(|| files.iter().zip(&renamed).try_for_each(|(from, to)| fs::rename(from, to)))?;
    let delete = timed(|| {
        renamed.iter().try_for_each(fs::remove_file)?;
        directories.iter().try_for_each(fs::remove_dir)
    })?;
    fs::remove_dir(tree)?;
    Ok([("create", create), ("stat", stat), ("read", read), ("rename", rename), ("delete", delete)])
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn filtered() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.map(|mode| mode.trim() == "2").ok_or_else(|| io::Error::other("no Seccomp in /proc/self/status"))
}
