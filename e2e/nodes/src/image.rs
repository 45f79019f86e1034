//! Container images as OCI archives, from static programs, without a container runtime.

mod tar;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use galaxy_plane::root;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use tar::Tar;

/// The agent's image, of this name: the agent and the plugins, built with a profile of cargo such as `release`.
///
/// # Errors
/// They do not build, or the name has no tag.
pub fn agent(name: &str, profile: &str) -> Result<Vec<u8>> {
    let programs = ["galaxy", "galaxy-cni"].map(|program| static_program(program, profile));
    let programs = programs.into_iter().collect::<Result<Vec<_>>>()?;
    archive(name, &["/usr/bin/galaxy"], &programs)
}

/// Builds the program of a package that is called like it, linked statically, and returns its path.
///
/// # Errors
/// It does not build.
pub fn static_program(name: &str, profile: &str) -> Result<PathBuf> {
    // Flags for the last step alone: all it is made of is the same as for other programs, and built once.
    build(name, profile, &["-C", "target-feature=+crt-static", "-C", "strip=debuginfo"])
}

/// Builds the program of a package that is called like it and returns its path.
///
/// # Errors
/// It does not build.
pub fn program(name: &str, profile: &str) -> Result<PathBuf> {
    build(name, profile, &[])
}

fn build(name: &str, profile: &str, flags: &[&str]) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut build = Command::new(cargo);
    build.args(["rustc", "--quiet", "--package", name, "--bin", name, "--profile", profile, "--message-format=json"]);
    build.arg("--").args(flags);
    let output = build.current_dir(root()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "{name} does not build ({})", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.find_map(|message| {
        let of_it = message["target"]["name"] == name;
        message["executable"].as_str().map(PathBuf::from).filter(|_| of_it)
    });
    built.with_context(|| format!("cargo names no program {name}"))
}

/// An OCI archive with one layer: the programs in `/usr/bin`, and the folders that they expect.
///
/// # Errors
/// A program cannot be read, or the name has no tag.
pub fn archive(name: &str, entrypoint: &[&str], programs: &[PathBuf]) -> Result<Vec<u8>> {
    let (_, tag) =
        name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).with_context(|| format!("{name} has no tag"))?;
    let mut layer = Tar::default();
    for folder in ["etc", "etc/galaxy", "proc", "sys", "dev", "run", "tmp", "usr", "usr/bin", "opt", "var", "var/lib"] {
        layer.folder(folder);
    }
    // As on every node: what the runtime mounts there is found by either name.
    layer.link("var/run", "/run");
    for path in programs {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let program = path.file_name().unwrap_or_default().to_string_lossy();
        layer.file(&format!("usr/bin/{program}"), &content, 0o755);
    }
    let layer = layer.finish();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Entrypoint": entrypoint, "Env": ["PATH=/usr/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [name_of(&layer)] },
        "history": [{ "created_by": "cargo xtask image" }],
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", &config), "layers": [describe("layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = describe("manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
    entry["annotations"] = json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });

    let mut archive = Tar::default();
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
    archive.file("index.json", index.to_string().as_bytes(), 0o644);
    for blob in [&layer, &config, &manifest] {
        archive.file(&Path::new("blobs").join(name_of(blob).replace(':', "/")).to_string_lossy(), blob, 0o644);
    }
    Ok(archive.finish())
}

fn describe(kind: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": name_of(blob), "size": blob.len() })
}

/// `sha256:` and the digest.
fn name_of(blob: &[u8]) -> String {
    let hex: String = digest(&SHA256, blob).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read by another program than the one that wrote it.
    #[test]
    fn the_archive_is_what_it_says() {
        let dir = std::env::temp_dir().join(format!("galaxy-image-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let programs = [("galaxy", vec![7; 1000]), ("galaxy-cni", vec![8; 512])].map(|(name, content)| {
            fs::write(dir.join(name), content).unwrap();
            dir.join(name)
        });
        let entrypoint = ["/usr/bin/galaxy"];
        let unpack = |archive: &[u8], folder: &Path| {
            fs::create_dir_all(folder).unwrap();
            let path = folder.join("archive.tar");
            fs::write(&path, archive).unwrap();
            assert!(Command::new("tar").args(["xf", "archive.tar"]).current_dir(folder).status().unwrap().success());
        };
        unpack(&archive("galaxy.test/galaxy:1", &entrypoint, &programs).unwrap(), &dir);
        let read =
            |digest: &Value| fs::read(dir.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))).unwrap();
        let parse = |content: Vec<u8>| serde_json::from_slice::<Value>(&content).unwrap();
        let index = parse(fs::read(dir.join("index.json")).unwrap());
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "galaxy.test/galaxy:1");
        let manifest = parse(read(&index["manifests"][0]["digest"]));
        assert_eq!(parse(read(&manifest["config"]["digest"]))["config"]["Entrypoint"], json!(["/usr/bin/galaxy"]));
        let layer = read(&manifest["layers"][0]["digest"]);
        assert_eq!(name_of(&layer), manifest["layers"][0]["digest"]);
        unpack(&layer, &dir.join("root"));
        assert_eq!(fs::read(dir.join("root/usr/bin/galaxy")).unwrap(), vec![7; 1000]);
        assert_eq!(fs::read_link(dir.join("root/var/run")).unwrap(), Path::new("/run"));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.join("root/usr/bin/galaxy-cni")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o755);
        assert!(archive("galaxy", &entrypoint, &programs).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
