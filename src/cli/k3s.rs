//! Where the k3s executable is: found or fetched, told on stderr when that takes a moment.

use std::path::Path;

use crate::exit::Failure;
use crate::fetch::progress;
use crate::k3s::{self, Located, Request};

/// Finds k3s as given, on PATH or in the cache, or fetches it.
pub fn locate(explicit: Option<&Path>, version: Option<&str>) -> Result<Located, Failure> {
    let request = Request {
        explicit: explicit.map(Path::to_owned),
        version: version.map(str::to_owned),
        offline: false,
    };
    k3s::locate(&request, progress::auto().as_mut()).map_err(k3s::Error::into_failure)
}
