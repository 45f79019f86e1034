//! What there is of attachments, whoever made it: for an agent that compares it with what lives.

use std::path::PathBuf;

use crate::{
    attach::{remove, remove_strays},
    ident::part,
    netlink::{CONDEMNED, Link},
    node::Node,
    spec::Error,
    state::{Record, RunDir},
};

/// A device or a record of some attachment.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The container's part of a device's alias.
    container: String,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Device(Link),
    Record(PathBuf, Record),
}

impl Leftover {
    /// Whether it belongs to a container.
    pub fn is_of(&self, container_id: &str) -> bool {
        self.container == part(container_id)
    }

    /// `device` or `record`.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Device(_) => "device",
            What::Record(..) => "record",
        }
    }

    /// What to call it in a log; the same thing has the same name.
    pub fn name(&self) -> String {
        match &self.what {
            What::Device(link) => format!("device {} ({})", link.name, link.alias),
            What::Record(_, record) => {
                format!("record of {} in network {}", record.identity.container_id, record.identity.network)
            }
        }
    }
}

impl Node {
    /// All devices of attachments in the host's namespace, and all records in the given folders (`run_dir` of
    /// configurations; none for the default).
    ///
    /// # Errors
    /// Those of the kernel, and of reading a folder that is there.
    pub fn leftovers(&self, run_dirs: &[Option<String>]) -> Result<Vec<Leftover>, Error> {
        let links = self.net()?.links().map_err(|error| Error::network("cannot list devices", &error))?;
        let mut all = Vec::new();
        for run_dir in run_dirs {
            let folder = RunDir::path_of(run_dir.as_deref());
            let records = if folder.is_dir() { RunDir::open(run_dir.as_deref())?.records()? } else { Vec::new() };
            all.extend(records.into_iter().map(|record| Leftover {
                container: part(&record.identity.container_id),
                what: What::Record(folder.clone(), record),
            }));
        }
        let devices = links.into_iter().filter(|link| link.group != CONDEMNED).filter_map(|link| {
            let container = link.alias.strip_prefix("galaxy/")?.split('/').nth(2)?.to_owned();
            Some(Leftover { container, what: What::Device(link) })
        });
        all.extend(devices);
        Ok(all)
    }

    /// Removes what is left of an attachment; what is gone by now is no error.
    ///
    /// # Errors
    /// Those of the kernel and of removing the record.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<(), Error> {
        match &leftover.what {
            What::Record(folder, record) => {
                let run_dir = RunDir::open(folder.to_str())?;
                let identity = &record.identity;
                let _attachment = run_dir.lock(&identity.lock())?;
                remove(self, identity, "", (&run_dir, Some(record)), &[])?;
                run_dir.remove(identity)
            }
            What::Device(link) => {
                let mut host = self.net()?;
                let now = host
                    .link_at(link.index)
                    .map_err(|error| Error::network(format!("cannot look up device {}", link.name), &error))?;
                // The index may be another's by now.
                match now.filter(|now| now.alias == link.alias) {
                    Some(link) => remove_strays(self, &mut host, &[link]),
                    None => Ok(()),
                }
            }
        }
    }
}
