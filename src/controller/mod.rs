//! SandboxConfigs to rule table to status: dereference, validate, build, publish, await acknowledgement, tell.

pub mod build;
