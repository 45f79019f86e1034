//! DEL and GC.

use std::net::IpAddr;

use super::Call;
use crate::{
    attach::{remove, remove_links},
    ident::Identity,
    ipam::{Delegate, from_args},
    spec::{Command, Error, Version},
    state::{Record, RunDir},
};

impl Call<'_> {
    /// Takes away what ADD gave, IPAM last. Repetitions succeed.
    pub(super) fn del(&self) -> Result<(), Error> {
        let run_dir = self.config.run_dir()?;
        let identity = self.identity();
        self.forget(&run_dir, &identity, &self.request.netns, &self.named(), self.delegate())
    }

    /// The attachment's addresses as the call itself names them.
    fn named(&self) -> Vec<IpAddr> {
        if let Ok(Some(given)) = from_args(self.request) {
            return given.wanted.iter().map(|one| one.net.addr()).collect();
        }
        self.conf.prev_result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr()).collect()
    }

    fn forget(
        &self,
        run_dir: &RunDir,
        identity: &Identity,
        netns: &str,
        named: &[IpAddr],
        release: Option<Delegate<'_>>,
    ) -> Result<(), Error> {
        let _attachment = run_dir.lock(&identity.lock())?;
        remove(self.node, identity, netns, (run_dir, run_dir.load(identity).as_ref()), named)?;
        if let Some(delegate) = release {
            delegate.call(Command::Del)?;
        }
        run_dir.remove(identity)
    }

    /// Takes away all attachments of this network that the runtime does not know.
    pub(super) fn gc(&self) -> Result<(), Error> {
        self.needs(Version::V1_1_0)?;
        let Some(valid) = &self.conf.valid else {
            return Err(Error::config("GC needs cni.dev/valid-attachments in the configuration"));
        };
        let run_dir = self.config.run_dir()?;
        let valid: Vec<Identity> = valid
            .iter()
            .map(|attachment| Identity {
                container_id: attachment.container_id.clone(),
                ifname: attachment.ifname.clone(),
                ..self.identity()
            })
            .collect();
        let of_network =
            |record: &Record| record.identity.plugin == self.plugin.name() && record.identity.network == self.conf.name;
        let mut errors = Vec::new();
        for record in run_dir.records()?.into_iter().filter(of_network) {
            if !valid.contains(&record.identity) {
                // The IPAM plugin collects its own below.
                errors.extend(self.forget(&run_dir, &record.identity, "", &[], None).err());
            }
        }
        errors.extend(self.collect_unrecorded(&valid).err());
        if let Some(delegate) = self.delegate() {
            errors.extend(delegate.call(Command::Gc).err());
        }
        Error::join(errors)
    }

    /// Devices without a record: the folder may have been lost.
    fn collect_unrecorded(&self, valid: &[Identity]) -> Result<(), Error> {
        let mut net = self.node.net()?;
        let mut links = net.links().map_err(|error| Error::network("cannot list devices", &error))?;
        let network = self.identity();
        links.retain(|link| {
            network.shares_network(&link.alias) && !valid.iter().any(|identity| identity.owns(&link.alias))
        });
        if links.is_empty() { Ok(()) } else { remove_links(&mut net, &links) }
    }
}
