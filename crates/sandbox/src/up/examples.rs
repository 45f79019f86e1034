//! The files of `examples/`, as they stand in the repository.

use anyhow::Context;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;

macro_rules! examples {
    ($($file:literal),* $(,)?) => {
        /// Name and text of every example.
        pub const ALL: &[(&str, &str)] =
            &[$(($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/", $file)))),*];
    };
}

examples![
    "custom-workload-crd.yaml",
    "custom-workload.yaml",
    "deployment-immutable.yaml",
    "deployment-never.yaml",
    "floatingip-config.yaml",
    "original.yaml",
    "pod.yaml",
    "pool-deployments.yaml",
    "pool.yaml",
    "ranges-pod.yaml",
    "reserved-ip.yaml",
    "statefulset.yaml",
];

/// The objects of an example, in the order of the file.
///
/// # Errors
/// There is no such example.
pub fn objects(file: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let (_, text) = ALL.iter().find(|(name, _)| *name == file).with_context(|| format!("no example {file}"))?;
    documents(text).with_context(|| format!("examples/{file}"))
}

/// The documents of a YAML stream.
///
/// # Errors
/// One is not YAML, or not what is asked for.
pub fn documents<T: DeserializeOwned>(yaml: &str) -> anyhow::Result<Vec<T>> {
    let parts =
        yaml.split("\n---\n").filter(|part| !part.lines().all(|line| line.trim().is_empty() || line.starts_with('#')));
    parts.map(|part| Ok(serde_saphyr::from_str(part)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_holds_objects() {
        for (file, _) in ALL {
            let objects = objects(file).unwrap();
            assert!(!objects.is_empty(), "{file}");
            for object in objects {
                assert!(object.types.is_some() && object.metadata.name.is_some(), "{file}: {object:?}");
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_an_example() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
