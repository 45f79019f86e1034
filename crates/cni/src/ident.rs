//! Whose a device is: names and aliases that are a function of the attachment.

use ring::digest::{SHA256, digest};

use crate::netlink::Mac;

/// One container's interface in one network of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    /// Plugin that made it.
    pub plugin: String,
    /// Name of the network.
    pub network: String,
    /// Container id.
    pub container_id: String,
    /// Interface name that the runtime asked for.
    pub ifname: String,
}

impl Identity {
    /// Alias of its devices up to the index of the address: `galaxy/PLUGIN/NETWORK/CONTAINER/IFNAME/`.
    ///
    /// Parts that would not fit into the kernel's 255 bytes are replaced by a hash.
    fn prefix(&self) -> String {
        format!("galaxy/{}/{}/{}/{}/", self.plugin, part(&self.network), part(&self.container_id), self.ifname)
    }

    /// Alias of the device for address `index`.
    pub(crate) fn alias(&self, index: usize) -> String {
        format!("{}{index}", self.prefix())
    }

    /// Whether an alias is one of this attachment.
    pub(crate) fn owns(&self, alias: &str) -> bool {
        alias.strip_prefix(&self.prefix()).is_some_and(|index| index.parse::<usize>().is_ok())
    }

    /// Whether an alias is one of any attachment in the same network of the same plugin.
    pub(crate) fn shares_network(&self, alias: &str) -> bool {
        alias.starts_with(&format!("galaxy/{}/{}/", self.plugin, part(&self.network)))
    }

    /// Name of the device for address `index` where no user chose one: `gx` and 13 characters of a hash.
    ///
    /// A device that got its name but not yet its alias is recognised by it.
    pub(crate) fn device(&self, index: usize) -> String {
        format!("gx{}", &hash(&self.alias(index))[..13])
    }

    /// Ethernet address of the host's device for address `index`. One that is set is left alone by udev.
    pub(crate) fn mac(&self, index: usize) -> Mac {
        let digest = digest(&SHA256, self.alias(index).as_bytes());
        let bytes = digest.as_ref();
        [0x02, 0x47, bytes[0], bytes[1], bytes[2], bytes[3]]
    }

    /// A name for files about it.
    pub(crate) fn file(&self) -> String {
        hash(&format!("{}\0{}\0{}\0{}", self.plugin, self.network, self.container_id, self.ifname))
    }

    /// The lock that calls for it hold. One of a few, so that their files need not be removed.
    pub(crate) fn lock(&self) -> String {
        format!("attachment-{}", digest(&SHA256, self.container_id.as_bytes()).as_ref()[0] % 64)
    }
}

/// Whether a name is one that [`Identity::device`] gives.
pub(crate) fn is_device_name(name: &str) -> bool {
    name.len() == 15 && name.starts_with("gx") && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

/// Names of the interfaces in the container: the one asked for, then `eth1`, `eth2`, … without it.
pub(crate) fn interface_names(first: &str) -> impl Iterator<Item = String> {
    let others = (1..).map(|n| format!("eth{n}"));
    let asked = first.to_owned();
    std::iter::once(first.to_owned()).chain(others.filter(move |name| *name != asked))
}

pub(crate) fn part(text: &str) -> String {
    // `~` occurs in no valid name.
    if text.len() <= 80 { text.to_owned() } else { format!("~{}", &hash(text)[..40]) }
}

/// 51 characters of `[a-z2-7]`.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref();
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    (0..51).map(|group| char::from(ALPHABET[(0..5).fold(0, |value, i| value * 2 + bit(group * 5 + i))])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(container_id: &str) -> Identity {
        Identity {
            plugin: "galaxy-underlay-veth".to_owned(),
            network: "underlay".to_owned(),
            container_id: container_id.to_owned(),
            ifname: "eth0".to_owned(),
        }
    }

    #[test]
    fn names_fit_and_differ_for_any_length_of_container_id() {
        let mut seen = std::collections::HashSet::new();
        for id in ["a".to_owned(), "ab".to_owned(), "c".repeat(64), "c".repeat(500), "c".repeat(501)] {
            let identity = identity(&id);
            for index in [0, 1, 9, 10, 11, 1000] {
                assert!(identity.device(index).len() <= 15);
                assert!(identity.alias(index).len() <= 255);
                assert!(identity.owns(&identity.alias(index)));
                assert!(seen.insert(identity.device(index)), "{id} {index}");
            }
        }
    }

    #[test]
    fn an_attachment_owns_only_its_own_aliases() {
        let mine = identity("abc");
        for alias in ["", "galaxy/", "galaxy/galaxy-underlay-veth/underlay/abc/eth0/", "eth0"] {
            assert!(!mine.owns(alias), "{alias}");
        }
        assert!(!mine.owns(&identity("abcd").alias(0)));
        for other in [
            Identity { ifname: "eth1".to_owned(), ..mine.clone() },
            Identity { network: "other".to_owned(), ..mine.clone() },
            Identity { plugin: "galaxy-k8s-vlan".to_owned(), ..mine.clone() },
        ] {
            assert!(!mine.owns(&other.alias(0)) && !other.owns(&mine.alias(0)));
            assert_ne!(mine.device(0), other.device(0));
        }
    }

    #[test]
    fn interfaces_are_numbered_around_the_first() {
        let names = |first| interface_names(first).take(4).collect::<Vec<_>>();
        assert_eq!(names("eth0"), ["eth0", "eth1", "eth2", "eth3"]);
        assert_eq!(names("eth1"), ["eth1", "eth2", "eth3", "eth4"]);
        assert_eq!(names("eth2"), ["eth2", "eth1", "eth3", "eth4"]);
        assert_eq!(names("net0"), ["net0", "eth1", "eth2", "eth3"]);
    }
}
