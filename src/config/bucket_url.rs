//! Which place in a bucket a URL means.
//!
//! The forms of the URL (spec: clients.md §11, as KubeSphere and OpenPitrix write them):
//!
//! ```text
//! s3://bucket/prefix                                    a bucket of Amazon's (`region`) or of the `endpoint`
//! s3://s3.<zone>.qingstor.com/bucket/prefix             a host with a dot or a port is the service: https where it
//! s3://minio.example:9000/bucket/prefix                 starts with `s3.`, else http
//! https://host/bucket/prefix                            path style
//! https://bucket.s3.<region>.amazonaws.com/prefix       virtual host, at Amazon and QingStor; elsewhere path style is
//! https://bucket.<zone>.qingstor.com/prefix             assumed, and `bucket` with `path_style: false` says otherwise
//! ```
//!
//! `bucket` says the bucket where the URL does not: the URL's path is then the prefix. With `endpoint`, a host without a port
//! is the bucket unless it starts with `s3.`, because bucket names may have dots.

use percent_encoding::percent_decode_str;
use url::Url;

/// What the keys beside the URL say.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub(super) bucket: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) path_style: Option<bool>,
}

/// A place in a bucket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bucket: String,
    /// Without slashes at its ends.
    pub(super) prefix: String,
    /// Without a slash at its end; absent: Amazon's for the region.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    pub(super) path_style: bool,
}

/// What the host of a URL is.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    /// The bucket itself; who keeps it is said elsewhere.
    Bucket(String),
    /// A service, of which the path names a bucket.
    Service { endpoint: String, region: String },
    /// A bucket of a service.
    Both {
        bucket: String,
        endpoint: String,
        region: String,
        path_style: bool,
    },
}

/// The place that `text` means. Errors say how to write one and never show what could be a secret.
pub(super) fn locate(text: &str, overrides: &Overrides) -> Result<Location, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "s3" | "http" | "https") {
        return Err(format!(
            "scheme `{:.20}` is not one of a bucket; write `s3://bucket/prefix` or an https URL",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials in the URL would be logged; give them under `auth`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a bucket's URL has no `?` and no `#`".into());
    }
    let mut segments = segments(&url)?;
    if segments.last().is_some_and(|last| last == "index.yaml") {
        return Err("give the folder of the repository, without `index.yaml`".into());
    }
    let host = host(&url, overrides)?;
    let (bucket, endpoint, region, path_style) = match host {
        Host::Bucket(bucket) => {
            if overrides.endpoint.is_none() && overrides.region.is_none() {
                return Err(
                    "say `region` for a bucket of Amazon's, or `endpoint` for another service"
                        .into(),
                );
            }
            (bucket, None, None, true)
        }
        Host::Both {
            bucket,
            endpoint,
            region,
            path_style,
        } => (bucket, Some(endpoint), Some(region), path_style),
        Host::Service { endpoint, region } => {
            let bucket = match &overrides.bucket {
                Some(bucket) if segments.first() == Some(bucket) => {
                    return Err("the URL names the bucket already; leave `bucket` out".into());
                }
                Some(bucket) => bucket.clone(),
                None if segments.is_empty() => {
                    return Err("the URL names no bucket; add it to the path".into());
                }
                None => segments.remove(0),
            };
            (bucket, Some(endpoint), Some(region), true)
        }
    };
    let bucket = bucket_name(&bucket)?;
    if overrides.bucket.as_ref().is_some_and(|own| *own != bucket) {
        return Err(format!(
            "the URL means bucket `{bucket}`, and `bucket` says otherwise; keep one"
        ));
    }
    Ok(Location {
        prefix: segments.join("/"),
        endpoint: overrides.endpoint.clone().or(endpoint),
        region: overrides
            .region
            .clone()
            .or(region)
            .unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        path_style: overrides.path_style.unwrap_or(path_style),
        bucket,
    })
}

/// The decoded segments of the path.
fn segments(url: &Url) -> Result<Vec<String>, String> {
    let path = url.path().trim_start_matches('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/')
        .map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8();
            match decoded {
                Ok(text) if text.is_empty() => Err("a folder in the path has no name".to_owned()),
                Ok(text) if matches!(&*text, "." | "..") || text.contains(['/', '\0']) => {
                    Err(format!("`{segment:.80}` cannot be a folder"))
                }
                Ok(text) => Ok(text.into_owned()),
                Err(_) => Err("the path is not UTF-8".to_owned()),
            }
        })
        .collect()
}

