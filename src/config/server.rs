//! `server:`

use std::collections::BTreeSet;
use std::time::Duration;

use super::resolve::required;
use super::section::Value;
use super::{Https, ListenAddress, Server, units};

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
    };
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return defaults;
    };
    let mut taken = BTreeSet::new();
    let http = section.take("http").filter(|value| !is_false(value));
    let http: Option<Vec<ListenAddress>> = http.map(|value| {
        let listen = |item: &Value<'_>| {
            let address = item.parsed(units::listen_address)?;
            claim(&mut taken, item, &address);
            Some(address)
        };
        value.items().iter().filter_map(listen).collect()
    });
    let https = section
        .take("https")
        .map(|value| {
            let listen = |item: &Value<'_>| https(item, &mut taken);
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
    }
}

fn https(value: &Value<'_>, taken: &mut BTreeSet<String>) -> Option<Https> {
    let mut section = value.section()?;
    let listen = required(&mut section, "listen", |value| {
        let address = value.parsed(units::socket_address)?;
        claim(taken, value, &ListenAddress::Tcp(address));
        Some(address)
    });
    let cert_file = required(&mut section, "cert_file", Value::readable_file);
    let key_file = required(&mut section, "key_file", Value::readable_file);
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
    section.finish();
    Some(Https {
        listen: listen?,
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file,
        client_certificate_required: client_certificate_required.unwrap_or(false),
    })
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
