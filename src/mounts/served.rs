//! The mounts in force: brought in line with the rules, changed in place where only a value changed, undone one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::plan::{self, Content, Lay, Look, Means, Place};
use super::store::Store;
use super::{MountError, created, directory, file, look};
use crate::rules::model::{Access, Rule};

/// The mounts that serve rules. All methods are for one thread at a time; any thread of the process will do.
#[derive(Debug)]
pub struct Mounts {
    run: PathBuf,
    usable: Result<(), String>,
    /// Where values are kept, once there are any.
    store: Option<Store>,
    laid: BTreeMap<PathBuf, Laid>,
    /// Directories of the kernel's that a copy of ours stands in for.
    replaced: BTreeSet<PathBuf>,
    failed: BTreeMap<PathBuf, String>,
    number: u64,
}

#[derive(Debug)]
struct Laid {
    lay: Lay,
    /// What is mounted.
    source: PathBuf,
    /// Empty files and directories that were made to mount on, outermost first.
    made: Vec<PathBuf>,
}

impl Look for Mounts {
    fn mounts(&self) -> Result<(), String> {
        self.usable.clone()
    }

    fn at(&self, path: &Path) -> Place {
        self.laid.get(path).map_or_else(|| look::at(path), |laid| laid.lay.place.clone())
    }
}

impl Mounts {
    /// None yet. `run` is the supervisor's directory of run-time files; `usable` says whether it is in a mount namespace of
    /// its own, or why not.
    pub fn new(run: PathBuf, usable: Result<(), String>) -> Self {
        Self {
            run,
            usable,
            store: None,
            laid: BTreeMap::new(),
            replaced: BTreeSet::new(),
            failed: BTreeMap::new(),
            number: 0,
        }
    }

    /// Whether anything can be mounted here.
    pub fn usable(&self) -> bool {
        self.usable.is_ok()
    }

    /// Serves `rules`, and nothing else any more. Returns what became of each.
    pub fn program(&mut self, rules: &[Rule]) -> Vec<Means> {
        let mut means = plan::plan(rules, self);
        let wanted: BTreeMap<&Path, &Lay> = means
            .iter()
            .filter_map(|means| if let Means::Mount(lay) = means { Some(lay) } else { None })
            .map(|lay| (lay.path.as_path(), lay))
            .collect();
        self.failed.clear();
        let gone: Vec<PathBuf> =
            self.laid.keys().filter(|path| !wanted.contains_key(path.as_path())).cloned().collect();
        gone.iter().for_each(|path| self.lift(path));
        for lay in wanted.into_values() {
            if let Err(error) = self.lay(lay) {
                self.failed.insert(lay.path.clone(), error.to_string());
            }
        }
        self.tidy();
        for means in &mut means {
            if let Means::Mount(lay) = means
                && let Some(why) = self.failed.get(&lay.path)
            {
                *means = Means::Refused(why.clone());
            }
        }
        means
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        if self.store.is_some() {
            self.program(&[]);
        }
    }

    fn lay(&mut self, lay: &Lay) -> Result<(), MountError> {
        if let Some(laid) = self.laid.get_mut(&lay.path) {
            match (&laid.lay.content, &lay.content) {
                // As it is, with what was written to it since.
                (old, new) if old == new => return Ok(()),
                (Content::Value { access: old, .. }, Content::Value { value, access: new }) if old == new => {
                    file::rewrite(&laid.source, value.as_bytes())?;
                    laid.lay.content = lay.content.clone();
                    return Ok(());
                }
                _ => self.lift(&lay.path),
            }
        }
        // Whatever is laid: with the store goes all that was created for it.
        self.store()?;
        let source = match &lay.content {
            Content::File(source) => source.clone(),
            Content::Value { value, access } => self.keep(value, *access)?,
        };
        self.attach(Laid { lay: lay.clone(), source, made: Vec::new() })
    }

