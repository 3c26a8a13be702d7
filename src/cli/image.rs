//! `sandbar image import`, and the archives of `sandbar up --images`: container images without a registry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::flags::Mode;
use crate::supervisor::paths::Paths;
use crate::supervisor::remedies::{PAUSE_ARCHIVE, pause_archive};

/// Below k3s's data directory; k3s imports every archive there when it starts.
const IMAGES: &str = "agent/images";
/// What k3s takes for an archive. (It knows .tar.lz4 too, but the stand-in does not.)
const ENDINGS: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz"];
/// What k3s unpacks at its start, and containerd itself cannot.
const AT_START: [&str; 2] = [".tar.bz2", ".tbz"];

/// How CRI knows an image that is not to be collected, and k3s one that it has imported.
const PINNED: [&str; 2] = ["io.cri-containerd.pinned=pinned", "io.cattle.k3s.pinned=pinned"];

/// Flags of `sandbar image`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Import image archives (`docker save`, OCI) into the running node, and keep them for its next start.
    Import {
        /// Archives, or directories of archives.
        #[arg(required = true, value_name = "FILE|DIR")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        paths: Paths,
    },
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let Verb::Import { files, paths } = args.verb;
    import(&archives(&files)?, &paths)?;
    Ok(0)
}

/// Imports archives into the running node.
pub fn import(archives: &[PathBuf], paths: &Paths) -> Result<(), Failure> {
    let view = client::observe(paths).map_err(ClientError::failure)?;
    let snapshotter = view.document().map_err(ClientError::failure)?.k3s.snapshotter.map(|used| used.name);
    let running = view.running;
    if running.options.mode != Mode::Node {
        let message = "this cluster has no node, so there is nothing that runs images";
        return Err(Failure::new(Exit::Failed, message).hint("sandbar down, then sandbar up --mode node"));
    }
    if let Some(archive) = archives.iter().find(|archive| ends_with(archive, &AT_START)) {
        let message =
            format!("{}: k3s unpacks these when it starts, and a running node cannot", archive.display());
        let hint = "unpack it (bzip2 -d), or give it to `sandbar up --images` after `sandbar down`";
        return Err(Failure::new(Exit::Failed, message).hint(hint));
    }
    let directory = directory(&running.data)?;
    let mut refused = Vec::new();
    for archive in archives {
        let copy = Incoming::of(archive, &directory)?;
        let command = importing(&running.options.k3s, snapshotter.as_deref(), &copy.now);
        match super::exec::plain(paths, command)? {
            0 => copy.keep()?,
            // What is refused once would be so at every start of k3s. The others are taken all the same.
            _ => refused.push(archive.display().to_string()),
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let message = format!("containerd refused {}: its own words are above", refused.join(", "));
    Err(Failure::new(Exit::Failed, message))
}

/// The command that does what k3s does with an archive when it starts: unpacked where containers will look for it, and kept by the
/// kubelet when space gets scarce.
fn importing(k3s: &Path, snapshotter: Option<&str>, archive: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![k3s.into()];
    words.extend(["ctr", "--namespace", "k8s.io", "images", "import", "--local"].map(Into::into));
    // ctr itself would take overlayfs, whether or not it works here.
    words.extend(snapshotter.into_iter().flat_map(|name| ["--snapshotter", name]).map(Into::into));
    words.extend(PINNED.iter().flat_map(|label| ["--label", label]).map(Into::into));
    words.push(archive.into());
    words
}

/// The archives among these files and in these directories.
pub fn archives(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in given {
        let failed = |error: io::Error| {
            Failure::new(Exit::Failed, format!("image archive {}: {error}", path.display()))
        };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            // A name that k3s does not know would be ignored without a word.
            if !is_archive(path) {
                let message = format!("{} is no image archive by its name", path.display());
                return Err(Failure::new(Exit::Failed, message).hint(format!("known: {}", ENDINGS.join(" "))));
            }
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if is_archive(&entry) {
                found.push(entry);
            }
        }
        found[before..].sort();
        if found.len() == before {
            let message = format!("{}: no image archives in it", path.display());
            return Err(Failure::new(Exit::Failed, message).hint(format!("known: {}", ENDINGS.join(" "))));
        }
    }
    distinct(found)
}

fn is_archive(path: &Path) -> bool {
    ends_with(path, &ENDINGS)
}

/// As k3s looks at names.
fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    endings.iter().any(|ending| name.ends_with(ending))
}

/// The archives, each once. They are kept by their names alone, so another one of the same name would take the place of the
/// first, and one of ours.
fn distinct(archives: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let mut kept: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    let mut distinct = Vec::new();
    for archive in archives {
        let name = archive.file_name().unwrap_or_default().to_owned();
        if name == PAUSE_ARCHIVE {
            // As it is found in k3s's own directory of archives.
            if fs::read(&archive).ok() == pause_archive().ok() {
                continue;
            }
            let message = format!("{}: sandbar keeps an archive of its own by this name", archive.display());
            return Err(Failure::new(Exit::Failed, message).hint("give it another name"));
        }
        match kept.get(&name) {
            None => {
                kept.insert(name, archive.clone());
                distinct.push(archive);
            }
            Some(other) if fs::canonicalize(other).ok() == fs::canonicalize(&archive).ok() => {}
            Some(other) => {
                let (one, other) = (other.display(), archive.display());
                let message = format!("{one} and {other} have one name, by which k3s keeps them");
                return Err(Failure::new(Exit::Failed, message).hint("rename one of them"));
            }
        }
    }
    Ok(distinct)
}