fn host(url: &Url, overrides: &Overrides) -> Result<Host, String> {
    let Some(name) = url.host_str().filter(|name| !name.is_empty()) else {
        return Err("the URL has no host; write `s3://bucket/prefix`".into());
    };
    let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
    if url.scheme() == "s3" && url.port().is_none() {
        let is_bucket = match &overrides.bucket {
            Some(bucket) => *bucket == name,
            None => {
                !name.contains('.') || (overrides.endpoint.is_some() && !name.starts_with("s3."))
            }
        };
        if is_bucket {
            return Ok(Host::Bucket(name));
        }
    }
    let name = name.to_ascii_lowercase();
    let scheme = match url.scheme() {
        "s3" if name.starts_with("s3.") || url.port().is_none() && is_cloud(&name) => "https",
        "s3" => "http",
        scheme => scheme,
    };
    if url.port().is_none() {
        if let Some(host) = amazon(scheme, &name)? {
            return Ok(host);
        }
        if let Some(host) = qingstor(&name) {
            return Ok(host);
        }
    }
    let port = url.port().map(|port| format!(":{port}"));
    let region = name
        .strip_prefix("s3.")
        .and_then(|rest| rest.split('.').next());
    Ok(Host::Service {
        endpoint: format!("{scheme}://{name}{}", port.unwrap_or_default()),
        region: region.unwrap_or(DEFAULT_REGION).to_owned(),
    })
}

fn is_cloud(name: &str) -> bool {
    name.ends_with(QINGSTOR) || AMAZON.iter().any(|suffix| name.ends_with(suffix))
}

/// `[bucket.]s3[.dualstack][.region].amazonaws.com`, and `s3-<region>` of old.
fn amazon(scheme: &str, name: &str) -> Result<Option<Host>, String> {
    let found = AMAZON
        .iter()
        .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)));
    let Some((rest, suffix)) = found else {
        return Ok(None);
    };
    let labels: Vec<&str> = rest.split('.').collect();
    let service = (0..labels.len()).rev().find_map(|at| {
        let region = match (labels[at], &labels[at + 1..]) {
            ("s3", []) => DEFAULT_REGION,
            ("s3" | "s3-fips", ["dualstack", region] | [region]) => region,
            (label, []) => label.strip_prefix("s3-")?,
            _ => return None,
        };
        Some((at, region))
    });
    let Some((at, region)) = service else {
        return Err(format!("`{name:.80}` is not a host of Amazon S3"));
    };
    if region.starts_with("website") || labels[at].starts_with("s3-website") {
        return Err(
            "this is a bucket's web site; read it with `type: helm`, or name its bucket".into(),
        );
    }
    let endpoint = format!("{scheme}://{}{suffix}", labels[at..].join("."));
    let region = region.to_owned();
    let bucket = labels[..at].join(".");
    Ok(Some(match bucket.is_empty() {
        true => Host::Service { endpoint, region },
        false => Host::Both {
            endpoint,
            region,
            // No certificate of Amazon's is for a bucket with dots.
            path_style: bucket.contains('.'),
            bucket,
        },
    }))
}

/// `[bucket.][s3.]zone.qingstor.com`. The same data is behind both hosts; only that of `s3.` speaks this protocol.
fn qingstor(name: &str) -> Option<Host> {
    let rest = name.strip_suffix(QINGSTOR)?;
    let (bucket, zone) = rest.rsplit_once('.').unwrap_or(("", rest));
    let bucket = match bucket {
        "s3" => "",
        other => other.strip_suffix(".s3").unwrap_or(other),
    };
    let endpoint = format!("https://s3.{zone}{QINGSTOR}");
    let region = zone.to_owned();
    Some(match bucket.is_empty() {
        true => Host::Service { endpoint, region },
        false => Host::Both {
            bucket: bucket.to_owned(),
            endpoint,
            region,
            path_style: true,
        },
    })
}

pub(super) fn bucket_name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match !text.is_empty() && text.len() <= 255 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text:.80}` cannot be the name of a bucket")),
    }
}

pub(super) fn endpoint_url(text: &str) -> Result<String, String> {
    Url::parse(text)
        .ok()
        .filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        })
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .ok_or_else(|| {
            "write the service as `https://minio.example.com:9000`, without a path".into()
        })
}

