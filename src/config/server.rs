//! `server:`

use std::collections::BTreeSet;
use std::time::Duration;

use super::resolve::required;
use super::section::{Section, Value};
use super::{
    CertificateFiles, ForwardedHeader, Https, ListenAddress, Network, Redirect, Server,
    TrustedProxies, units,
};

/// The section; absent keys have their defaults.
pub(super) fn read(value: Option<Value<'_>>) -> Server {
    let defaults = Server {
        http: vec![ListenAddress::Tcp(([127, 0, 0, 1], 8080).into())],
        https: Vec::new(),
        admin: None,
        external_url: None,
        grace_period: Duration::from_secs(20),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        context_path: String::new(),
        read_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(60),
        redirect_http: None,
        trusted_proxies: TrustedProxies::default(),
        forwarded_header: ForwardedHeader::default(),
        proxy_protocol: Vec::new(),
        max_connections: None,
        max_connections_per_address: None,
        min_body_rate: 500,
    };
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return defaults;
    };
    let mut taken = BTreeSet::new();
    let http = section.take("http").filter(|value| !is_false(value));
    // Listeners may build on them.
    let trusted_proxies = section
        .take("trusted_proxies")
        .map(|value| trusted_proxies(&value))
        .unwrap_or_default();
    let mut proxy_protocol = Vec::new();
    let http: Option<Vec<ListenAddress>> = http.map(|value| {
        let mut listen = |item: &Value<'_>| {
            let (address, announced) = plain(item, &trusted_proxies, &mut taken)?;
            if announced {
                proxy_protocol.push(address.clone());
            }
            Some(address)
        };
        value.items().iter().filter_map(&mut listen).collect()
    });
    let https = section
        .take("https")
        .map(|value| {
            let listen = |item: &Value<'_>| https(item, &trusted_proxies, &mut taken);
            value.items().iter().filter_map(listen).collect::<Vec<_>>()
        })
        .unwrap_or_default();
    let admin = section
        .take("admin")
        .filter(|value| !is_false(value))
        .and_then(|value| {
            let address = value.parsed(units::listen_address)?;
            claim(&mut taken, &value, &address);
            Some(address)
        });
    let external_url = section
        .take("external_url")
        .and_then(|value| value.parsed(units::plain_url));
    let grace_period = section.duration("grace_period", defaults.grace_period);
    let threads = section.parsed_or("threads", defaults.threads, |text| match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("write a number from 1 to 1024".into()),
    });
    let context_path = section.parsed_or("context_path", defaults.context_path, context_path);
    let read_timeout = section.parsed_or("read_timeout", defaults.read_timeout, patience);
    let write_timeout = section.parsed_or("write_timeout", defaults.write_timeout, patience);
    let redirect_http = section.take("redirect_http").and_then(|value| {
        let redirect = value.parsed(redirect)?;
        if redirect == Some(Redirect::SameHost) && https.is_empty() {
            value.mistake("there is no TLS listener to redirect to: set `https`, or write its address such as `https://charts.example.com`");
        }
        redirect
    });
    let forwarded_header = section.choice(
        "forwarded_header",
        defaults.forwarded_header,
        &[
            ("x-forwarded", ForwardedHeader::XForwarded),
            ("forwarded", ForwardedHeader::Standard),
        ],
    );
    let max_connections = section.parsed_or("max_connections", None, count);
    let max_connections_per_address = section.parsed_or("max_connections_per_address", None, count);
    let min_body_rate = section.size("min_body_rate", defaults.min_body_rate);
    section.finish();
    Server {
        // Whoever asks for TLS only does not want an open port beside it.
        http: http.unwrap_or_else(|| {
            if https.is_empty() {
                defaults.http
            } else {
                Vec::new()
            }
        }),
        https,
        admin,
        external_url,
        grace_period,
        threads,
        context_path,
        read_timeout,
        write_timeout,
        redirect_http,
        trusted_proxies,
        forwarded_header,
        proxy_protocol,
        max_connections,
        max_connections_per_address,
        min_body_rate,
    }
}

impl Server {
    /// The keys in which `next` differs and that are read at the start of a process only. `external_url` and `context_path` are
    /// read with every configuration.
    pub fn keys_for_next_start(&self, next: &Self) -> Vec<&'static str> {
        let plain = (&self.http, &self.proxy_protocol) != (&next.http, &next.proxy_protocol);
        let keys = [
            ("http", plain),
            ("https", self.https != next.https),
            ("admin", self.admin != next.admin),
            ("grace_period", self.grace_period != next.grace_period),
            ("threads", self.threads != next.threads),
            ("read_timeout", self.read_timeout != next.read_timeout),
            ("write_timeout", self.write_timeout != next.write_timeout),
            ("redirect_http", self.redirect_http != next.redirect_http),
            (
                "trusted_proxies",
                self.trusted_proxies != next.trusted_proxies,
            ),
            (
                "forwarded_header",
                self.forwarded_header != next.forwarded_header,
            ),
            (
                "max_connections",
                self.max_connections != next.max_connections,
            ),
            (
                "max_connections_per_address",
                self.max_connections_per_address != next.max_connections_per_address,
            ),
            ("min_body_rate", self.min_body_rate != next.min_body_rate),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}

/// A plain listener: its address, or a section with it. Whether its connections begin with a PROXY protocol header.
fn plain(
    value: &Value<'_>,
    trusted: &TrustedProxies,
    taken: &mut BTreeSet<String>,
) -> Option<(ListenAddress, bool)> {
    let mut listen = |value: &Value<'_>| {
        let address = value.parsed(units::listen_address)?;
        claim(taken, value, &address);
        Some(address)
    };
    if !value.is_section() {
        return Some((listen(value)?, false));
    }
    let mut section = value.section()?;
    let address = required(&mut section, "listen", &mut listen);
    let announced = proxy_protocol(&mut section, trusted);
    section.finish();
    Some((address?, announced))
}

