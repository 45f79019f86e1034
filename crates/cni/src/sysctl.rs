//! Kernel settings of a namespace.

use std::{
    fs,
    io::{self, ErrorKind},
};

use crate::{
    netlink::Netns,
    spec::{Error, code},
};

/// Sets `path=value` pairs below `/proc/sys/net` of a namespace, where they differ. What the kernel does not have
/// (IPv6 switched off) is left out.
pub(crate) fn set(ns: &Netns, settings: &[(String, &str)]) -> Result<(), Error> {
    let done = ns.within(|| {
        settings.iter().try_for_each(|(path, value)| {
            write(path, value)
                .map_err(|error| Error::new(code::IO, format!("cannot set /proc/sys/net/{path} to {value}: {error}")))
        })
    });
    done.map_err(|error| Error::network(format!("cannot enter the namespace {}", ns.path().display()), &error))?
}

fn write(path: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{path}");
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => fs::write(&path, value),
    }
}

/// Lets the host pass on packets of an address family between `device` and pods.
pub(crate) fn forward(ns: &Netns, device: &str, v4: bool) -> Result<(), Error> {
    if v4 {
        return set(
            ns,
            &[
                (format!("ipv4/conf/{device}/forwarding"), "1"),
                ("ipv4/conf/all/arp_ignore".to_owned(), "0"),
                (format!("ipv4/conf/{device}/arp_ignore"), "0"),
                (format!("ipv4/neigh/{device}/proxy_delay"), "0"),
            ],
        );
    }
    // A host that forwards stops listening to router advertisements unless it is told 2.
    let listening = ns.within(|| fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{device}/accept_ra")));
    if matches!(listening, Ok(Ok(value)) if value.trim() == "1") {
        set(ns, &[(format!("ipv6/conf/{device}/accept_ra"), "2")])?;
    }
    set(
        ns,
        &[
            ("ipv6/conf/all/forwarding".to_owned(), "1"),
            (format!("ipv6/conf/{device}/forwarding"), "1"),
            (format!("ipv6/conf/{device}/proxy_ndp"), "1"),
            (format!("ipv6/neigh/{device}/proxy_delay"), "0"),
        ],
    )
}
