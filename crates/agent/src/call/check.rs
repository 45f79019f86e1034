//! CHECK.

use std::sync::Arc;

use galaxy_cni::spec::{Command, Error, Version, code};

use super::{
    Agent, Call,
    add::{version_of, with_prev_result},
    plugin::Environment,
};

impl Agent {
    /// Whether all that ADD made is still there. Plugins whose version has no CHECK have nothing to say.
    pub(super) async fn check(self: &Arc<Self>, call: &Call) -> Result<(), Error> {
        let (id, ifname) = (&call.request.container_id, &call.request.ifname);
        let _held = self.slots.hold(id).await;
        let sandbox = self.store.load(id, ifname)?;
        let Some(sandbox) = sandbox.filter(|sandbox| sandbox.complete) else {
            return Err(Error::new(
                code::CHECK_FAILED,
                format!("interface {ifname} of container {id} was never completed"),
            ));
        };
        for network in &sandbox.networks {
            let environment = Environment {
                container_id: id.clone(),
                netns: call.request.netns.clone(),
                ifname: network.ifname.clone(),
                args: network.args.clone(),
                env: call.request.env.clone(),
            };
            for conf in network.plugins.iter().filter(|conf| version_of(conf) >= Version::V0_4_0) {
                let conf = with_prev_result(conf, network.result.as_ref())?;
                let checked = self.run(Command::Check, &environment, &conf).await;
                checked
                    .map_err(|error| Error::new(error.code, format!("network {}: {}", network.network, error.msg)))?;
            }
        }
        Ok(())
    }
}
