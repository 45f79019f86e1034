//! What galaxy-sdn sends: `{"env":{…},"config":"<base64 of the configuration>"}`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use galaxy_cni::spec::{Attachment, Command, NetConf, Request, Version};
use serde::Deserialize;

use crate::cluster::PodRef;

/// A call, checked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The environment.
    pub request: Request,
    /// The pod; empty where the command has none.
    pub pod: PodRef,
    /// Version to answer in.
    pub version: Version,
    /// GC: what is in use.
    pub valid: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
struct Body {
    env: BTreeMap<String, String>,
    #[serde(default)]
    config: Option<String>,
}

/// What the environment of every call has, empty or not.
const VARIABLES: [&str; 6] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"];
const NAMESPACE: &str = "K8S_POD_NAMESPACE";
const NAME: &str = "K8S_POD_NAME";
const UID: &str = "K8S_POD_UID";

impl Call {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong, naming member, variable and value.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| format!("the request makes no sense: {error}"))?;
        let command = body.env.get("CNI_COMMAND").and_then(|text| Command::parse(text));
        let of_pod = matches!(command, None | Some(Command::Add | Command::Del | Command::Check));
        if let Some(missing) = VARIABLES.iter().find(|name| of_pod && !body.env.contains_key(**name)) {
            return Err(format!("env lacks {missing}"));
        }
        let request = Request::from_env(body.env).map_err(|error| error.msg)?;
        let get = |key: &str| request.args.get(key).unwrap_or_default().to_owned();
        let pod = PodRef { namespace: get(NAMESPACE), name: get(NAME), uid: get(UID) };
        if of_pod {
            for (key, value) in [(NAMESPACE, &pod.namespace), (NAME, &pod.name)] {
                if !galaxy_api::names::is_name(value) {
                    return Err(format!("CNI_ARGS: {key}={value:?} is not a name; is this call made for a pod?"));
                }
            }
        }
        let config = STANDARD
            .decode(body.config.unwrap_or_default())
            .map_err(|error| format!("config is not base64: {error}"))?;
        // The original's shim may send any configuration: only GC reads more than the version.
        let conf = NetConf::parse(&config);
        let (version, valid) = match (conf, command) {
            (Ok(conf), _) => (conf.version, conf.valid),
            (Err((_, error)), Some(Command::Gc)) => return Err(error.msg),
            (Err((version, _)), _) => (version.max(Version::V1_0_0), None),
        };
        Ok(Call { request, pod, version, valid })
    }
}
