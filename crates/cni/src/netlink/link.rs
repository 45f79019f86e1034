//! Devices.

use std::io;

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan,
        InfoPortData, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
        State,
    },
};

use super::{Net, Netns, is_missing};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The group that devices are put into to be deleted at once: the kernel waits once for all of them.
pub const CONDEMNED: u32 = 0x6761_6c78;

/// `02:42:0a:…`
pub fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What matters here about the kind of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// An 802.1Q device with its id.
    Vlan(u16),
    /// A macvlan.
    Macvlan,
    /// An ipvlan.
    Ipvlan,
    /// Something else: `""` for hardware.
    Other(String),
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Alias; empty if it has none.
    pub alias: String,
    /// Kind.
    pub kind: LinkKind,
    /// Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Set up.
    pub up: bool,
    /// Up and connected.
    pub running: bool,
    /// Index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// As a bridge port: forwards frames.
    pub forwarding: bool,
    /// Index of the other end or of the lower device, maybe in another namespace.
    pub parent: Option<u32>,
    /// The group that it is in.
    pub group: u32,
}

/// A pair to be created, with the other end right in its namespace.
pub struct Veth<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// Address of this end.
    pub mac: Option<Mac>,
    /// Name of the other end.
    pub peer: &'a str,
    /// Namespace of the other end.
    pub peer_ns: &'a Netns,
    /// Address of the other end.
    pub peer_mac: Option<Mac>,
    /// Of both ends.
    pub mtu: Option<u32>,
}

/// Mode of an ipvlan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IpvlanMode {
    L2,
    L3,
    L3s,
}

/// A device that sits on another one and lives in another namespace.
pub enum Child {
    /// A macvlan in bridge mode, with its address.
    Macvlan(Mac),
    /// An ipvlan.
    Ipvlan(IpvlanMode),
}

