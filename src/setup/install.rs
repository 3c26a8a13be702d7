//! Brings a tool onto this machine by one way: staged beside its place, tried, then moved in whole.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::catalog::{Tool, Way};
use super::error::Error;
use crate::bounded;
use crate::fetch::{Download, Fetcher, Progress, find_sha256};
use crate::k3s::{self, Places};

/// Go compiles helm in minutes on a small machine; apt may have to fetch its lists first.
const LONG: Duration = Duration::from_secs(1800);
const SHORT: Duration = Duration::from_secs(60);

/// Where tools are looked for and put.
#[derive(Debug)]
pub struct Installer {
    /// PATH and sandbar's cache.
    pub places: Places,
    /// Where programs go.
    pub prefix: PathBuf,
    /// `SANDBAR_MIRROR`: serves `HOST/PATH` of every address below itself.
    pub mirror: Option<String>,
    /// The client.
    pub fetcher: Fetcher,
}

impl Installer {
    /// Where the tool's programs belong.
    pub fn directory(&self, tool: &Tool) -> PathBuf {
        tool.directory.map_or_else(|| self.prefix.clone(), PathBuf::from)
    }

    /// Takes one way; what was done, for people.
    pub fn take(&self, tool: &Tool, way: Way, progress: &mut dyn Progress) -> Result<String, Error> {
        match way {
            Way::K3s => self.lent_by_k3s(tool),
            Way::K3sItself => self.k3s_itself(tool, progress),
            Way::Download { url, sums } => self.download(tool, url, sums, progress),
            Way::Package { apt, dnf, apk } => {
                self.package([("apt-get", apt), ("dnf", dnf), ("apk", apk)], progress)
            }
            Way::Go { packages } => self.build(tool, packages, progress),
        }
    }

    /// A script rather than a link: it works with every k3s, and survives one that does not look at its own name.
    fn lent_by_k3s(&self, tool: &Tool) -> Result<String, Error> {
        let request = k3s::Request { offline: true, ..k3s::Request::default() };
        let quiet = &mut crate::fetch::progress::Silent;
        let found = k3s::locate_in(&request, &self.places, &self.fetcher, quiet);
        let k3s = found.map_err(|_| Error::NotHere("no k3s at hand yet".to_owned()))?;
        let stage = Stage::new(&self.directory(tool))?;
        for program in tool.programs {
            let quoted = super::hook::script::quote(&k3s.path.display().to_string());
            stage.write(program, &format!("#!/bin/sh\nexec {quoted} {program} \"$@\"\n"))?;
        }
        self.try_and_place(tool, &stage)?;
        Ok(format!("k3s {} carries it ({})", k3s.version, k3s.path.display()))
    }

    fn k3s_itself(&self, tool: &Tool, progress: &mut dyn Progress) -> Result<String, Error> {
        let request = k3s::Request::default();
        let k3s = k3s::locate_in(&request, &self.places, &self.fetcher, progress)?;
        let stage = Stage::new(&self.directory(tool))?;
        let link = stage.dir.join("k3s");
        std::os::unix::fs::symlink(&k3s.path, &link).map_err(|source| Error::Io { path: link, source })?;
        self.try_and_place(tool, &stage)?;
        Ok(format!("linked to {} ({})", k3s.path.display(), k3s.origin))
    }