pub(super) fn region(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        true => Ok(text.to_owned()),
        false => Err("write a region such as `eu-central-1`".into()),
    }
}

/// What most services that are not Amazon's call theirs.
const DEFAULT_REGION: &str = "us-east-1";
const AMAZON: [&str; 2] = [".amazonaws.com", ".amazonaws.com.cn"];
const QINGSTOR: &str = ".qingstor.com";

#[cfg(test)]
mod tests {
    use super::*;

    fn location(
        bucket: &str,
        prefix: &str,
        endpoint: Option<&str>,
        region: &str,
        path_style: bool,
    ) -> Location {
        Location {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: region.to_owned(),
            path_style,
        }
    }

    fn check(
        url: &str,
        bucket: &str,
        prefix: &str,
        endpoint: &str,
        region: &str,
        path_style: bool,
    ) {
        let expected = location(bucket, prefix, Some(endpoint), region, path_style);
        assert_eq!(locate(url, &Overrides::default()), Ok(expected), "{url}");
    }

    #[test]
    fn the_forms_that_kubesphere_uses() {
        check(
            "s3://s3.pek3a.qingstor.com/op-repo/charts/",
            "op-repo",
            "charts",
            "https://s3.pek3a.qingstor.com",
            "pek3a",
            true,
        );
        check(
            "https://s3.pek3a.qingstor.com/op-repo/",
            "op-repo",
            "",
            "https://s3.pek3a.qingstor.com",
            "pek3a",
            true,
        );
        check(
            "s3://s3.us-east-2.amazonaws.com/op-repo/a/b",
            "op-repo",
            "a/b",
            "https://s3.us-east-2.amazonaws.com",
            "us-east-2",
            true,
        );
        check(
            "s3://minio.example:9000/op-repo/charts",
            "op-repo",
            "charts",
            "http://minio.example:9000",
            "us-east-1",
            true,
        );
        check(
            "s3://minio:9000/op-repo",
            "op-repo",
            "",
            "http://minio:9000",
            "us-east-1",
            true,
        );
        check(
            "s3://minio.s3.svc.cluster.local/op-repo",
            "op-repo",
            "",
            "http://minio.s3.svc.cluster.local",
            "us-east-1",
            true,
        );
        check(
            "s3://s3.example.com:8443/op-repo",
            "op-repo",
            "",
            "https://s3.example.com:8443",
            "example",
            true,
        );
        for host in [
            "op-repo.pek3a.qingstor.com",
            "op-repo.s3.pek3a.qingstor.com",
        ] {
            for scheme in ["http", "https", "s3"] {
                check(
                    &format!("{scheme}://{host}/charts"),
                    "op-repo",
                    "charts",
                    "https://s3.pek3a.qingstor.com",
                    "pek3a",
                    true,
                );
            }
        }
    }

    #[test]
    fn hosts_of_amazon() {
        let ours = "https://s3.eu-west-1.amazonaws.com";
        check(
            "https://my-charts.s3.eu-west-1.amazonaws.com/stable",
            "my-charts",
            "stable",
            ours,
            "eu-west-1",
            false,
        );
        check(
            "s3://my-charts.s3.eu-west-1.amazonaws.com/stable",
            "my-charts",
            "stable",
            ours,
            "eu-west-1",
            false,
        );
        check(
            "https://my.charts.s3.eu-west-1.amazonaws.com/",
            "my.charts",
            "",
            ours,
            "eu-west-1",
            true,
        );
        check(
            "https://s3.eu-west-1.amazonaws.com/my.charts",
            "my.charts",
            "",
            ours,
            "eu-west-1",
            true,
        );
        check(
            "https://s3.s3.eu-west-1.amazonaws.com",
            "s3",
            "",
            ours,
            "eu-west-1",
            false,
        );
        check(
            "https://c.s3.amazonaws.com",
            "c",
            "",
            "https://s3.amazonaws.com",
            "us-east-1",
            false,
        );
        check(
            "https://s3.amazonaws.com/c/p",
            "c",
            "p",
            "https://s3.amazonaws.com",
            "us-east-1",
            true,
        );
        check(
            "https://c.s3-us-west-2.amazonaws.com",
            "c",
            "",
            "https://s3-us-west-2.amazonaws.com",
            "us-west-2",
            false,
        );
        check(
            "https://c.s3.dualstack.us-west-2.amazonaws.com",
            "c",
            "",
            "https://s3.dualstack.us-west-2.amazonaws.com",
            "us-west-2",
            false,
        );
        check(
            "https://c.s3.cn-north-1.amazonaws.com.cn/p",
            "c",
            "p",
            "https://s3.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            false,
        );
    }

