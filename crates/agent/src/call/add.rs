//! ADD.

use std::sync::Arc;

use galaxy_api::{annotation::PodArgs, names::ARGS_ANNOTATION};
use galaxy_cni::spec::{AddResult, Command, Error, NetConf, Version, code};
use serde_json::Value;

use super::{Agent, Call, arguments::arguments, plugin::Environment};
use crate::{
    cluster::Pod,
    config::{self, Config, Network},
    state::{Attachment, Sandbox, VERSION, netns_id},
};

impl Agent {
    /// Gives a pod its networks. The result is the first network's.
    pub(super) async fn add(self: &Arc<Self>, call: &Call) -> Result<Value, Error> {
        let held = self.slots.hold(&call.request.container_id).await;
        if let Some(before) = self.store.load(&call.request.container_id, &call.request.ifname)? {
            self.metrics.retry("add");
            let same = before.complete && before.pod == call.pod && before.live_netns() == call.request.netns;
            if let Some(result) = before.networks.first().and_then(|network| network.result.as_ref()).filter(|_| same) {
                return answer(result, call.version);
            }
            // What an earlier call began, or made for another pod or namespace.
            self.undo(before, &call.request.env, &call.request.netns).await?;
        }
        let pod = match self.cluster.pod(&call.pod, self.wait, &held.cancel).await {
            Ok(pod) => pod,
            Err(error) => return Err(self.tell(call, &call.pod.uid, "NoAddress", error)),
        };
        let plan = self.plan(call, &pod).await.map_err(|error| {
            let reason = if error.code == code::ADDRESS_CONFLICT { "AddressNotConfirmed" } else { "NoNetwork" };
            self.tell(call, &pod.uid, reason, error)
        })?;
        let done = self.attach(call, plan).await;
        done.map_err(|error| self.tell(call, &pod.uid, "NetworkFailed", error))
    }

    /// Tells the pod's owner too. One who is cancelled has no pod any more.
    fn tell(&self, call: &Call, uid: &str, reason: &'static str, error: Error) -> Error {
        if error.code != code::UNKNOWN_CONTAINER {
            self.cluster.events.warn(&call.pod.namespace, &call.pod.name, uid, reason, &error.msg);
        }
        error
    }

    /// What is to be done for a pod.
    async fn plan(&self, call: &Call, pod: &Pod) -> Result<Sandbox, Error> {
        let bad = |why: String| Error::config(format!("pod {}: {why}", call.pod));
        let args = PodArgs::parse(&pod.args).map_err(|error| bad(error.to_string()))?;
        let addresses = self.cluster.addresses(pod, &args).await?;
        if pod.wants_ip && addresses.is_empty() {
            return Err(bad(format!("annotation {ARGS_ANNOTATION} has no addresses that make sense")));
        }
        let given = call.request.env.iter().find(|(key, _)| key == "CNI_ARGS").map_or("", |(_, value)| value);
        let args = arguments(given, &args, &addresses).map_err(bad)?;
        let Some(config) = self.configs.now() else {
            let problem = self.configs.problem().unwrap_or_else(|| "it was not read yet".to_owned());
            return Err(Error::new(code::TRY_AGAIN, format!("the agent has no configuration: {problem}")));
        };
        let named = config::parse_selection(&pod.networks).map_err(bad)?;
        let chosen = config.choose(&named, pod.wants_ip, &call.request.ifname).map_err(bad)?;
        let mut networks = Vec::with_capacity(chosen.len());
        for chosen in chosen {
            let network = self.network(&config, &chosen.network).map_err(bad)?;
            let (plugins, args) = (network.plugins, args.clone());
            networks.push(Attachment { network: network.name, ifname: chosen.interface, args, plugins, result: None });
        }
        Ok(Sandbox {
            version: VERSION,
            container_id: call.request.container_id.clone(),
            ifname: call.request.ifname.clone(),
            netns: call.request.netns.clone(),
            netns_id: netns_id(&call.request.netns),
            pod: crate::cluster::PodRef { uid: call.pod.uid.clone(), ..call.pod.clone() },
            created: jiff::Timestamp::now().as_second(),
            complete: false,
            networks,
        })
    }

    fn network(&self, config: &Config, name: &str) -> Result<Network, String> {
        if let Some(network) = config.networks.get(name) {
            return Ok(network.clone());
        }
        let found = config::find_in_folder(&self.network_conf_dir, name)?;
        let folder = self.network_conf_dir.display();
        found.ok_or_else(|| format!("network {name:?} is neither in NetworkConf nor in a file in {folder}"))
    }

    /// Writes down what is to be done, does it, and writes down what came of it.
    async fn attach(self: &Arc<Self>, call: &Call, mut sandbox: Sandbox) -> Result<Value, Error> {
        self.store.save(&sandbox)?;
        let done = self.attach_all(call, &mut sandbox).await.and_then(|first| {
            let answer = answer(&first, call.version)?;
            sandbox.complete = true;
            self.store.save(&sandbox)?;
            Ok(answer)
        });
        match done {
            Ok(answer) => Ok(answer),
            Err(error) => match self.undo(sandbox, &call.request.env, &call.request.netns).await {
                Ok(()) => Err(error),
                // DEL or the collector will try again.
                Err(also) => Err(Error::new(error.code, format!("{}; and taking it back: {}", error.msg, also.msg))),
            },
        }
    }

    async fn attach_all(self: &Arc<Self>, call: &Call, sandbox: &mut Sandbox) -> Result<Value, Error> {
        let mut before: Option<Value> = None;
        for network in &mut sandbox.networks {
            let environment = Environment {
                container_id: call.request.container_id.clone(),
                netns: call.request.netns.clone(),
                ifname: network.ifname.clone(),
                args: network.args.clone(),
                env: call.request.env.clone(),
            };
            // A list begins anew; a single plugin may build on the network before, as with the original.
            let mut prev = if network.plugins.len() == 1 { before.take() } else { None };
            for conf in &network.plugins {
                let conf = with_prev_result(conf, prev.as_ref())?;
                prev = Some(self.run(Command::Add, &environment, &conf).await?);
            }
            network.result.clone_from(&prev);
            before = prev;
        }
        let first = sandbox.networks.first().and_then(|network| network.result.clone());
        first.ok_or_else(|| Error::config("the pod has no network"))
    }
}

/// A result in the version that the runtime wants.
fn answer(result: &Value, version: Version) -> Result<Value, Error> {
    let result = AddResult::from_json(result, Version::V0_2_0)?;
    if result.ips.is_empty() {
        return Err(Error::new(code::DECODING, "the first network gave the pod no address"));
    }
    Ok(result.to_json(version))
}

/// A copy of a configuration with a result in its own version. The configuration itself never changes.
pub(super) fn with_prev_result(conf: &Value, result: Option<&Value>) -> Result<Value, Error> {
    let mut conf = conf.clone();
    if let (Some(result), Some(members)) = (result, conf.as_object_mut()) {
        let version = match members.get("cniVersion").and_then(Value::as_str) {
            Some(text) => Version::parse(text)?,
            None => Version::default(),
        };
        let same = result.get("cniVersion").and_then(Value::as_str) == Some(version.as_str());
        // In the same version it may say more than is understood here.
        let result = if same { result.clone() } else { AddResult::from_json(result, version)?.to_json(version) };
        members.insert("prevResult".to_owned(), result);
    }
    Ok(conf)
}

/// The version of a configuration.
pub(super) fn version_of(conf: &Value) -> Version {
    NetConf::parse(conf.to_string().as_bytes()).map(|conf| conf.version).unwrap_or_default()
}
