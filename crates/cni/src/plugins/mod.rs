//! The plugins: which devices they use, and the course of a call.

mod add;
mod clean;
mod config;
mod k8s_vlan;
mod underlay_veth;

use serde_json::Value;

use config::Config;
pub(crate) use config::Conflict;

use crate::{
    attach::{Ground, verify},
    ident::Identity,
    ipam::{Delegate, Wanted},
    netlink::Net,
    node::Node,
    spec::{Command, Error, NetConf, Request, Route, Version, code},
    undo::Undo,
};

/// A plugin by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// The host routes to its pods and answers for them.
    UnderlayVeth,
    /// Bridges, macvlans or ipvlans, with or without VLANs.
    K8sVlan,
}

impl Plugin {
    /// All of them.
    pub const ALL: [Plugin; 2] = [Plugin::UnderlayVeth, Plugin::K8sVlan];

    /// Name of the program, and `type` in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Plugin::UnderlayVeth => "galaxy-underlay-veth",
            Plugin::K8sVlan => "galaxy-k8s-vlan",
        }
    }

    /// Answers a call other than VERSION. The answer is null where the specification wants none.
    ///
    /// # Errors
    /// As the runtime shall read them.
    pub fn call(self, node: &Node, request: &Request, conf: &NetConf) -> Result<Value, Error> {
        let config = Config::read(conf)?;
        let call = Call { plugin: self, node, request, conf, config: &config };
        match request.command {
            Command::Add => call.add().map(|result| result.to_json(conf.version)),
            Command::Del => call.del().map(|()| Value::Null),
            Command::Check => call.check().map(|()| Value::Null),
            Command::Gc => call.gc().map(|()| Value::Null),
            Command::Status => call.status().map(|()| Value::Null),
            Command::Version => Ok(crate::spec::version_reply(Some(conf.version))),
        }
    }

    /// Finds or makes what the addresses shall be connected to.
    fn grounds(
        self,
        config: &Config,
        net: &mut Net,
        wanted: &[Wanted],
        done: &mut Vec<Undo>,
    ) -> Result<Vec<Ground>, Error> {
        match self {
            Plugin::UnderlayVeth => underlay_veth::grounds(config, net, wanted),
            Plugin::K8sVlan => k8s_vlan::grounds(config, net, wanted, done),
        }
    }

    /// The routes of each interface in the pod's main table.
    fn routes(self, wanted: &[Wanted]) -> Vec<Vec<Route>> {
        match self {
            Plugin::UnderlayVeth => underlay_veth::routes(wanted),
            Plugin::K8sVlan => k8s_vlan::routes(wanted),
        }
    }
}

/// One call.
struct Call<'a> {
    plugin: Plugin,
    node: &'a Node,
    request: &'a Request,
    conf: &'a NetConf,
    config: &'a Config,
}

impl Call<'_> {
    fn identity(&self) -> Identity {
        Identity {
            plugin: self.plugin.name().to_owned(),
            network: self.conf.name.clone(),
            container_id: self.request.container_id.clone(),
            ifname: self.request.ifname.clone(),
        }
    }

    fn delegate(&self) -> Option<Delegate<'_>> {
        Delegate::new(self.conf, self.request)
    }

    fn needs(&self, version: Version) -> Result<(), Error> {
        if self.conf.version >= version {
            return Ok(());
        }
        let (command, asked) = (self.request.command.as_str(), self.conf.version.as_str());
        let msg = format!("{command} needs cniVersion {} or later, the configuration has {asked}", version.as_str());
        Err(Error::new(code::INCOMPATIBLE_VERSION, msg))
    }

    fn check(&self) -> Result<(), Error> {
        self.needs(Version::V0_4_0)?;
        let Some(result) = &self.conf.prev_result else {
            return Err(Error::config("CHECK needs prevResult in the configuration"));
        };
        if let Some(delegate) = self.delegate() {
            delegate.call(Command::Check)?;
        }
        verify(self.node, &self.identity(), self.request, result)
    }

    /// Ready when the devices are there that every pod needs.
    fn status(&self) -> Result<(), Error> {
        self.needs(Version::V1_1_0)?;
        let mut net = self.node.net()?;
        self.config
            .device(&mut net)
            .and_then(|device| match device {
                Some(device) if !device.up => Err(Error::config(format!("device {} is down; set it up", device.name))),
                _ => Ok(()),
            })
            .map_err(|error| Error::new(code::NOT_AVAILABLE, error.msg))?;
        self.delegate().map_or(Ok(()), |delegate| delegate.call(Command::Status))
    }
}