impl Net {
    /// The device of a name.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message)
    }

    /// The device of an index.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn link_at(&mut self, index: u32) -> io::Result<Option<Link>> {
        self.one_link(with_index(index))
    }

    fn one_link(&mut self, message: LinkMessage) -> io::Result<Option<Link>> {
        match self.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(answers) => Ok(answers.into_iter().find_map(Link::read)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All devices.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(Link::read).collect())
    }

    /// Creates a pair.
    ///
    /// # Errors
    /// Those of the kernel; EEXIST for either name.
    pub fn create_veth(&mut self, veth: &Veth) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![LinkAttribute::IfName(veth.peer.to_owned()), LinkAttribute::NetNsFd(veth.peer_ns.fd())];
        peer.attributes.extend(veth.peer_mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        peer.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(veth.name.to_owned())];
        message.attributes.extend(veth.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
        self.create_kind(message, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))))
    }

    /// Creates a bridge with an address of its own, which it keeps when ports come and go.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn create_bridge(&mut self, name: &str, mac: Option<Mac>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        let data = vec![InfoBridge::StpState(BridgeStpState::Disabled)];
        self.create_kind(message, InfoKind::Bridge, Some(InfoData::Bridge(data)))
    }

    /// Creates an 802.1Q device.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn create_vlan(&mut self, name: &str, parent: u32, id: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Link(parent)];
        self.create_kind(message, InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(id)])))
    }

    /// Creates a device on `parent`, which is in this namespace, right in another one.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn create_child(&mut self, name: &str, parent: u32, ns: &Netns, mtu: u32, kind: &Child) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(parent),
            LinkAttribute::NetNsFd(ns.fd()),
            LinkAttribute::Mtu(mtu),
        ];
        match kind {
            Child::Macvlan(mac) => {
                message.attributes.push(LinkAttribute::Address(mac.to_vec()));
                let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
                self.create_kind(message, InfoKind::MacVlan, Some(data))
            }
            Child::Ipvlan(mode) => {
                let mode = match mode {
                    IpvlanMode::L2 => IpVlanMode::L2,
                    IpvlanMode::L3 => IpVlanMode::L3,
                    IpvlanMode::L3s => IpVlanMode::L3S,
                };
                self.create_kind(message, InfoKind::IpVlan, Some(InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)])))
            }
        }
    }

    fn create_kind(&mut self, mut message: LinkMessage, kind: InfoKind, data: Option<InfoData>) -> io::Result<()> {
        let info = [Some(LinkInfo::Kind(kind)), data.map(LinkInfo::Data)];
        message.attributes.push(LinkAttribute::LinkInfo(info.into_iter().flatten().collect()));
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    /// Sets the alias, makes the device a port of `master`, and sets it up, in this order.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn claim(&mut self, index: u32, alias: &str, master: Option<u32>) -> io::Result<()> {
        let mut message = up(index);
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        message.attributes.extend(master.map(LinkAttribute::Controller));
        self.request(RouteNetlinkMessage::SetLink(message))
    }

    /// Gives a device its final name and its alias in one step; it must be down.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn rename(&mut self, index: u32, name: &str, alias: &str) -> io::Result<()> {
        let mut message = with_index(index);
        message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::IfAlias(alias.to_owned())];
        self.request(RouteNetlinkMessage::SetLink(message))
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(RouteNetlinkMessage::SetLink(up(index)))
    }

    /// Sets a device down.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_down(&mut self, index: u32) -> io::Result<()> {
        let mut message = with_index(index);
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message))
    }

    /// Makes a device a port of a bridge, or of none.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> io::Result<()> {
        let mut message = with_index(index);
        message.attributes.push(LinkAttribute::Controller(master.unwrap_or(0)));
        self.request(RouteNetlinkMessage::SetLink(message))
    }

    /// Sets the largest packet in bytes.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = with_index(index);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.request(RouteNetlinkMessage::SetLink(message))
    }

    /// Deletes devices, all in one step; those that are gone already are no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete(&mut self, indexes: &[u32]) -> io::Result<()> {
        if let [index] = indexes {
            return super::gone_is_fine(self.request(RouteNetlinkMessage::DelLink(with_index(*index))));
        }
        self.condemn(indexes)?;
        if indexes.is_empty() { Ok(()) } else { self.delete_condemned() }
    }

    /// Puts devices into the group [`CONDEMNED`]; those that are gone already are no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn condemn(&mut self, indexes: &[u32]) -> io::Result<()> {
        indexes.iter().try_for_each(|index| {
            let mut message = with_index(*index);
            message.attributes.push(LinkAttribute::Group(CONDEMNED));
            super::gone_is_fine(self.request(RouteNetlinkMessage::SetLink(message)))
        })
    }

    /// Deletes all devices of the group [`CONDEMNED`] in one step.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete_condemned(&mut self) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(CONDEMNED));
        super::gone_is_fine(self.request(RouteNetlinkMessage::DelLink(message)))
    }
}

fn with_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn up(index: u32) -> LinkMessage {
    let mut message = with_index(index);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

impl Link {
    fn read(answer: RouteNetlinkMessage) -> Option<Link> {
        let RouteNetlinkMessage::NewLink(message) = answer else { return None };
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            alias: String::new(),
            kind: LinkKind::Other(String::new()),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            running: false,
            master: None,
            forwarding: false,
            parent: None,
            group: 0,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(master) => link.master = Some(master),
                LinkAttribute::Link(parent) => link.parent = Some(parent),
                LinkAttribute::Group(group) => link.group = group,
                // Hardware without carrier detection stays "unknown" while it works.
                LinkAttribute::OperState(state) => link.running = matches!(state, State::Up | State::Unknown),
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| link.read_info(info)),
                _ => {}
            }
        }
        Some(link)
    }

    fn read_info(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => {
                self.kind = match kind {
                    InfoKind::Veth => LinkKind::Veth,
                    InfoKind::Bridge => LinkKind::Bridge,
                    InfoKind::Vlan => LinkKind::Vlan(0),
                    InfoKind::MacVlan => LinkKind::Macvlan,
                    InfoKind::IpVlan => LinkKind::Ipvlan,
                    other => LinkKind::Other(format!("{other:?}").to_ascii_lowercase()),
                }
            }
            LinkInfo::Data(InfoData::Vlan(data)) => {
                let id = data.iter().find_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None });
                self.kind = LinkKind::Vlan(id.unwrap_or(0));
            }
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                self.forwarding = port.contains(&InfoBridgePort::State(BridgePortState::Forwarding));
            }
            _ => {}
        }
    }
}
