//! ADD: a lease, a link, a way out, host ports. If a step fails, all of them are taken back.

use std::path::Path;

use super::call::Call;
use super::config::Config;
use super::egress::{self, Egress};
use super::error::CniError;
use super::ipam::Ipam;
use super::netlink::Netlink;
use super::netns::Netns;
use super::plug::{self, Plug};
use super::ports;
use super::remove;
use super::result::{Interface, Outcome};
use super::state::{Attachment, Id, Store};
use super::userspace::{self, Way};

/// Attaches the pod. An attachment that is complete and in order is answered again as it is.
pub fn add(call: &Call, config: &Config, ipam: &Ipam<'_>, store: &Store) -> Result<Outcome, CniError> {
    let id =
        Id { network: config.name.clone(), container: call.container.clone(), ifname: call.ifname.clone() };
    let path = call.netns.as_deref().unwrap_or(Path::new(""));
    let (node, pod) = (Netns::own()?, Netns::open(path)?);
    if node.is(&pod) {
        return Err(CniError::Attachment(format!("{} is the node's own network namespace", path.display())));
    }
    let mut socket = plug::open()?;
    let plug = Plug { id: &id, mtu: None, node: &node, pod: &pod };
    if let Some(before) = store.attachment(&id)? {
        if let Some(outcome) = before.outcome.as_ref().filter(|_| before.netns == path)
            && plug::difference(&plug, &mut socket, outcome)?.is_none()
            && serve(config, &before).is_ok()
        {
            return Ok(outcome.clone());
        }
        // Half of it, from a call that was killed, or of an earlier life of the namespace.
        remove::attachment(&before, Some(&pod), &mut socket, ipam, store)?;
    }
    if plug.taken()? {
        return Err(CniError::Attachment(format!("the pod has a link named {} already", id.ifname)));
    }
    let mut attachment = Attachment { id: id.clone(), netns: path.to_owned(), ..Attachment::default() };
    store.save(&attachment)?;
    let leased = ipam.add(&id, &path.display().to_string());
    if let Err(error @ CniError::Delegate { .. }) = leased {
        // It said no, and has taken back what it had begun.
        store.forget(&id)?;
        return Err(error);
    }
    let built = leased.and_then(|leased| build(config, store, &plug, &mut socket, &leased, &mut attachment));
    built.inspect_err(|_| {
        if let Err(left) = remove::attachment(&attachment, Some(&pod), &mut socket, ipam, store) {
            eprintln!("sandbar-cni: after a failure something is left: {left}");
        }
    })
}

/// Has the server in user space do its part, if it has one.
fn serve(config: &Config, attachment: &Attachment) -> Result<(), CniError> {
    if attachment.userspace.is_empty() {
        return Ok(());
    }
    userspace::serve(&config.state_dir, &attachment.id.host_link()).map_err(CniError::Rules)
}

fn build(
    config: &Config,
    store: &Store,
    plug: &Plug<'_>,
    socket: &mut Netlink,
    leased: &Outcome,
    attachment: &mut Attachment,
) -> Result<Outcome, CniError> {
    let mut outcome = leased.single();
    let up = egress::uplink(socket, config)?;
    let mtu = plug::mtu(config.mtu, up.as_ref().map(|(link, _)| link.mtu));
    let (host_end, pod_end) = Plug { mtu, ..*plug }.make(socket, &outcome)?;
    egress::forward()?;
    let way = egress::ensure(config, store, up.as_ref(), leased)?;
    if let (Egress::Userspace { .. }, Some((address, subnet, gateway))) = (way, leased.v4()) {
        let link = attachment.id.ifname.clone();
        attachment.userspace.way = Some(Way { link, address, gateway, inside: vec![subnet] });
    }
    ports::open(config, store, socket, &outcome, attachment)?;
    store.save(attachment)?;
    serve(config, attachment)?;

    outcome.routes = outcome.all_routes();
    for ip in &mut outcome.ips {
        ip.interface = Some(1);
    }
    let netns = attachment.netns.display().to_string();
    outcome.interfaces = vec![host_end, Interface { sandbox: Some(netns), ..pod_end }];
    attachment.outcome = Some(outcome.clone());
    store.save(attachment)?;
    Ok(outcome)
}
