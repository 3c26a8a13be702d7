//! Which kinds of links this kernel makes, and calls by their name afterwards: what pod networks other than ours are built of.

use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan};

use super::error::CniError;
use super::netlink::Netlink;
use super::netns;

/// flannel's port for VXLAN on Linux.
const VXLAN_PORT: u16 = 8472;

/// Tries a bridge, a vxlan and a wireguard, in a network namespace that nobody else sees; why not, where it does not work.
pub fn tried() -> [Option<String>; 3] {
    let kinds = [
        (InfoKind::Bridge, None),
        (InfoKind::Vxlan, Some(InfoData::Vxlan(vec![InfoVxlan::Id(1), InfoVxlan::Port(VXLAN_PORT)]))),
        (InfoKind::Wireguard, None),
    ];
    kinds.map(|(kind, data)| netns::inside_fresh(|| make(kind, data)).err().map(|error| error.to_string()))
}

fn make(kind: InfoKind, data: Option<InfoData>) -> Result<(), CniError> {
    let what = format!("make a link of kind {kind}");
    let failed = || CniError::network(what.clone());
    let mut kernel = Netlink::open().map_err(failed())?;
    kernel.make_kind("probe", kind.clone(), data).map_err(failed())?;
    // flannel and the bridge plugin look at what they have made, and take it for something else if it has no kind.
    match kernel.kind("probe").map_err(failed())? {
        Some(told) if told == kind => Ok(()),
        _ => {
            let nameless = std::io::Error::other("the kernel makes it and does not say what it is");
            Err(failed()(nameless))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_no_kernel_has_is_refused_with_its_name() {
        let why = netns::inside_fresh(|| make(InfoKind::Other("nonsense".into()), None)).unwrap_err();
        assert!(why.to_string().contains("nonsense"), "{why}");
    }
}
