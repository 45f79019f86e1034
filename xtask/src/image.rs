//! `cargo xtask image`: the agent's container image as an OCI archive, from static programs, without a container runtime.
//!
//! Load it with `ctr -n k8s.io images import FILE`, `podman load` or `skopeo copy oci-archive:FILE …`.

mod tar;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{cargo, require, root};
use tar::Tar;

/// Programs, and their packages.
const PROGRAMS: [(&str, &str); 2] = [("galaxy", "galaxy"), ("galaxy-cni", "galaxy-cni")];

#[derive(Args)]
pub(crate) struct Image {
    /// Where the archive is written.
    #[arg(long, value_name = "FILE", default_value = "target/galaxy-agent.tar")]
    output: PathBuf,
    /// Name of the image, with its tag.
    #[arg(long, value_name = "NAME", default_value = concat!("galaxy.test/galaxy:", env!("CARGO_PKG_VERSION")))]
    name: String,
}

/// Builds the programs and writes the archive.
pub(crate) fn run(image: &Image) -> Result<()> {
    let host = host()?;
    // With a target the flags concern the programs alone, not what the build itself runs.
    let mut build = cargo(&["build", "--release", "--target", &host]);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static");
    for (_, package) in PROGRAMS {
        build.args(["--package", package]);
    }
    require("static programs", &mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let programs = PROGRAMS.map(|(program, _)| target.join(&host).join("release").join(program));
    let files = programs.iter().map(|path| {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), content))
    });
    let archive = archive(&image.name, &files.collect::<Result<Vec<_>>>()?)?;
    let output = root().join(&image.output);
    fs::write(&output, &archive).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{} ({} MiB): {}", output.display(), archive.len() >> 20, image.name);
    Ok(())
}

/// The target that this machine is.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    Ok(host.to_owned())
}

/// An OCI archive with one layer: the programs in `/usr/bin`, and the folders that they expect.
fn archive(name: &str, programs: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let (_, tag) =
        name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).with_context(|| format!("{name} has no tag"))?;
    ensure!(!programs.is_empty(), "no programs");
    let mut layer = Tar::default();
    for folder in ["etc", "etc/galaxy", "proc", "sys", "dev", "run", "tmp", "usr", "usr/bin", "opt", "var", "var/lib"] {
        layer.folder(folder);
    }
    // As on every node: what the runtime mounts there is found by either name.
    layer.link("var/run", "/run");
    for (program, content) in programs {
        layer.file(&format!("usr/bin/{program}"), content, 0o755);
    }
    let layer = layer.finish();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Entrypoint": [format!("/usr/bin/{}", programs[0].0)], "Env": ["PATH=/usr/bin"] },
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
        let programs = [("galaxy".to_owned(), vec![7; 1000]), ("galaxy-cni".to_owned(), vec![8; 512])];
        let dir = std::env::temp_dir().join(format!("galaxy-image-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let unpack = |archive: &[u8], folder: &Path| {
            fs::create_dir_all(folder).unwrap();
            let path = folder.join("archive.tar");
            fs::write(&path, archive).unwrap();
            assert!(Command::new("tar").args(["xf", "archive.tar"]).current_dir(folder).status().unwrap().success());
        };
        unpack(&archive("galaxy.test/galaxy:1", &programs).unwrap(), &dir);
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
        assert!(archive("galaxy", &programs).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
