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
    for kept in keep(archives, &running.data)? {
        let command = importing(&running.options.k3s, snapshotter.as_deref(), &kept);
        let code = super::exec::plain(paths, command)?;
        if code != 0 {
            let message = format!("containerd refused {}: its own words are above", kept.display());
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    Ok(())
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

/// Copies archives to where k3s looks, each whole or not at all. Returns where they are now.
pub fn keep(archives: &[PathBuf], data: &Path) -> Result<Vec<PathBuf>, Failure> {
    let directory = data.join(IMAGES);
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: io::Error| {
            Failure::new(Exit::Failed, format!("cannot keep image archive {what}: {error}"))
        }
    };
    fs::create_dir_all(&directory).map_err(failed(&directory))?;
    let mut kept = Vec::new();
    for archive in archives {
        let target = directory.join(archive.file_name().unwrap_or_default());
        if fs::canonicalize(archive).ok() != fs::canonicalize(&target).ok() {
            // Not by an ending that k3s would import half-way.
            let temporary = directory.join(".sandbar-copy");
            fs::copy(archive, &temporary)
                .and_then(|_| fs::rename(&temporary, &target))
                .map_err(failed(archive))?;
        }
        kept.push(target);
    }
    Ok(kept)
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
        let kept = keep(&found, &data).unwrap();
        assert_eq!(fs::read_to_string(&kept[1]).unwrap(), "b.tar");
        assert_eq!(keep(&kept, &data).unwrap(), kept, "what is there already stays");
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
