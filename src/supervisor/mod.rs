//! The daemon that runs k3s: started by `sandbar up`, it outlives everything but `sandbar down`.
//!
//! Pure parts: [`flags`] (settings to command line), [`lifecycle`] (when k3s starts, stops, rolls back), [`status`] (what
//! is shown). Effects: [`daemon`] builds everything, [`supervise`] is the loop, [`table_loop`](self) takes tables,
//! [`process`] and its users start processes through the interceptor, [`server`] and [`exec`] serve the command line.

pub mod claim;
pub mod client;
pub mod clock;
pub mod control;
pub mod controller_keeper;
pub mod controller_process;
pub mod daemon;
pub mod exec;
pub mod files;
pub mod fitness;
pub mod flags;
pub mod initial;
pub mod k3s_config;
pub mod k3s_process;
pub mod kubeconfig;
pub mod last_good;
pub mod lifecycle;
pub mod lock;
pub mod log;
pub mod logging;
mod means;
mod node_ready;
pub mod paths;
pub mod plan;
pub mod pods;
pub mod preflight;
pub mod probe;
pub mod process;
pub mod purge;
pub mod record;
pub mod remedies;
mod rules_trial;
pub mod server;
pub mod shutdown;
pub mod sources;
pub mod state;
pub mod status;
pub mod supervise;
mod table_loop;
