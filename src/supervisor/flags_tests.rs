//! Tests of the k3s command line.

use super::*;

const BASE: &str = "server --disable-agent --egress-selector-mode=disabled";
const DEFAULTS: &str = "--disable=traefik,servicelb,metrics-server,local-storage,coredns --disable-cloud-controller \
     --disable-kube-proxy --disable-network-policy --disable-helm-controller";

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn settings(backend: Option<&str>, snapshotter: Option<&str>, extra: &str) -> DesiredDocument {
    let text = |value: &str| Sourced { value: value.to_owned(), source: "object".into() };
    let k3s = K3sSettings {
        flannel_backend: backend.map(text),
        snapshotter: snapshotter.map(text),
        extra_args: vec![Sourced { value: words(extra), source: "object".into() }],
        ..Default::default()
    };
    DesiredDocument { k3s, ..Default::default() }
}

fn everything() -> NodeAbilities {
    NodeAbilities::default()
}

#[test]
fn auto_becomes_the_snapshotter_that_works_on_a_node_alone() {
    let auto = settings(None, Some("auto"), "");
    let built = |mode, kernel: &NodeAbilities| {
        plain(&build(&auto, &[], mode, &ConfigFile::default(), kernel).unwrap()).join(" ")
    };
    let nothing = NodeAbilities {
        overlay_removal: Some("no".into()),
        fuse_overlayfs: Some("no".into()),
        ..everything()
    };
    assert!(built(Mode::Node, &everything()).ends_with(" --snapshotter=overlayfs"));
    assert!(built(Mode::Node, &nothing).ends_with(" --snapshotter=native"));
    assert!(!built(Mode::ControlPlane, &everything()).contains("snapshotter"));
}

#[test]
fn the_pause_image_is_named_where_it_is_supplied() {
    let built = |off: &[Remedy]| {
        let document = DesiredDocument { remedies_off: off.to_vec(), ..settings(None, None, "") };
        plain(&build(&document, &[], Mode::Node, &ConfigFile::default(), &everything()).unwrap()).join(" ")
    };
    assert_eq!(built(&[]), format!("server --pause-image={PAUSE_IMAGE}"));
    assert_eq!(built(&[Remedy::PauseImage]), "server");
}

#[test]
fn precedence_is_user_then_sandbox_config_then_file_then_default() {
    let table = [
        // settings, user's flags, file, what follows the base
        (settings(None, None, ""), "", "", format!("--flannel-backend=none {DEFAULTS}")),
        (settings(Some("host-gw"), Some("native"), ""), "", "", format!("{DEFAULTS} --flannel-backend=host-gw --snapshotter=native")),
        (settings(Some("host-gw"), Some("auto"), ""), "--flannel-backend vxlan", "", format!("{DEFAULTS} --flannel-backend vxlan")),
        (settings(None, None, ""), "", "flannel-backend: host-gw", DEFAULTS.to_owned()),
        (settings(Some("none"), None, ""), "", "flannel-backend: host-gw", format!("{DEFAULTS} --flannel-backend=none")),
        (
            settings(None, None, "--node-name a --tls-san x --debug"),
            "--node-name=b --tls-san=y",
            "",
            format!("--flannel-backend=none {DEFAULTS} --tls-san x --debug --node-name=b --tls-san=y"),
        ),
        (
            settings(None, None, ""),
            "-disable-agent --disable=coredns",
            "",
            "--flannel-backend=none --disable-cloud-controller --disable-kube-proxy --disable-network-policy \
             --disable-helm-controller -disable-agent --disable=coredns"
                .to_owned(),
        ),
    ];
    for (settings, user, file, expected) in table {
        let args =
            build(&settings, &words(user), Mode::ControlPlane, &ConfigFile::parse(file), &everything())
                .unwrap();
        let base =
            if user.contains("disable-agent") { BASE.replace(" --disable-agent", "") } else { BASE.into() };
        assert_eq!(plain(&args), words(&format!("{base} {expected}")), "user {user:?}, file {file:?}");
    }
}

#[test]
fn every_argument_says_where_it_came_from() {
    let user = words("--debug");
    let args = build(
        &settings(Some("host-gw"), None, "--v 4"),
        &user,
        Mode::ControlPlane,
        &ConfigFile::default(),
        &everything(),
    );
    let args = args.unwrap();
    let source = |wanted: &str| args.iter().find(|arg| arg.arg == wanted).map(|arg| arg.source.as_str());
    assert_eq!(source("server"), Some(SANDBAR));
    assert_eq!(source("--flannel-backend=host-gw"), Some("object"));
    assert_eq!(source("4"), Some("object"));
    assert_eq!(source("--debug"), Some(COMMAND_LINE));
}

#[test]
fn combinations_that_cannot_work_are_refused_with_who_asked_for_them() {
    let refused = |settings: DesiredDocument, user: &str, mode| {
        build(&settings, &words(user), mode, &ConfigFile::default(), &everything()).unwrap_err().to_string()
    };
    let cases = [
        (
            settings(None, None, ""),
            "server --debug",
            Mode::ControlPlane,
            "\"server\" from command line: not a flag",
        ),
        (settings(None, None, "--debug x y"), "", Mode::ControlPlane, "\"y\" from object: not a flag"),
        (settings(Some("ipsec"), None, ""), "", Mode::ControlPlane, "flannelBackend \"ipsec\" from object"),
        (settings(None, Some("zfs"), ""), "", Mode::ControlPlane, "snapshotter \"zfs\" from object"),
        (
            settings(Some("none"), None, "-flannel-backend=host-gw"),
            "",
            Mode::ControlPlane,
            "--flannel-backend is set twice",
        ),
        (settings(None, None, ""), "--disable-agent", Mode::Node, "does not go with mode node"),
    ];
    for (settings, user, mode, expected) in cases {
        let message = refused(settings, user, mode);
        assert!(message.contains(expected), "{message}");
    }
}
