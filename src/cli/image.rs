//! `sandbar image import`, and the archives of `sandbar up --images`: container images without a registry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::exit::{Exit, Failure, Outcome};
use crate::supervisor::client::{self, ClientError};
use crate::supervisor::flags::Mode;
use crate::supervisor::paths::Paths;

/// Below k3s's data directory; k3s imports every archive there when it starts.
const IMAGES: &str = "agent/images";
/// What k3s takes for an archive.
const ENDINGS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

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
    Ok(found)
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
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
}