/// Copies archives to where k3s looks, each whole or not at all.
pub fn keep(archives: &[PathBuf], data: &Path) -> Result<(), Failure> {
    let directory = directory(data)?;
    archives.iter().try_for_each(|archive| Incoming::of(archive, &directory)?.keep())
}

/// Where k3s looks for archives when it starts.
fn directory(data: &Path) -> Result<PathBuf, Failure> {
    let directory = data.join(IMAGES);
    fs::create_dir_all(&directory).map_err(not_kept(&directory))?;
    Ok(directory)
}

fn not_kept(what: &Path) -> impl Fn(io::Error) -> Failure {
    let what = what.display().to_string();
    move |error| Failure::new(Exit::Failed, format!("cannot keep image archive {what}: {error}"))
}

/// An archive's copy beside those that k3s imports, gone with this unless it is kept; or the archive itself, if it lies there
/// already.
struct Incoming {
    now: PathBuf,
    target: PathBuf,
}

impl Incoming {
    fn of(archive: &Path, directory: &Path) -> Result<Self, Failure> {
        let target = directory.join(archive.file_name().unwrap_or_default());
        if fs::canonicalize(archive).ok() == fs::canonicalize(&target).ok() {
            return Ok(Self { now: target.clone(), target });
        }
        // Not by an ending that k3s would import half-way.
        let copy = Self { now: directory.join(".sandbar-copy"), target };
        fs::copy(archive, &copy.now).map_err(not_kept(archive))?;
        Ok(copy)
    }

    fn keep(mut self) -> Result<(), Failure> {
        fs::rename(&self.now, &self.target).map_err(not_kept(&self.target))?;
        self.now.clone_from(&self.target);
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.now != self.target {
            // If it is there at all; k3s does not look at it.
            let _ = fs::remove_file(&self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_unpacked_for_the_snapshotter_in_use_and_pinned() {
        let words = |snapshotter| {
            let words = importing(Path::new("/k3s"), snapshotter, Path::new("/a.tar"));
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let pinned = "--label io.cri-containerd.pinned=pinned --label io.cattle.k3s.pinned=pinned /a.tar";
        let import = "/k3s ctr --namespace k8s.io images import --local";
        assert_eq!(words(Some("native")), format!("{import} --snapshotter native {pinned}"));
        assert_eq!(words(None), format!("{import} {pinned}"));
    }

    #[test]
    fn directories_are_searched_and_other_files_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar.zst", "notes.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let found = archives(&[dir.path().to_owned()]).unwrap();
        assert_eq!(found, [dir.path().join("a.tar.zst"), dir.path().join("b.tar")]);
        let error = archives(&[dir.path().join("notes.txt")]).unwrap_err();
        assert!(error.message.contains("no image archive"), "{error}");
        assert!(archives(&[dir.path().join("absent.tar")]).is_err());
        let data = dir.path().join("data");
        keep(&found, &data).unwrap();
        let kept = archives(&[data.join(IMAGES)]).unwrap();
        assert_eq!(fs::read_to_string(&kept[1]).unwrap(), "b.tar");
        keep(&kept, &data).unwrap();
        drop(Incoming::of(&kept[0], &data.join(IMAGES)).unwrap());
        assert_eq!(archives(&[data.join(IMAGES)]).unwrap(), kept, "what is there already stays");
    }

    #[test]
    fn what_is_not_kept_leaves_nothing_and_takes_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let (bad, images) = (dir.path().join("image.tar"), dir.path().join("images"));
        fs::create_dir(&images).unwrap();
        fs::write(&bad, "bad").unwrap();
        fs::write(images.join("image.tar"), "good").unwrap();
        let copy = Incoming::of(&bad, &images).unwrap();
        assert_eq!(fs::read_to_string(&copy.now).unwrap(), "bad");
        drop(copy);
        assert_eq!(fs::read_dir(&images).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(images.join("image.tar")).unwrap(), "good");
    }

    #[test]
    fn an_archive_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a/image.tar", "b/image.tar", "a/x.TBZ", "c/sandbar-pause.tar", "c/y.tar"] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), name).unwrap();
        }
        let error = archives(&[at("a"), at("b/image.tar")]).unwrap_err();
        assert!(
            error.message.contains("a/image.tar and") && error.message.contains("b/image.tar have one name"),
            "{error}"
        );
        assert_eq!(archives(&[at("a"), at("a/image.tar")]).unwrap(), [at("a/image.tar"), at("a/x.TBZ")]);
        let error = archives(&[at("c")]).unwrap_err();
        assert!(error.message.contains("c/sandbar-pause.tar: sandbar keeps"), "{error}");
        fs::write(at("c/sandbar-pause.tar"), pause_archive().unwrap()).unwrap();
        assert_eq!(archives(&[at("c")]).unwrap(), [at("c/y.tar")]);
    }
}
