//! The files of the quick start, embedded so that it runs from anywhere.

/// `config/quick-start.yaml`
pub(super) const QUICK_START: &str = include_str!("../../config/quick-start.yaml");

macro_rules! samples {
    ($($file:literal)*) => {
        &[$((
            concat!("sample/", $file),
            include_bytes!(concat!("../../config/sample/", $file)),
        )),*]
    };
}

/// The sample charts, as (path below the data folder, content). `serve` writes those that are missing before it starts
/// on the embedded configuration. `config/sample/ATTRIBUTION.md` says where they come from.
pub fn quick_start_files() -> &'static [(&'static str, &'static [u8])] {
    samples![
        "ATTRIBUTION.md"
        "csi-driver-nfs-4.13.4.tgz"
        "csi-driver-nfs-v4.7.0.tgz"
        "loki-2.1.0.tgz"
        "loki-2.1.0.tgz.prov"
        "podinfo-6.1.5.tgz"
        "podinfo-6.14.1.tgz"
        "podinfo-6.6.0.tgz"
        "promtail-2.0.1.tgz"
        "promtail-2.0.1.tgz.prov"
        "terraform-controller-0.7.10.tgz"
        "vela-workflow-0.6.3.tgz"
    ]
}
