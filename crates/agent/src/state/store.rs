//! The folder of state files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use galaxy_cni::spec::{Error, code, is_id};

use super::{Sandbox, VERSION, legacy};

/// Longest container id that is a file's name as it is.
const PLAIN: usize = 128;

/// The folder.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// A file of the folder.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it is.
    pub path: PathBuf,
    /// Time since it was written, or since the ADD that it is of.
    pub age: Duration,
    /// Its content, or why it cannot be read.
    pub sandbox: Result<Sandbox, String>,
}

impl Store {
    /// Opens the folder, and removes what a killed process was writing.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let fail = |error| Error::io(format!("cannot open the folder {}", folder.display()), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        for entry in fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if is_temporary(&path) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(Store(folder.to_owned()))
    }

    fn path(&self, container_id: &str, ifname: &str) -> PathBuf {
        self.0.join(format!("{}@{ifname}", stem(container_id)))
    }

    /// What was done for a sandbox: by this agent, else by the original.
    ///
    /// # Errors
    /// There is a file that cannot be read, or makes no sense.
    pub fn load(&self, container_id: &str, ifname: &str) -> Result<Option<Sandbox>, Error> {
        for path in [self.path(container_id, ifname), self.0.join(stem(container_id))] {
            let content = match fs::read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), &error)),
            };
            let sandbox = read(&path, &content).map_err(|why| {
                Error::new(code::DECODING, format!("state file {} makes no sense: {why}; move it away", path.display()))
            })?;
            if sandbox.container_id == container_id {
                return Ok(Some(sandbox));
            }
        }
        Ok(None)
    }

    /// Writes a sandbox's file, so that a reader sees the old one or the new one, also after a power cut.
    ///
    /// # Errors
    /// Those of writing.
    pub fn save(&self, sandbox: &Sandbox) -> Result<(), Error> {
        self.write(sandbox, true)
    }

    /// Notes that what was complete is about to be undone. A power cut, which this does not survive, undoes it too.
    ///
    /// # Errors
    /// Those of writing.
    pub fn mark_incomplete(&self, sandbox: &mut Sandbox) -> Result<(), Error> {
        if !std::mem::take(&mut sandbox.complete) || sandbox.version == 0 {
            return Ok(());
        }
        self.write(sandbox, false)
    }

    fn write(&self, sandbox: &Sandbox, durable: bool) -> Result<(), Error> {
        let path = self.path(&sandbox.container_id, &sandbox.ifname);
        let temporary = self.0.join(format!(".{}@{}", stem(&sandbox.container_id), sandbox.ifname));
        let write = || -> io::Result<()> {
            let mut file: File =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(sandbox)?)?;
            if durable {
                file.sync_data()?;
            }
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Error::io(format!("cannot write {}", path.display()), &error)
        })
    }

    /// Removes a sandbox's files, the original's too; one that is gone is no error.
    ///
    /// # Errors
    /// Those of removing.
    pub fn remove(&self, container_id: &str, ifname: &str) -> Result<(), Error> {
        for path in [self.path(container_id, ifname), self.0.join(stem(container_id))] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(format!("cannot remove {}", path.display()), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<Stored>> {
        let now = SystemTime::now();
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if is_temporary(&path) || !path.is_file() {
                continue;
            }
            // One that vanished meanwhile is of no interest.
            let (Ok(content), Ok(metadata)) = (fs::read(&path), fs::metadata(&path)) else { continue };
            let sandbox = read(&path, &content);
            let created =
                sandbox.as_ref().ok().and_then(|sandbox| u64::try_from(sandbox.created).ok()).filter(|at| *at > 0);
            let created = created.map_or(metadata.modified()?, |at| SystemTime::UNIX_EPOCH + Duration::from_secs(at));
            all.push(Stored { path, age: now.duration_since(created).unwrap_or_default(), sandbox });
        }
        Ok(all)
    }
}

fn read(path: &Path, content: &[u8]) -> Result<Sandbox, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains('@') {
        if !is_id(&name) {
            return Err("its name is no container id".to_owned());
        }
        return legacy::read(&name, content);
    }
    let sandbox: Sandbox = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if sandbox.version < VERSION || !is_id(&sandbox.container_id) {
        return Err(format!("version {}, container {:?}", sandbox.version, sandbox.container_id));
    }
    Ok(sandbox)
}

/// No container id begins so.
fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The start of a file's name, for any length of container id.
fn stem(container_id: &str) -> String {
    if container_id.len() <= PLAIN {
        return container_id.to_owned();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, container_id.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", &container_id[..32])
}
