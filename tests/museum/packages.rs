//! Packages and provenance files for uploads: good ones, and every kind of broken one.

use std::io::Write as _;

/// A chart package under construction.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    top: String,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Package {
    /// A small chart with values, a template and a README.
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self::of(&format!(
            "apiVersion: v1\nname: {name}\nversion: {version}\nappVersion: \"1.0\"\ndescription: A Helm chart for Kubernetes\n\
             home: https://helm.sh/helm\nicon: https://example.com/icon.png\nkeywords: [a, b]\n\
             sources: [\"https://github.com/helm/charts\"]\nmaintainers:\n- {{name: someone, email: someone@example.com}}\n"
        ))
        .file("values.yaml", VALUES)
        .file("templates/pod.yaml", TEMPLATE)
        .file("README.md", "text\n")
    }

    /// A package whose only file is this Chart.yaml, in a folder of the chart's name.
    pub(crate) fn of(chart_yaml: &str) -> Self {
        let name = chart_yaml
            .lines()
            .find_map(|line| line.trim_start_matches('\u{feff}').strip_prefix("name: "))
            .filter(|name| {
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
        Self::in_folder(name.unwrap_or("x")).file("Chart.yaml", chart_yaml)
    }

    /// An archive of nothing, whose files go into the folder `top`.
    pub(crate) fn in_folder(top: &str) -> Self {
        Self {
            top: top.to_owned(),
            entries: Vec::new(),
        }
    }

    /// Adds a file below the top folder.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let name = format!("{}/{path}", self.top);
        self.entry(&name, content)
    }

    /// Adds an entry under exactly this name (at most 100 bytes, which may be a name that no decent tool writes).
    pub(crate) fn entry(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entries
            .push((name.as_bytes().to_vec(), content.as_ref().to_vec()));
        self
    }

    /// The package. The same entries give the same bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        gzip(&self.tar())
    }

    /// The archive before it is compressed.
    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in &self.entries {
            let mut header = tar::Header::new_gnu();
            // Not `set_path`, which refuses what some of these tests need.
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, &content[..]).expect("memory takes it");
        }
        tar.into_inner().expect("memory takes it")
    }
}

/// A chart of this name and version.
pub(crate) fn package(name: &str, version: &str) -> Vec<u8> {
    Package::new(name, version).build()
}

/// A provenance file as `helm package --sign` writes it, with a signature that nobody made.
pub(crate) fn provenance(name: &str, version: &str) -> Vec<u8> {
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\napiVersion: v1\ndescription: A Helm chart for Kubernetes\n\
         name: {name}\nversion: {version}\n\n...\nfiles:\n  {name}-{version}.tgz: sha256:{}\n-----BEGIN PGP SIGNATURE-----\n\n\
         wsBcBAEBCgAQBQJeOaRSCRCEO7+YH8GHYgAA\n=Sn1g\n-----END PGP SIGNATURE-----\n",
        crate::support::corpus::sha256(&package(name, version))
    )
    .into_bytes()
}

/// `bytes` compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// The values of every chart here; the comment must survive where the raw file is asked for.
pub(crate) const VALUES: &str =
    "# Default values.\nimage:\n  repository: busybox\n  pull: 3\nlist: [1, two]\n";

/// The template of every chart here.
pub(crate) const TEMPLATE: &str =
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n";
