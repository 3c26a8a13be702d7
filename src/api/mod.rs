//! The SandboxConfig resource: its types, its validation, the files and built-in profiles that it is read from.

pub mod conditions;
pub mod convert;
pub mod files;
pub mod limits;
pub mod names;
pub mod profiles;
pub mod schema;
pub mod status;
pub mod v1alpha1;

pub use files::{LoadError, load_files};
pub use schema::crd;
pub use v1alpha1::{SandboxConfig, SandboxConfigSpec};
