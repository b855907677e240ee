//! `store:`: where uploads are kept.

mod read;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use self::read::read;
use super::{Client, Secret};

/// `store:`
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Where the packages lie.
    pub place: Place,
    /// How often a bucket is listed for what others put there or removed (`refresh`). Default 1 min; zero: only at the start.
    /// A folder is looked at every second while somebody uses it, whatever this says.
    pub refresh: Duration,
    /// How much later than known a file may say it was written and still count as the same (`timestamp_tolerance`).
    /// Default zero.
    pub timestamp_tolerance: Duration,
    /// How many packages are read at a time while indexing (`readers`); zero: 8, on machines with more cores as many, at most 16.
    pub readers: usize,
}

impl Store {
    /// A folder with everything else at its default.
    pub fn folder(root: PathBuf) -> Self {
        Self {
            place: Place::Folder(root),
            refresh: Duration::from_secs(60),
            timestamp_tolerance: Duration::ZERO,
            readers: 0,
        }
    }

    /// The folder, where it is one.
    pub fn root(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(root) => Some(root),
            Place::Objects(_) => None,
        }
    }
}

/// `store.type:`
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// `fs`: a folder, in ChartMuseum's layout. Default `<data_dir>/hosted`.
    Folder(PathBuf),
    /// Everything else: objects in a bucket, in the same layout.
    Objects(Box<ObjectStore>),
}

/// A place in an object store, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStore {
    /// Which service, and its bucket.
    pub service: Service,
    /// What every key starts with, without slashes at its ends; empty: nothing.
    pub prefix: String,
    /// Proxy, authorities and client certificate. Its `auth` is not used.
    pub client: Client,
}

/// The service that keeps the objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Amazon S3 and everything that speaks its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azblob(Azblob),
    /// Alibaba Cloud OSS.
    Oss(Oss),
    /// OpenStack Swift.
    Swift(Swift),
    /// Tencent COS.
    Cos(Cos),
    /// etcd, version 3.
    Etcd(Etcd),
}

/// `type: s3`. Credentials that are absent come from the AWS default chain: environment, shared files, web identity, container
/// and instance metadata.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// Its region; `us-east-1` where an endpoint is given without one.
    pub region: Option<String>,
    /// URL of the service; absent: Amazon's for the region.
    pub endpoint: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// `https://host/bucket` instead of `https://bucket.host`. Default true.
    pub path_style: bool,
    /// `x-amz-server-side-encryption` of every upload.
    pub server_side_encryption: Option<String>,
    /// Send no credentials at all.
    pub anonymous: bool,
}

/// `type: gcs`. Credentials that are absent are the application default ones.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// URL of the service; absent: Google's.
    pub endpoint: Option<String>,
    /// A service account's JSON key file.
    pub credential_file: Option<PathBuf>,
    /// Send no credentials at all.
    pub anonymous: bool,
}

/// `type: azblob`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Azblob {
    /// The container.
    pub container: String,
    /// The storage account; absent: `AZURE_STORAGE_ACCOUNT`.
    pub account_name: Option<String>,
    /// Its key; absent: `AZURE_STORAGE_ACCESS_KEY`, then Azure's default chain.
    pub account_key: Option<Secret>,
    /// URL of the service; absent: `https://<account>.blob.core.windows.net`.
    pub endpoint: Option<String>,
}

/// `type: oss`. Credentials that are absent come from `ALIBABA_CLOUD_ACCESS_KEY_ID` and `…_SECRET`, then the default chain.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Oss {
    /// The bucket.
    pub bucket: String,
    /// URL of the service, such as `https://oss-cn-beijing.aliyuncs.com`.
    pub endpoint: Option<String>,
    /// Access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub access_key_secret: Option<Secret>,
    /// `x-oss-server-side-encryption` of every upload.
    pub server_side_encryption: Option<String>,
}

/// `type: swift`. Without `token`, credentials are those of the `OS_*` variables.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Swift {
    /// The container.
    pub container: String,
    /// The object-store URL of the account; absent: found through Keystone.
    pub endpoint: Option<String>,
    /// Keystone's URL; absent: `OS_AUTH_URL`.
    pub auth_url: Option<String>,
    /// User; absent: `OS_USERNAME`.
    pub username: Option<String>,
    /// Password; absent: `OS_PASSWORD`.
    pub password: Option<Secret>,
    /// Project; absent: `OS_PROJECT_NAME`.
    pub project: Option<String>,
    /// Domain of user and project; absent: `OS_USER_DOMAIN_NAME`, then `Default`.
    pub domain: Option<String>,
    /// Region whose endpoint is taken; absent: `OS_REGION_NAME`.
    pub region: Option<String>,
    /// A token, in place of the credentials.
    pub token: Option<Secret>,
}

/// `type: cos`. Credentials that are absent come from `TENCENT_CLOUD_COS_SECRET_ID` and `…_KEY`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Cos {
    /// The bucket, with the account's number.
    pub bucket: String,
    /// URL of the service, such as `https://cos.ap-guangzhou.myqcloud.com`.
    pub endpoint: Option<String>,
    /// Secret id.
    pub secret_id: Option<String>,
    /// Secret key.
    pub secret_key: Option<Secret>,
}

/// `type: etcd`. TLS is that of [`ObjectStore::client`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Etcd {
    /// URLs of the members. Default `http://localhost:2379`.
    pub endpoints: Vec<String>,
    /// User, where etcd wants one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}
