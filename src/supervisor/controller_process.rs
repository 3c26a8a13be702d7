//! The controller process: how the supervisor starts it, and the contract between the two.
//!
//! The supervisor runs `sandbar controller` (its own executable) untraced, in a session of its own, once k3s has been
//! ready for the first time, and again with backoff whenever it ends. What it hands over:
//!
//! | descriptor | what it is |
//! |---|---|
//! | 3 | the desired table, writable: [`DesiredWriter::open`](crate::rules::table::DesiredWriter::open) |
//! | 4 | the observed table, read-only: [`Observed::open`](crate::rules::observed::Observed::open)`(fd, false)` |
//! | 5 | *desired bell*, an eventfd: the controller writes 1 after it published a generation |
//! | 6 | *observed bell*, an eventfd: the supervisor writes 1 after every acknowledgement and every change of state |
//! | 7 | *lifeline*, a stream socket: end-of-file says that the supervisor is gone, and the controller must exit. The controller writes the line `ready` to it once the CRD is established, the built-in profiles are applied and its first table was published; `unready` takes that back |
//!
//! Both bells are blocking; the controller may set `O_NONBLOCK` on a duplicate made through `/proc/self/fd` only, since
//! the flag belongs to the open file that both sides share. A bell says "look again", never how often: after it, compare
//! [`Observed::revision`](crate::rules::observed::Observed::revision) and the
//! [`Acknowledged`](crate::rules::observed::Scalar::Acknowledged) scalar.
//!
//! | variable | what it says |
//! |---|---|
//! | `SANDBAR_FDS` | `3,4,5,6,7` |
//! | `KUBECONFIG` | k3s's own kubeconfig |
//! | `SANDBAR_RUN_DIR`, `SANDBAR_STATE_DIR` | where this supervisor keeps its things |
//! | `SANDBAR_MODE` | `control-plane` or `node` |
//! | `SANDBAR_CONFIG_FILES` | files given to `up -f`, joined by `:` as in PATH, absolute; to be applied to the cluster once |
//!
//! A generation counts as taken or refused when `Acknowledged` equals it; only then may the next be published.