    fn download(
        &self,
        tool: &Tool,
        url: &str,
        sums: &str,
        progress: &mut dyn Progress,
    ) -> Result<String, Error> {
        let address = |text: &str| {
            let text = text.replace("{v}", tool.version);
            match &self.mirror {
                Some(mirror) => format!("{}/{text}", mirror.trim_end_matches('/')),
                None => format!("https://{text}"),
            }
        };
        let url_text = address(url);
        let sums_url = if sums.contains('/') { address(sums) } else { format!("{url_text}{sums}") };
        let name = url_text.rsplit('/').next().unwrap_or(tool.name).to_owned();
        let list = self.fetcher.text(&sums_url)?;
        let sha256 = find_sha256(&list, &name)
            .ok_or_else(|| crate::fetch::Error::NoChecksum { url: sums_url, name: name.clone() })?;
        let stage = Stage::new(&self.directory(tool))?;
        // Partial files live in the cache, where the next run finds them.
        let archive = self.places.cache.join("tools").join(tool.name).join(&name);
        let label = format!("{} {}", tool.name, tool.version);
        let download =
            Download { label: &label, url: &url_text, sha256: &sha256, dest: &archive, mode: 0o755 };
        self.fetcher.file(&download, progress)?;
        if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            unpack(tool, &archive, &stage)?;
        } else {
            let program = tool.programs.first().copied().unwrap_or(tool.name);
            let to = stage.dir.join(program);
            fs::copy(&archive, &to).map_err(|source| Error::Io { path: to, source })?;
        }
        self.try_and_place(tool, &stage)?;
        // It would only take space now.
        let _ = fs::remove_file(&archive);
        Ok(format!("{} from {url_text}", tool.version))
    }

    fn package(
        &self,
        managers: [(&str, Option<&str>); 3],
        progress: &mut dyn Progress,
    ) -> Result<String, Error> {
        let available = managers
            .into_iter()
            .find_map(|(name, package)| Some((self.places.on_path(name)?, name, package)));
        let Some((manager, name, package)) = available else {
            return Err(Error::NotHere("no package manager that sandbar knows".to_owned()));
        };
        let Some(package) = package else {
            return Err(Error::NotHere(format!("{name} has no such package")));
        };
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotHere(format!("{name} needs root")));
        }
        let arguments: &[&str] = match name {
            "apt-get" => &["install", "-y", "--no-install-recommends", package],
            "dnf" => &["install", "-y", package],
            _ => &["add", package],
        };
        progress.note(&format!("{name} {}", arguments.join(" ")));
        let run = |arguments: &[&str]| {
            program(
                name,
                Command::new(&manager).args(arguments).env("DEBIAN_FRONTEND", "noninteractive"),
                LONG,
            )
        };
        let mut result = run(arguments);
        if result.is_err() && name == "apt-get" {
            // A fresh image has no package lists.
            progress.note("apt-get update");
            result = run(&["update"]).and_then(|()| run(arguments));
        }
        result.map(|()| format!("package {package}"))
    }

    fn build(&self, tool: &Tool, packages: &[&str], progress: &mut dyn Progress) -> Result<String, Error> {
        let go = self.places.on_path("go").ok_or_else(|| Error::NotHere("no Go at hand".to_owned()))?;
        let stage = Stage::new(&self.directory(tool))?;
        progress.note(&format!("building {} {} with Go; this takes some minutes", tool.name, tool.version));
        for package in packages {
            let mut command = Command::new(&go);
            command.args(["install", "-trimpath", "-ldflags=-s -w", &format!("{package}@{}", tool.version)]);
            // Whatever project we stand in must not decide how this is built.
            command.current_dir("/").env("GOBIN", &stage.dir).env("CGO_ENABLED", "0").env("GOFLAGS", "");
            program("go install", &mut command, LONG)?;
        }
        self.try_and_place(tool, &stage)?;
        Ok(format!("{} built with Go", tool.version))
    }

    /// Runs what was staged, then moves it in; nothing is in place before everything was seen to work.
    fn try_and_place(&self, tool: &Tool, stage: &Stage) -> Result<(), Error> {
        for name in tool.programs {
            let path = stage.dir.join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(|source| Error::Io { path: path.clone(), source })?;
            if !tool.version_arguments.is_empty() {
                program(name, Command::new(&path).args(tool.version_arguments), SHORT)?;
            }
        }
        let directory = self.directory(tool);
        for name in tool.programs {
            let to = directory.join(name);
            fs::rename(stage.dir.join(name), &to).map_err(|source| Error::Io { path: to, source })?;
        }
        Ok(())
    }
}

/// Takes the tool's programs out of an archive, whatever directory they stand in.
fn unpack(tool: &Tool, archive: &Path, stage: &Stage) -> Result<(), Error> {
    let into = stage.dir.join(".archive");
    fs::create_dir(&into).map_err(|source| Error::Io { path: into.clone(), source })?;
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "-xzf"]).arg(archive).arg("-C").arg(&into);
    program("tar", &mut tar, Duration::from_secs(300))?;
    for name in tool.programs {
        let found = find_file(&into, name, 3).ok_or_else(|| Error::NotInside {
            origin: archive.display().to_string(),
            program: (*name).to_owned(),
        })?;
        let to = stage.dir.join(name);
        fs::rename(found, &to).map_err(|source| Error::Io { path: to, source })?;
    }
    Ok(())
}

fn find_file(dir: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(dir).ok()?.flatten().collect();
    let here = entries
        .iter()
        .find(|entry| entry.file_name() == name && entry.file_type().is_ok_and(|kind| kind.is_file()));
    here.map(fs::DirEntry::path).or_else(|| {
        let deeper =
            entries.iter().filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()));
        deeper.into_iter().find_map(|entry| find_file(&entry.path(), name, depth - 1))
    })
}

fn program(name: &str, command: &mut Command, limit: Duration) -> Result<(), Error> {
    let failed = |reason: String| Error::Program { program: name.to_owned(), reason };
    let ran = bounded::run(command, limit).map_err(|error| failed(error.to_string()))?;
    match ran.status.success() {
        true => Ok(()),
        false if ran.last_line().is_empty() => Err(failed(ran.status.to_string())),
        false => Err(failed(ran.last_line().to_owned())),
    }
}

/// A directory beside the place where things go, so that moving them in is one rename; removed with what was not moved.
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn new(beside: &Path) -> Result<Self, Error> {
        let dir = beside.join(format!(".sandbar-setup-{}", std::process::id()));
        let make = || -> io::Result<()> {
            fs::create_dir_all(beside)?;
            // One of a process with our number that was killed.
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            fs::create_dir(&dir)
        };
        make().map_err(|source| Error::Io { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(|source| Error::Io { path, source })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
