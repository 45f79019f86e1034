//! Networks that are not in the configuration file: `*.conf`, `*.json` and `*.conflist` of a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Network;

/// The network of a name: in files in the order of their names, first in the folder itself, then one level below.
///
/// # Errors
/// The folder cannot be read, or the file with that name makes no sense. Other files are passed over.
pub fn find(folder: &Path, name: &str) -> Result<Option<Network>, String> {
    let fail = |path: &Path, error: io::Error| format!("cannot read {}: {error}", path.display());
    let (files, folders) = match list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(folder, error)),
    };
    let below = folders.iter().filter_map(|folder| list(folder).ok()).flat_map(|(files, _)| files);
    for path in files.into_iter().chain(below) {
        let Ok(content) = fs::read(&path) else { continue };
        let Ok(value) = serde_json::from_slice::<Value>(&content) else { continue };
        let named =
            [&value["name"], &value["type"]].into_iter().find_map(|text| text.as_str().filter(|text| !text.is_empty()));
        if named == Some(name) {
            return Network::read(&value).map(Some).map_err(|why| format!("{}: {why}", path.display()));
        }
    }
    Ok(None)
}

/// Configuration files and folders, each sorted.
fn list(folder: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "json" | "conflist")) && path.is_file()
    });
    Ok((files, folders))
}
