//! Kernel settings of the node that the flags ask for, kept against others who change them.

use std::{fs, io::ErrorKind, time::Duration};

use galaxy_cni::netlink::Netns;

/// Time between looks.
const PERIOD: Duration = Duration::from_secs(300);

/// Keeps the settings for ever. What the kernel does not have is passed over.
pub(crate) async fn keep(host: Netns, settings: Vec<(&'static str, bool)>) {
    loop {
        for (path, value) in settings.clone() {
            let host = host.clone();
            let done = tokio::task::spawn_blocking(move || host.within(|| set(path, value))).await;
            if let Ok(Ok(Err(error))) = done {
                tracing::warn!(%error, path, "kernel setting not written");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn set(path: &str, value: bool) -> std::io::Result<()> {
    let path = format!("/proc/sys/net/{path}");
    let value = if value { "1" } else { "0" };
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => fs::write(&path, value),
    }
}
