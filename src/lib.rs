//! sandbar: Kubernetes, whole, where the kernel is only pretended.
//!
//! | module | holds |
//! |---|---|
//! | [`api`] | the SandboxConfig resource |
//! | [`cli`] | the command line, one verb per file |
//! | [`controller`] | SandboxConfigs to rule table to status |
//! | [`doctor`] | probes of the environment |
//! | [`exit`] | exit codes and failures |
//! | [`intercept`] | the tracer and its answers |
//! | [`rules`] | rules, matching, the shared tables |
//! | [`supervisor`] | the daemon that runs k3s |
//! | [`sys`] | the only unsafe code |

pub mod api;
pub mod cli;
pub mod controller;
pub mod doctor;
pub mod exit;
pub mod intercept;
pub mod rules;
pub mod supervisor;
pub mod sys;
