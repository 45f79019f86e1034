//! What must be remembered beside the devices, and locks between processes; all below `/run/galaxy/cni`.
//!
//! A reboot removes both the devices and this.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    net::IpAddr,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ident::Identity,
    spec::{Error, code},
};

/// Where it is unless the configuration says `run_dir`.
const DEFAULT: &str = "/run/galaxy/cni";

/// What is known about an attachment, written before anything is made and removed after all is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Whose it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// Its addresses, in the order of its devices.
    pub addresses: Vec<IpAddr>,
    /// Answer of the IPAM plugin, which must not be asked twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Value>,
}

/// The folder.
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// Where it is by a configuration's `run_dir`.
    pub(crate) fn path_of(configured: Option<&str>) -> PathBuf {
        configured.filter(|path| !path.is_empty()).unwrap_or(DEFAULT).into()
    }

    pub(crate) fn open(configured: Option<&str>) -> Result<Self, Error> {
        let path = Self::path_of(configured);
        if !path.is_absolute() {
            return Err(Error::config(format!("run_dir {:?} must be an absolute path", path.display())));
        }
        for folder in ["attachments", "locks"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| Error::io(format!("cannot create the folder {}", folder.display()), &error))?;
        }
        Ok(RunDir(path))
    }

    /// Waits for a lock and holds it until the file is dropped, or the process ends.
    pub(crate) fn lock(&self, name: &str) -> Result<File, Error> {
        let file = self.lock_file(name)?;
        file.lock().map_err(|error| Error::io(format!("cannot lock {name}"), &error))?;
        Ok(file)
    }

    /// Like [`RunDir::lock`], shared with others that do the same.
    pub(crate) fn share(&self, name: &str) -> Result<File, Error> {
        let file = self.lock_file(name)?;
        file.lock_shared().map_err(|error| Error::io(format!("cannot lock {name}"), &error))?;
        Ok(file)
    }

    /// Takes a lock that nobody has; none if somebody has it.
    pub(crate) fn try_lock(&self, name: &str) -> Option<File> {
        let file = self.lock_file(name).ok()?;
        file.try_lock().is_ok().then_some(file)
    }

    /// The file of a lock.
    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.0.join("locks").join(name)
    }

    fn lock_file(&self, name: &str) -> Result<File, Error> {
        let path = self.lock_path(name);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| Error::io(format!("cannot open the lock {}", path.display()), &error))
    }

    fn path(&self, identity: &Identity) -> PathBuf {
        self.0.join("attachments").join(format!("{}.json", identity.file()))
    }

    /// The record of an attachment. One that cannot be read counts as none: devices tell enough to clean up.
    pub(crate) fn load(&self, identity: &Identity) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.path(identity)).ok()?).ok()?;
        (record.identity == *identity).then_some(record)
    }

    /// All readable records.
    pub(crate) fn records(&self) -> Result<Vec<Record>, Error> {
        let folder = self.0.join("attachments");
        let fail = |error: io::Error| Error::io(format!("cannot list {}", folder.display()), &error);
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            // A temporary file or one that another process has just removed is not ours to judge.
            let Ok(bytes) = fs::read(&path) else { continue };
            records.extend(serde_json::from_slice::<Record>(&bytes).ok());
        }
        Ok(records)
    }

    /// Writes a record so that a reader sees the old one or the new one.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.identity);
        let temporary = path.with_extension(format!("tmp{}", std::process::id()));
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| Error::new(code::IO, format!("cannot write {}: {error}", path.display())))
    }

    /// Removes a record; one that is gone is no error.
    pub(crate) fn remove(&self, identity: &Identity) -> Result<(), Error> {
        let path = self.path(identity);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(format!("cannot remove {}", path.display()), &error))
            }
            _ => Ok(()),
        }
    }
}
