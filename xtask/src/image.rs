//! `cargo xtask image`: the agent's container image as an OCI archive, from static programs, without a container runtime.
//!
//! Load it with `ctr -n k8s.io images import FILE`, `podman load` or `skopeo copy oci-archive:FILE …`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::root;

#[derive(Args)]
pub(crate) struct Image {
    /// Where the archive is written.
    #[arg(long, value_name = "FILE", default_value = "target/galaxy-agent.tar")]
    output: PathBuf,
    /// Name of the image, with its tag.
    #[arg(long, value_name = "NAME", default_value = galaxy_nodes::AGENT)]
    name: String,
    /// Build with this profile of cargo.
    #[arg(long, hide = true, default_value = "release")]
    profile: String,
}

/// Builds the programs and writes the archive.
pub(crate) fn run(image: &Image) -> Result<()> {
    let archive = galaxy_nodes::image::agent(&image.name, &image.profile)?;
    let output = root().join(&image.output);
    fs::write(&output, &archive).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{} ({} MiB): {}", output.display(), archive.len() >> 20, image.name);
    Ok(())
}
