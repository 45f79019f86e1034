//! The shipped manifest: its flags and its configuration are understood, and it may do what the agent does.

use galaxy_agent::{
    cli::{Action, Options},
    config::Config,
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Container},
    rbac::v1::{ClusterRole, Role},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

const MANIFEST: &str = include_str!("../../../deploy/agent.yaml");

fn object<T: DeserializeOwned>(kind: &str) -> T {
    let objects = MANIFEST.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let found: Vec<Value> = objects.filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    serde_json::from_value(found[0].clone()).unwrap()
}

fn options(container: &Container) -> Options {
    let args = container.args.clone().unwrap_or_default();
    Options::parse_args(std::iter::once("galaxy".to_owned()).chain(args).map(Into::into)).unwrap()
}

#[test]
fn flags_and_configuration_are_understood() {
    let set: DaemonSet = object("DaemonSet");
    let pod = set.spec.template.spec.unwrap();
    let agent = options(&pod.containers[0]);
    assert!(agent.action.is_none() && agent.notes.is_empty());
    let name = set.metadata.namespace.unwrap() + "/" + &set.metadata.name.unwrap();
    assert_eq!(agent.daemon_set, name);
    // Every folder that the agent uses is the node's.
    let mounts: Vec<String> =
        pod.containers[0].volume_mounts.iter().flatten().map(|mount| mount.mount_path.clone()).collect();
    for path in
        [&agent.state_dir, &agent.network_conf_dir, &agent.json_config_path, &"/run/containerd/containerd.sock".into()]
    {
        assert!(mounts.iter().any(|mount| path.starts_with(mount)), "{}", path.display());
    }
    // The image has /var/run -> /run.
    assert!(agent.socket.starts_with("/var/run") && mounts.contains(&"/run".to_owned()));
    let install = options(&pod.init_containers.unwrap()[0]);
    assert!(matches!(install.action, Some(Action::Install(_))));

    let map: ConfigMap = object("ConfigMap");
    let config = Config::parse(map.data.unwrap()["galaxy.json"].as_bytes()).unwrap();
    assert!(config.networks.contains_key(config.floating.as_deref().unwrap()));
}

/// No more than what it calls: reading pods and FloatingIPs, writing events, asking for itself.
#[test]
fn rights_are_the_least() {
    let role: ClusterRole = object("ClusterRole");
    let rules = role.rules.unwrap().into_iter();
    let rules: Vec<(String, String)> =
        rules.map(|rule| (rule.resources.unwrap().join(","), rule.verbs.join(","))).collect();
    let wanted = [("pods", "get,list,watch"), ("floatingips", "get,list,watch"), ("events", "create,patch")];
    assert_eq!(rules, wanted.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned())));
    let role: Role = object("Role");
    let rule = &role.rules.unwrap()[0];
    assert_eq!(
        (rule.resource_names.clone().unwrap(), rule.verbs.clone()),
        (vec!["galaxy".to_owned()], vec!["get".to_owned()])
    );
}

/// Plugins are installed whole, also over older ones, and go again.
#[test]
fn installing_and_uninstalling() {
    let dir = std::env::temp_dir().join(format!("galaxy-install-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let install = galaxy_agent::cli::Install {
        program: dir.join("program"),
        bin_dir: dir.join("bin"),
        cni_conf: dir.join("00.conf"),
    };
    for content in ["one", "two", "two"] {
        std::fs::write(&install.program, content).unwrap();
        galaxy_agent::install::install(&install).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(&install.bin_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["galaxy-k8s-vlan", "galaxy-sdn", "galaxy-underlay-veth"]);
        for name in names {
            let path = install.bin_dir.join(name);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o755);
        }
    }
    galaxy_agent::install::configure(&install.cni_conf, std::path::Path::new("/run/galaxy/galaxy.sock")).unwrap();
    for _ in 0..2 {
        galaxy_agent::install::uninstall(&install).unwrap();
        assert!(!install.cni_conf.exists() && std::fs::read_dir(&install.bin_dir).unwrap().next().is_none());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
