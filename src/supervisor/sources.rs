//! Documents made without an API server: the built-in profile, and SandboxConfig files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::files::{self, LoadError};
use crate::api::profiles::{self, Environment};
use crate::api::v1alpha1::SandboxConfig;
use crate::controller::build;
use crate::rules::model::DesiredDocument;

/// The built-in profile for this environment.
pub fn builtin() -> Result<DesiredDocument, LoadError> {
    Ok(merged(&profiles::builtin(Environment::here())?))
}

/// The built-in profile and these SandboxConfig files, merged as the controller would.
pub fn from_files(paths: &[PathBuf]) -> Result<DesiredDocument, LoadError> {
    let mut objects = profiles::builtin(Environment::here())?;
    objects.extend(files::load_files(paths)?);
    Ok(merged(&objects))
}

/// There is no Node object yet whose labels could select: only objects without a selector apply.
fn merged(objects: &[SandboxConfig]) -> DesiredDocument {
    build::desired(objects, &BTreeMap::new()).0
}
