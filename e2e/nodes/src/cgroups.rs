//! The control groups of nodes: a folder below each controller of version 1.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

const ROOT: &str = "/sys/fs/cgroup";

/// Removes the groups once its input ends, which happens when its owner is gone, however; processes in them have some time to end.
const CLEANER: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
for try in $(seq 200); do
    left=
    for group in /sys/fs/cgroup/*/"$0"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} ';' 2>/dev/null
        [ ! -d "$group" ] || left=$group
    done
    [ -n "$left" ] || exit 0
    sleep 0.05
done
exit 1
"#;

/// The groups of one cluster's nodes. Removed when dropped, and when this process ends otherwise.
pub(crate) struct Cgroups {
    name: String,
    cleaner: Child,
}

impl Cgroups {
    /// Makes them, with nothing below.
    pub(crate) fn make(name: &str) -> Result<Self> {
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", CLEANER, name]).process_group(0).stdin(Stdio::piped());
        let cleaner = cleaner.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start sh")?;
        let groups = Self { name: name.to_owned(), cleaner };
        groups.make_folder(name)?;
        Ok(groups)
    }

    /// Makes the group of a node if there is none, and returns its name below each controller.
    pub(crate) fn node(&self, node: &str) -> Result<String> {
        let name = format!("{}/{node}", self.name);
        self.make_folder(&name)?;
        Ok(format!("/{name}"))
    }

    fn make_folder(&self, name: &str) -> Result<()> {
        for controller in controllers()? {
            let folder = controller.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // Version 1: a new group has no processors and no memory, and nothing can run in it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = folder.parent().unwrap_or(Path::new(ROOT)).join(file);
                if let Ok(value) = fs::read(&above) {
                    fs::write(folder.join(file), value).with_context(|| format!("cannot write {file} of {name}"))?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        if !self.cleaner.wait().is_ok_and(|status| status.success()) {
            let _ = writeln!(std::io::stderr(), "control groups {} below {ROOT} cannot be removed", self.name);
        }
    }
}

/// The folders of all controllers of version 1.
fn controllers() -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(ROOT).with_context(|| format!("cannot read {ROOT}"))?.flatten().map(|entry| entry.path());
    let found: Vec<PathBuf> = entries.filter(|path| path.join("cgroup.clone_children").exists()).collect();
    ensure!(!found.is_empty(), "{ROOT} has no controllers of control groups version 1, which these nodes need");
    Ok(found)
}
