//! Which URLs mean objects of the bucket, and which object.
//!
//! Indexes that lie in a bucket name their charts relatively, as `s3://bucket/…`, or by any of the https URLs that the service
//! has for the same bucket. All of them are read with the upstream's own credentials, but only below its prefix: whoever may
//! write there must not reach, through the gateway, what else the credentials can read.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::S3;

/// The upstream's place in its bucket.
#[derive(Clone, Debug)]
pub(super) struct Place {
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// `s3://bucket/prefix/`.
    base: Url,
    /// Hosts of the service with their ports, in lower case.
    services: Vec<String>,
}

/// What a URL means here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// An object, by its key below the prefix.
    Object(String),
    /// Something in the bucket that is not below the prefix.
    OutsidePrefix,
    /// Another bucket, of whichever service.
    OtherBucket,
    /// Anything else; a URL with a query too, because it brings its own signature.
    Elsewhere,
}

impl Place {
    /// `None` where bucket and prefix do not make a URL.
    pub(super) fn new(config: &S3, prefix: &str) -> Option<Self> {
        let mut base = Url::parse(&format!("s3://{}/", config.bucket)).ok()?;
        let prefix = prefix.trim_matches('/');
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        if !prefix.is_empty() {
            base.path_segments_mut()
                .ok()?
                .pop_if_empty()
                .extend(prefix.split('/'));
        }
        Some(Self {
            bucket: config.bucket.clone(),
            prefix,
            base,
            services: services(config),
        })
    }

    /// What relative URLs resolve against: `s3://bucket/prefix/`.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The URL of the object with this name directly below the prefix.
    pub(super) fn url(&self, name: &str) -> String {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name);
        }
        url.into()
    }

    /// What `url` means.
    pub(super) fn find(&self, url: &Url) -> Reference {
        let scheme = url.scheme();
        if !matches!(scheme, "s3" | "http" | "https") {
            return Reference::Elsewhere;
        }
        let elsewhere = match scheme {
            "s3" => Reference::OtherBucket,
            _ => Reference::Elsewhere,
        };
        let host = url.host_str().unwrap_or_default();
        let path = url.path().trim_start_matches('/');
        if url.query().is_some() && scheme != "s3" {
            return elsewhere;
        }
        if scheme == "s3" && host == self.bucket && url.port().is_none() {
            return self.key(path);
        }
        let port = url.port().map(|port| format!(":{port}"));
        let host = format!("{}{}", host.to_ascii_lowercase(), port.unwrap_or_default());
        if self.services.contains(&host) {
            return match path.split_once('/') {
                Some((bucket, path)) if bucket == self.bucket => self.key(path),
                _ => elsewhere,
            };
        }
        let virtual_host = host
            .strip_prefix(&*self.bucket.to_ascii_lowercase())
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| self.services.iter().any(|service| service == rest));
        match virtual_host {
            true => self.key(path),
            false => elsewhere,
        }
    }

    fn key(&self, path: &str) -> Reference {
        let key = percent_decode_str(path).decode_utf8().ok();
        let below = key
            .as_deref()
            .and_then(|key| key.strip_prefix(&*self.prefix));
        match below.filter(|key| !key.is_empty()) {
            Some(key) => Reference::Object(key.to_owned()),
            None => Reference::OutsidePrefix,
        }
    }
}

/// The hosts of the service that keeps the bucket.
fn services(config: &S3) -> Vec<String> {
    let endpoint = config
        .endpoint
        .as_deref()
        .and_then(|url| Url::parse(url).ok());
    let host = endpoint.as_ref().and_then(Url::host_str);
    let region = config.region.as_deref().unwrap_or_default();
    let is_amazon = |host: &str| {
        AMAZON
            .iter()
            .find(|suffix| host.ends_with(**suffix))
            .copied()
    };
    let mut services = Vec::new();
    if let (Some(host), Some(url)) = (host, &endpoint) {
        let port = url.port().map(|port| format!(":{port}"));
        services.push(format!("{host}{}", port.unwrap_or_default()));
    }
    // The same bucket answers under each of these.
    let amazon = match host {
        None if region.starts_with("cn-") => Some(AMAZON[1]),
        None => Some(AMAZON[0]),
        Some(host) => is_amazon(host),
    };
    if let Some(suffix) = amazon {
        services.extend([
            format!("s3.{region}{suffix}"),
            format!("s3-{region}{suffix}"),
            format!("s3.dualstack.{region}{suffix}"),
            format!("s3{suffix}"),
        ]);
    }
    if let Some(zone) = host
        .and_then(|host| host.strip_suffix(".qingstor.com"))
        .and_then(|host| host.strip_prefix("s3."))
    {
        services.push(format!("{zone}.qingstor.com"));
    }
    services
}

