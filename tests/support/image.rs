//! Images as folders (OCI image layouts), with layers that can be unpacked, for the programs that push them.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::corpus::sha256;
use super::fake::noise;

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image, or an index of images, with everything that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The type of the document that a tag would name.
    pub(crate) media_type: &'static str,
    /// That document.
    pub(crate) manifest: Vec<u8>,
    /// What it is called.
    pub(crate) digest: String,
    /// Manifests of platforms, where it is an index.
    pub(crate) children: Vec<Image>,
    /// The config, then the layers; none where it is an index.
    pub(crate) blobs: Vec<Vec<u8>>,
}

impl Image {
    /// An image for amd64 with one layer of about so many bytes that do not compress. Other seeds are other images.
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        Self::of("amd64", seed, &[size])
    }

    /// An image with a layer for each of `sizes`.
    pub(crate) fn layers(seed: u64, sizes: &[usize]) -> Self {
        Self::of("amd64", seed, sizes)
    }

    /// An index of two images, for amd64 and arm64.
    pub(crate) fn index(seed: u64, size: usize) -> Self {
        let children: Vec<_> = ["amd64", "arm64"]
            .into_iter()
            .zip(seed..)
            .map(|(architecture, seed)| Self::of(architecture, seed, &[size]))
            .collect();
        let manifests: Vec<Value> = children
            .iter()
            .zip(["amd64", "arm64"])
            .map(|(child, architecture)| {
                let mut descriptor = descriptor(IMAGE, &child.manifest);
                descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
                descriptor
            })
            .collect();
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Self::from(INDEX, &document, children, Vec::new())
    }

    fn of(architecture: &str, seed: u64, sizes: &[usize]) -> Self {
        let archives: Vec<_> = sizes
            .iter()
            .zip(seed * 100..)
            .map(|(size, seed)| archive(seed, *size))
            .collect();
        let diff_ids: Vec<_> = archives
            .iter()
            .map(|plain| format!("sha256:{}", sha256(plain)))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": [format!("/{seed}")]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut blobs = vec![config.to_string().into_bytes()];
        blobs.extend(archives.iter().map(|plain| packed(plain)));
        let layers: Vec<_> = blobs[1..]
            .iter()
            .map(|bytes| descriptor(LAYER, bytes))
            .collect();
        let document = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(CONFIG, &blobs[0]), "layers": layers,
        });
        Self::from(IMAGE, &document, Vec::new(), blobs)
    }

    fn from(
        media_type: &'static str,
        document: &Value,
        children: Vec<Self>,
        blobs: Vec<Vec<u8>>,
    ) -> Self {
        let manifest = document.to_string().into_bytes();
        Self {
            media_type,
            digest: format!("sha256:{}", sha256(&manifest)),
            manifest,
            children,
            blobs,
        }
    }

    /// The digest of a layer.
    pub(crate) fn layer(&self, number: usize) -> String {
        format!("sha256:{}", sha256(&self.blobs[number + 1]))
    }

    /// Writes it as an image layout under the name `tag`.
    pub(crate) fn write(&self, folder: &Path, tag: &str) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a folder");
        self.write_blobs(&blobs);
        let mut descriptor = descriptor(self.media_type, &self.manifest);
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
        std::fs::write(folder.join("index.json"), index.to_string()).expect("writable");
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(folder.join("oci-layout"), version).expect("writable");
    }

    fn write_blobs(&self, folder: &Path) {
        for bytes in self.blobs.iter().chain([&self.manifest]) {
            std::fs::write(folder.join(sha256(bytes)), bytes).expect("writable");
        }
        for child in &self.children {
            child.write_blobs(folder);
        }
    }
}

/// `mediaType`, `digest` and `size` of `bytes`.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
}

/// A tar archive of one file, the same each time.
fn archive(seed: u64, size: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(size as u64);
    archive
        .append_data(
            &mut header,
            format!("layer-{seed}.bin"),
            &noise(size, seed)[..],
        )
        .expect("memory");
    archive.into_inner().expect("memory")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
