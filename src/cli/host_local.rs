//! What sandbar answers when it is called `host-local`: k3s looks that CNI plugin up before it starts, even where no pod
//! will ever ask for an address. The supervisor puts a link of that name at the end of k3s's PATH.

use std::path::Path;

use crate::supervisor::k3s_process::HOST_LOCAL;

/// The exit code, if the program was called by that name; what a CNI runtime expects is on stdout then.
pub fn answer_to_name() -> Option<u8> {
    let name = std::env::args_os().next()?;
    if Path::new(&name).file_name()? != HOST_LOCAL {
        return None;
    }
    // A CNI error result; 100 and above are the plugin's own codes.
    let message = "sandbar runs the control plane only: there is no pod network here";
    println!(
        r#"{{"cniVersion":"1.0.0","code":100,"msg":"{message}","details":"install the CNI plugins for more"}}"#
    );
    Some(1)
}
