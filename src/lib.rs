//! sandbar: Kubernetes, whole, where the kernel is only pretended.
//!
//! | module | holds |
//! |---|---|
//! | [`api`] | the SandboxConfig resource |
//! | [`bounded`] | other programs, run with a bound |
//! | [`cli`] | the command line, one verb per file |
//! | [`cni`] | the CNI plugin |
//! | [`controller`] | SandboxConfigs to rule table to status |
//! | [`doctor`] | probes of the environment |
//! | [`exit`] | exit codes and failures |
//! | [`fetch`] | downloads, verified and resumed |
//! | [`image`] | container images as archives |
//! | [`intercept`] | the tracer and its answers |
//! | [`k3s`] | the k3s command: found or fetched |
//! | [`rules`] | rules, matching, the shared tables |
//! | [`setup`] | tools installed, session hooks written |
//! | [`supervisor`] | the daemon that runs k3s |
//! | [`sys`] | the only unsafe code |

pub mod api;
pub mod bounded;
pub mod cli;
pub mod cni;
pub mod controller;
pub mod doctor;
pub mod exit;
pub mod fetch;
pub mod image;
pub mod intercept;
pub mod k3s;
pub mod rules;
pub mod setup;
pub mod supervisor;
pub mod sys;
