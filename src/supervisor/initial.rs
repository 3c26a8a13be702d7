//! The table of the first generation, before there is an API server to ask.

use std::path::Path;

use super::control::Options;
use super::last_good::{Saved, SavedRefusal};
use super::rules_trial::Distrusted;
use super::sources;
use crate::api::files::LoadError;
use crate::rules::model::DesiredDocument;

/// What the supervisor starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Initial {
    /// The first generation.
    pub document: DesiredDocument,
    /// The table with the settings known to work.
    pub proven: Option<DesiredDocument>,
    /// Settings known not to.
    pub refused: Option<SavedRefusal>,
    /// Rules known not to.
    pub distrusted: Option<Distrusted>,
    /// Where the document came from, in words.
    pub origin: String,
    /// Why a saved state was not used.
    pub ignored: Option<String>,
}

/// Decides: `--safe` takes the built-in profile alone; files given win over what was saved; else what was saved; else the
/// built-in profile.
pub fn choose(options: &Options, last_good: &Path) -> Result<Initial, LoadError> {
    if options.safe {
        let origin = "the built-in profile (--safe)".to_owned();
        return Ok(Initial { document: sources::builtin()?, origin, ..Initial::default() });
    }
    let (saved, ignored) = match Saved::load(last_good) {
        Ok(saved) => (saved, None),
        Err(error) => (None, Some(format!("{}: {error}", last_good.display()))),
    };
    let proven = saved.as_ref().map(|saved| saved.document.clone());
    let refused = saved.as_ref().and_then(|saved| saved.rolled_back.clone());
    let distrusted = saved.as_ref().and_then(|saved| saved.taken_back.clone());
    let (document, origin) = match saved {
        _ if !options.files.is_empty() => {
            let names: Vec<String> = options.files.iter().map(|file| file.display().to_string()).collect();
            (sources::from_files(&options.files)?, names.join(", "))
        }
        Some(saved) => (saved.document, "the last good table".to_owned()),
        None => (sources::builtin()?, "the built-in profile".to_owned()),
    };
    Ok(Initial { document, proven, refused, distrusted, origin, ignored })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{K3sSettings, Sourced};

    fn saved() -> Saved {
        let snapshotter = Some(Sourced { value: "native".to_owned(), source: "object".into() });
        let k3s = K3sSettings { snapshotter, ..Default::default() };
        Saved::new(DesiredDocument { k3s, ..Default::default() }, Some(SavedRefusal::default()), None)
    }

    #[test]
    fn the_last_good_table_is_used_unless_told_otherwise_or_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last-good.json");
        let plain = Options::default();
        assert_eq!(choose(&plain, &path).unwrap().document, sources::builtin().unwrap());
        saved().save(&path).unwrap();
        let initial = choose(&plain, &path).unwrap();
        assert_eq!((initial.document, initial.ignored), (saved().document, None));
        assert_eq!((initial.proven, initial.refused), (Some(saved().document), saved().rolled_back));
        let safe = choose(&Options { safe: true, ..plain.clone() }, &path).unwrap();
        assert_eq!((safe.document, safe.proven), (sources::builtin().unwrap(), None));
        std::fs::write(&path, "{").unwrap();
        let initial = choose(&plain, &path).unwrap();
        assert_eq!(initial.document, sources::builtin().unwrap());
        assert!(initial.ignored.unwrap().contains("damaged"));
    }
}