    #[test]
    fn other_services_by_path() {
        check(
            "http://127.0.0.1:9000/charts/a%20b/c",
            "charts",
            "a b/c",
            "http://127.0.0.1:9000",
            "us-east-1",
            true,
        );
        check(
            "https://fra1.digitaloceanspaces.com/charts",
            "charts",
            "",
            "https://fra1.digitaloceanspaces.com",
            "us-east-1",
            true,
        );
    }

    #[test]
    fn a_bucket_with_its_service_beside_it() {
        let minio = Overrides {
            endpoint: Some("https://minio.example".into()),
            ..Overrides::default()
        };
        let endpoint = Some("https://minio.example");
        for (url, bucket) in [
            ("s3://charts/p/", "charts"),
            ("s3://my.charts/p", "my.charts"),
        ] {
            assert_eq!(
                locate(url, &minio),
                Ok(location(bucket, "p", endpoint, "us-east-1", true))
            );
        }
        // KubeSphere's form with a service that it calls by http.
        for url in [
            "s3://minio.example:9000/charts/p",
            "s3://s3.pek3a.qingstor.com/charts/p",
            "http://other/charts/p",
        ] {
            let found = locate(url, &minio).expect(url);
            assert_eq!(
                (found.bucket.as_str(), found.endpoint.as_deref()),
                ("charts", endpoint),
                "{url}"
            );
        }
        let amazon = Overrides {
            region: Some("eu-west-1".into()),
            path_style: Some(false),
            ..Overrides::default()
        };
        assert_eq!(
            locate("s3://charts", &amazon),
            Ok(location("charts", "", None, "eu-west-1", false))
        );
        let error = locate("s3://charts/p", &Overrides::default()).expect_err("whose?");
        assert!(
            error.contains("`region`") && error.contains("`endpoint`"),
            "{error}"
        );
    }

    #[test]
    fn a_bucket_that_the_url_does_not_name() {
        let charts = |path_style| Overrides {
            bucket: Some("charts".into()),
            path_style,
            ..Overrides::default()
        };
        let expected = location(
            "charts",
            "a/b",
            Some("https://s3.example.com"),
            "example",
            false,
        );
        assert_eq!(
            locate("https://s3.example.com/a/b", &charts(Some(false))),
            Ok(expected)
        );
        let expected = location("charts", "", Some("http://minio"), "us-east-1", true);
        assert_eq!(locate("s3://minio", &charts(None)), Ok(expected));
        let amazon = "https://charts.s3.eu-west-1.amazonaws.com/p";
        assert_eq!(
            locate(amazon, &charts(None)).expect("the same").bucket,
            "charts"
        );

        for (url, words) in [
            ("https://s3.example.com/charts/a", "already"),
            ("https://other.s3.eu-west-1.amazonaws.com", "says otherwise"),
        ] {
            let error = locate(url, &charts(None)).expect_err(url);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_no_bucket() {
        for (url, words) in [
            ("charts", "not a URL"),
            ("gs://charts/a", "`gs`"),
            ("s3:///a", "no host"),
            ("s3://me:pw@minio:9000/charts", "under `auth`"),
            ("s3://minio:9000/", "names no bucket"),
            ("https://minio.example/charts?x=1", "no `?`"),
            (
                "https://minio.example/charts/index.yaml",
                "without `index.yaml`",
            ),
            ("https://minio.example/charts//a", "has no name"),
            ("https://minio.example/charts/%2fa", "cannot be a folder"),
            ("https://minio.example/ch%20arts/a", "name of a bucket"),
            ("http://c.s3-website-us-east-1.amazonaws.com/", "web site"),
            ("http://c.s3-website.us-east-1.amazonaws.com/", "Amazon"),
            (
                "https://ec2.amazonaws.com/charts",
                "not a host of Amazon S3",
            ),
        ] {
            let error = locate(url, &Overrides::default()).expect_err(url);
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
        for bad in [
            "minio:9000",
            "https://minio/path",
            "https://me:pw@minio",
            "ftp://minio",
        ] {
            assert!(endpoint_url(bad).is_err(), "{bad}");
        }
        assert_eq!(
            endpoint_url("https://MinIO:9000/").as_deref(),
            Ok("https://minio:9000")
        );
    }
}
