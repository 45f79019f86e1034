//! STATUS, and readiness: can pods get their addresses now?

use std::sync::Arc;

use galaxy_cni::{
    Plugin,
    spec::{Command, Error, Version, code},
};

use super::{Agent, plugin::Environment};

impl Agent {
    /// Whether ADD would work, as far as that can be known without one.
    ///
    /// # Errors
    /// [`code::NOT_AVAILABLE`], with the reason and the way out.
    pub async fn status(self: &Arc<Self>) -> Result<(), Error> {
        let unavailable = |why: String| Err(Error::new(code::NOT_AVAILABLE, why));
        let Some(config) = self.configs.now() else {
            return unavailable(format!("no configuration: {}", self.configs.problem().unwrap_or_default()));
        };
        if let Some(lacking) = self.cluster.lacking() {
            return unavailable(lacking.to_owned());
        }
        for name in config.default.iter().chain(&config.floating) {
            let Some(network) = config.networks.get(name) else { continue };
            let own = |conf: &&serde_json::Value| Plugin::ALL.iter().any(|plugin| conf["type"] == plugin.name());
            for conf in network.plugins.iter().filter(own) {
                let mut conf = conf.clone();
                conf["cniVersion"] = Version::V1_1_0.as_str().into();
                let environment = Environment {
                    container_id: String::new(),
                    netns: String::new(),
                    ifname: String::new(),
                    args: String::new(),
                    env: Vec::new(),
                };
                if let Err(error) = self.run(Command::Status, &environment, &conf).await {
                    return unavailable(format!("network {name}: {}", error.msg));
                }
            }
        }
        Ok(())
    }
}