    /// The way into the store, which is made when it is needed first.
    fn store(&mut self) -> Result<PathBuf, MountError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::mount(&self.run)?,
        };
        Ok(self.store.insert(store).path())
    }

    fn keep(&mut self, value: &str, access: Access) -> Result<PathBuf, MountError> {
        self.number += 1;
        let path = self.store()?.join(self.number.to_string());
        let mode = if access == Access::ReadWrite { 0o644 } else { 0o444 };
        fs::write(&path, value)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(MountError::on("write", &path))?;
        Ok(path)
    }

    fn attach(&mut self, mut laid: Laid) -> Result<(), MountError> {
        let Lay { path, content, place } = laid.lay.clone();
        let mounted = match place {
            // It leads there already.
            Place::Link(_) => Ok(()),
            Place::File => self.bind(&laid, &content),
            Place::Closed(ref directory) if !self.replaced.contains(directory) => self
                .replace(directory)
                .and_then(|()| self.add(&path, &mut laid.made))
                .and_then(|()| self.bind(&laid, &content)),
            _ => self.add(&path, &mut laid.made).and_then(|()| self.bind(&laid, &content)),
        };
        match mounted {
            Ok(()) => drop(self.laid.insert(path, laid)),
            Err(_) => self.discard(&laid),
        }
        mounted
    }

    fn bind(&self, laid: &Laid, content: &Content) -> Result<(), MountError> {
        let read_only = matches!(content, Content::Value { access: Access::ReadOnly, .. });
        file::bind(&laid.source, &laid.lay.path, read_only)
    }

    fn add(&self, path: &Path, made: &mut Vec<PathBuf>) -> Result<(), MountError> {
        // What is made in a copy of ours goes with it.
        let outside = !self.replaced.iter().any(|directory| path.starts_with(directory));
        directory::add(path, |one| {
            made.push(one.to_owned());
            if outside { created::remember(&self.run, one) } else { Ok(()) }
        })
    }

    /// Has a copy stand in for `directory`.
    fn replace(&mut self, directory: &Path) -> Result<(), MountError> {
        self.around(directory, |this| {
            let scratch = this.store()?.join("directory");
            fs::create_dir_all(&scratch).map_err(MountError::on("make", &scratch))?;
            directory::replace(directory, &scratch)?;
            this.replaced.insert(directory.to_owned());
            Ok(())
        })
    }

    /// Changes what stands for `directory`, with all that lies below it taken away before and laid again after.
    fn around(
        &mut self,
        directory: &Path,
        change: impl FnOnce(&mut Self) -> Result<(), MountError>,
    ) -> Result<(), MountError> {
        let below: Vec<PathBuf> =
            self.laid.keys().filter(|path| path.starts_with(directory)).cloned().collect();
        let mut taken: Vec<Laid> = below.iter().filter_map(|path| self.laid.remove(path)).collect();
        taken.iter().rev().for_each(|laid| self.detach(laid));
        let nested: Vec<PathBuf> = self
            .replaced
            .iter()
            .filter(|other| other.starts_with(directory) && other.as_path() != directory)
            .cloned()
            .collect();
        for other in nested.iter().rev() {
            unmount(other);
            self.replaced.remove(other);
        }
        let changed = change(self);
        for mut laid in taken.drain(..) {
            laid.made.clear();
            let path = laid.lay.path.clone();
            if let Err(error) = self.attach(laid) {
                self.failed.insert(path, error.to_string());
            }
        }
        changed
    }

    fn lift(&mut self, path: &Path) {
        if let Some(laid) = self.laid.remove(path) {
            self.detach(&laid);
            self.discard(&laid);
        }
    }

    fn detach(&self, laid: &Laid) {
        if !matches!(laid.lay.place, Place::Link(_)) {
            unmount(&laid.lay.path);
        }
        remove(&laid.made);
    }

    /// Removes what was made for it.
    fn discard(&self, laid: &Laid) {
        remove(&laid.made);
        if matches!(laid.lay.content, Content::Value { .. }) {
            // It is in a tmpfs that goes away as a whole.
            let _ = fs::remove_file(&laid.source);
        }
    }

    /// Brings back the kernel's own directories in which no name of ours is left.
    fn tidy(&mut self) {
        let needed = |directory: &Path| {
            self.laid.values().any(|laid| !laid.made.is_empty() && laid.lay.path.starts_with(directory))
        };
        let idle: Vec<PathBuf> =
            self.replaced.iter().filter(|directory| !needed(directory)).cloned().collect();
        for directory in idle.into_iter().rev() {
            let brought_back = self.around(&directory, |this| {
                this.replaced.remove(&directory);
                file::unmount(&directory)
            });
            if let Err(error) = brought_back {
                tracing::warn!("{error}");
            }
        }
        if self.laid.is_empty()
            && let Some(store) = self.store.take()
        {
            if let Err(error) = store.unmount() {
                tracing::warn!("{error}");
            }
            if let Err(error) = created::sweep(&self.run) {
                tracing::warn!("cannot remove what was created to mount on: {error}");
            }
        }
    }
}

fn unmount(path: &Path) {
    if let Err(error) = file::unmount(path) {
        tracing::warn!("{error}");
    }
}

fn remove(made: &[PathBuf]) {
    for path in made.iter().rev() {
        // Another rule's file may still be in a directory that this one needed first.
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    }
}
