//! Installing on a node: the plugins' program, and the CNI configuration that makes the runtime call it.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::json;

use crate::cli::Install;

/// Names that the program is installed under.
const NAMES: [&str; 3] = ["galaxy-sdn", "galaxy-underlay-veth", "galaxy-k8s-vlan"];

/// Puts the plugins into their folder. A plugin that runs meanwhile is not disturbed, and a name never stands for half a
/// program.
///
/// # Errors
/// Those of reading and writing.
pub fn install(what: &Install) -> anyhow::Result<()> {
    let program = fs::read(&what.program).with_context(|| format!("cannot read {}", what.program.display()))?;
    fs::create_dir_all(&what.bin_dir).with_context(|| format!("cannot create {}", what.bin_dir.display()))?;
    let copy = what.bin_dir.join(".galaxy-cni");
    write(&copy, &program, 0o755)?;
    for name in NAMES {
        let (link, path) = (what.bin_dir.join(format!(".{name}")), what.bin_dir.join(name));
        let _ = fs::remove_file(&link);
        // One copy, many names, where the file system can do that.
        fs::hard_link(&copy, &link)
            .or_else(|_| fs::copy(&copy, &link).map(drop))
            .and_then(|()| fs::rename(&link, &path))
            .with_context(|| format!("cannot install {}", path.display()))?;
        // Renaming one name of a file to another of the same leaves both.
        let _ = fs::remove_file(&link);
    }
    let _ = fs::remove_file(&copy);
    Ok(())
}

/// Takes everything away again; first the configuration, so that nobody calls what is gone.
///
/// # Errors
/// Those of removing.
pub fn uninstall(what: &Install) -> anyhow::Result<()> {
    remove(&what.cni_conf)?;
    NAMES.iter().try_for_each(|name| remove(&what.bin_dir.join(name)))
}

/// Writes the CNI configuration unless it is there already. Runtimes notice a file that is written in place or renamed
/// within its folder, and pass over names without their extensions.
///
/// # Errors
/// Those of reading and writing.
pub fn configure(path: &Path, socket: &Path) -> anyhow::Result<()> {
    let content = json!({ "cniVersion": "1.0.0", "name": "galaxy", "type": "galaxy-sdn", "socket": socket });
    let content = format!("{content:#}\n");
    if fs::read(path).is_ok_and(|there| there == content.as_bytes()) {
        return Ok(());
    }
    let name = path.file_name().context("--cni-conf must name a file")?.to_string_lossy().into_owned();
    let temporary: PathBuf = path.with_file_name(format!(".{name}.new"));
    write(&temporary, content.as_bytes(), 0o644)?;
    fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(path = %path.display(), "CNI configuration written");
    Ok(())
}

/// Removes a file; one that is gone is no error.
///
/// # Errors
/// Those of removing.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let write = || {
        let _ = fs::remove_file(path);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
        file.write_all(content)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