const AMAZON: [&str; 2] = [".amazonaws.com", ".amazonaws.com.cn"];

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bucket: &str, endpoint: Option<&str>, region: &str, prefix: &str) -> Place {
        let config = S3 {
            bucket: bucket.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: Some(region.to_owned()),
            ..S3::default()
        };
        Place::new(&config, prefix).expect("a place")
    }

    fn object(key: &str) -> Reference {
        Reference::Object(key.to_owned())
    }

    #[test]
    fn every_form_of_one_object_is_that_object() {
        let minio = place(
            "charts",
            Some("http://minio.example:9000"),
            "us-east-1",
            "stable",
        );
        let qingstor = place(
            "charts",
            Some("https://s3.pek3a.qingstor.com"),
            "pek3a",
            "stable",
        );
        let amazon = place("charts", None, "eu-west-1", "stable");
        for (place, hosts) in [
            (
                &minio,
                &[
                    "http://minio.example:9000/charts",
                    "https://charts.minio.example:9000",
                    "s3://minio.example:9000/charts",
                ][..],
            ),
            (
                &qingstor,
                &[
                    "https://s3.pek3a.qingstor.com/charts",
                    "http://charts.pek3a.qingstor.com",
                    "https://pek3a.qingstor.com/charts",
                    "s3://s3.pek3a.qingstor.com/charts",
                ],
            ),
            (
                &amazon,
                &[
                    "https://s3.eu-west-1.amazonaws.com/charts",
                    "https://charts.s3.eu-west-1.amazonaws.com",
                    "http://charts.s3.amazonaws.com",
                    "https://charts.s3-eu-west-1.amazonaws.com",
                    "https://CHARTS.s3.dualstack.eu-west-1.amazonaws.com",
                ],
            ),
        ] {
            for host in hosts.iter().chain(&["s3://charts"]) {
                let url = Url::parse(&format!("{host}/stable/a/x-1.0.0+b%20c.tgz")).expect(host);
                assert_eq!(place.find(&url), object("a/x-1.0.0+b c.tgz"), "{url}");
            }
        }
    }

    #[test]
    fn what_is_not_below_the_prefix_stays_out_of_reach() {
        let place = place("charts", Some("http://minio:9000"), "us-east-1", "stable");
        let find = |url: &str| place.find(&Url::parse(url).expect(url));
        for outside in [
            "s3://charts/x.tgz",
            "s3://charts/stable",
            "s3://charts/stable/",
            "s3://charts/stable-2/x.tgz",
            "s3://charts/stable/../secret/x.tgz",
            "http://minio:9000/charts/secret/x.tgz",
            "s3://charts/stable/%ff.tgz",
        ] {
            assert_eq!(find(outside), Reference::OutsidePrefix, "{outside}");
        }
        assert_eq!(find("s3://other/stable/x.tgz"), Reference::OtherBucket);
        for elsewhere in [
            "http://minio:9000/other/stable/x.tgz",
            "http://minio/charts/stable/x.tgz",
            "https://example.com/x.tgz",
            "http://minio:9000/charts/stable/x.tgz?X-Amz-Signature=1",
            "https://charts.example.com/stable/x.tgz",
            "oci://minio:9000/charts/x:1",
        ] {
            assert_eq!(find(elsewhere), Reference::Elsewhere, "{elsewhere}");
        }
    }

    #[test]
    fn names_and_urls_are_two_sides_of_one_thing() {
        for prefix in ["", "stable", "a b/c+d", "/slashes/"] {
            let place = place("my.charts", Some("http://minio"), "us-east-1", prefix);
            assert!(place.base().path().ends_with('/'), "{}", place.base());
            for name in [
                "a-1.0.0.tgz",
                "a-1.0.0+b.1.tgz",
                "x y.tgz",
                "50%.tgz",
                "ü?#.tgz",
            ] {
                let url = Url::parse(&place.url(name)).expect("a URL");
                assert_eq!(place.find(&url), object(name), "{url}");
            }
            let relative = place.base().join("charts/x-1.0.0+b.tgz").expect("a URL");
            assert_eq!(place.find(&relative), object("charts/x-1.0.0+b.tgz"));
        }
    }
}
