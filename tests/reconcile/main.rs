//! The controller against a real API server: the real binary, a real k3s control plane (`SANDBAR_K3S`), and a thread that
//! answers as the supervisor does. Never skipped: without a k3s it fails and says how to get one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod controller;
mod lifecycle;
mod packaging;
mod refusals;
mod rules;
mod settings;