fn proxy_protocol(section: &mut Section<'_>, trusted: &TrustedProxies) -> bool {
    let Some(value) = section.take("proxy_protocol") else {
        return false;
    };
    let announced = value.parsed(units::boolean).unwrap_or(false);
    if announced && trusted.is_empty() {
        value.mistake(
            "nobody would be believed: list who sends these headers in `server.trusted_proxies`",
        );
    }
    announced
}

fn trusted_proxies(value: &Value<'_>) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for item in value.items() {
        let network = item.parsed(|text| match text {
            "unix" => Ok(None),
            text => Network::parse(text).map(Some),
        });
        match network {
            Some(Some(network)) => trusted.networks.push(network),
            Some(None) => trusted.unix = true,
            None => {}
        }
    }
    trusted
}

/// `true`, `false` or an origin.
fn redirect(text: &str) -> Result<Option<Redirect>, String> {
    if let Ok(on) = units::boolean(text) {
        return Ok(on.then_some(Redirect::SameHost));
    }
    match units::plain_url(text) {
        Ok(url) if url.scheme() == "https" && url.path() == "/" => Ok(Some(Redirect::To(url))),
        Ok(_) | Err(_) => {
            Err("write `true`, or an address such as `https://charts.example.com:8443`".into())
        }
    }
}

/// A number of connections; 0 leaves the limit out.
fn count(text: &str) -> Result<Option<usize>, String> {
    let count: usize = text
        .parse()
        .map_err(|_| "write a number of connections; 0: no limit")?;
    Ok((count > 0).then_some(count))
}

fn https(
    value: &Value<'_>,
    trusted: &TrustedProxies,
    taken: &mut BTreeSet<String>,
) -> Option<Https> {
    let mut section = value.section()?;
    let listen = required(&mut section, "listen", |value| {
        let address = value.parsed(units::socket_address)?;
        claim(taken, value, &ListenAddress::Tcp(address));
        Some(address)
    });
    let certificates = certificates(&mut section);
    let client_ca_file = section.take("client_ca_file");
    let has_client_ca = client_ca_file.is_some();
    let client_ca_file = client_ca_file.and_then(|value| value.readable_file());
    let client_certificate_required = section.take("client_certificates").and_then(|value| {
        let required = value.choice(&[("optional", false), ("required", true)])?;
        if required && !has_client_ca {
            value.mistake("nobody could show a certificate that counts: set `client_ca_file`");
        }
        Some(required)
    });
    let proxy_protocol = proxy_protocol(&mut section, trusted);
    section.finish();
    Some(Https {
        listen: listen?,
        certificates: certificates?,
        client_ca_file,
        client_certificate_required: client_certificate_required.unwrap_or(false),
        proxy_protocol,
    })
}

/// `certificates`, or the one pair that stands in the listener's own section.
fn certificates(section: &mut Section<'_>) -> Option<Vec<CertificateFiles>> {
    let pair = |section: &mut Section<'_>| {
        let cert_file = required(section, "cert_file", Value::readable_file);
        let key_file = required(section, "key_file", Value::readable_file);
        Some(CertificateFiles {
            cert_file: cert_file?,
            key_file: key_file?,
        })
    };
    let Some(list) = section.take("certificates") else {
        return Some(vec![pair(section)?]);
    };
    for key in ["cert_file", "key_file"] {
        section.refuse(
            key,
            "`certificates` has the pairs; keep one of the two forms",
        );
    }
    let items = list.items();
    if items.is_empty() {
        list.mistake("a TLS listener needs at least one certificate");
    }
    let read = |item: &Value<'_>| {
        let mut section = item.section()?;
        let files = pair(&mut section);
        section.finish();
        files
    };
    let certificates: Vec<_> = items.iter().filter_map(read).collect();
    (certificates.len() == items.len() && !certificates.is_empty()).then_some(certificates)
}

/// Two listeners cannot share an address, except port 0, which is another port each time.
fn claim(taken: &mut BTreeSet<String>, value: &Value<'_>, address: &ListenAddress) {
    if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
        return;
    }
    if !taken.insert(address.to_string()) {
        value.mistake(format!("another listener has the address `{address}`"));
    }
}

fn is_false(value: &Value<'_>) -> bool {
    matches!(value.spelling().as_str(), "false" | "off")
}

/// `/helm`, `helm/` and `helm` are the same; `/` is none.
fn context_path(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    if path.split('/').all(is_plain) {
        Ok(format!("/{path}"))
    } else {
        Err("write a path such as `/helm`, of letters, digits, `-`, `.`, `_` and `~`".into())
    }
}

/// A wait that ends.
fn patience(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        Duration::ZERO => Err("more than zero, or every client would be cut at once".into()),
        patience => Ok(patience),
    }
}
