//! Pages for people: the welcome page, and the operator's own pages (`chartmuseum.web_folder`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::partial;
use crate::auth::{About, Identity};
use crate::config::{Action, Config};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::http::conditional::{http_date, not_modified};
use crate::http::range;
use crate::http::{Body, ByteStream, Request, Response, StatusCode, header};

const HTML: &str = "text/html; charset=utf-8";
/// The largest welcome page that is read.
const MAX_PAGE: u64 = 4 << 20;

/// `GET /`: the operator's page, else what this is.
pub(super) async fn welcome(gateway: &Gateway) -> Result<Response> {
    let config = gateway.config();
    if let Some(folder) = &config.museum.web_folder
        && let Some(page) = page(folder.clone()).await?
    {
        return Ok(Response::new(StatusCode::OK, page).with_header(header::CONTENT_TYPE, HTML));
    }
    if config.museum.strict {
        return Ok(
            Response::new(StatusCode::OK, MUSEUM_PAGE).with_header(header::CONTENT_TYPE, HTML)
        );
    }
    Ok(Response::text(StatusCode::OK, tenants(gateway)))
}

/// What a person with a terminal may want to know. Names only tenants that everybody may read.
fn tenants(gateway: &Gateway) -> String {
    let mut text = String::from(
        "chartgate: a caching gateway for Helm chart repositories\n\nAdd a repository:\n\n",
    );
    let server = &gateway.config().server;
    for tenant in gateway.tenants().filter(|tenant| {
        let path = tenant.path().as_str();
        tenant
            .policy()
            .allows(&Identity::Anonymous, path, Action::Pull, About::Tenant)
    }) {
        let base = server
            .external_url
            .as_ref()
            .map_or("http://<this address>", |url| url.as_str());
        text.push_str(&format!(
            "  helm repo add gw {}{}/{}\n",
            base.trim_end_matches('/'),
            server.context_path,
            tenant.path().as_str()
        ));
    }
    text
}

/// What an operator should know about the pages in `chartmuseum.web_folder`, for one line of the log. Blocking.
pub fn note(config: &Config) -> Option<String> {
    let folder = config.museum.web_folder.as_ref()?;
    let page = folder.join("index.html");
    match read_page(folder) {
        Ok(Some(text)) if memchr::memmem::find(&text, b"{{").is_some() => Some(format!(
            "`{}` looks like a Go template; it is sent as it is, because templates are not rendered here",
            page.display()
        )),
        Ok(Some(_)) => None,
        Ok(None) => Some(format!(
            "`{}` does not exist; the built-in welcome page is shown",
            page.display()
        )),
        Err(error) => Some(format!("`{}` cannot be read: {error}", page.display())),
    }
}

async fn page(folder: PathBuf) -> Result<Option<Bytes>> {
    let read = tokio::task::spawn_blocking(move || read_page(&folder)).await;
    read.unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| Error::internal("the welcome page cannot be read", error))
}

fn read_page(folder: &Path) -> io::Result<Option<Bytes>> {
    let file = match File::open(folder.join("index.html")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = Vec::new();
    file.take(MAX_PAGE).read_to_end(&mut text)?;
    Ok(Some(text.into()))
}

/// `GET /static/<path>`: a file of the operator's.
pub(super) async fn file(config: &Config, path: &str, request: &Request) -> Result<Response> {
    let absent = || Response::text(StatusCode::NOT_FOUND, "404 page not found");
    let Some(folder) = config.museum.web_folder.clone() else {
        return Ok(absent());
    };
    let wanted = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&folder, &wanted)).await;
    let opened = opened
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| Error::internal("a static file cannot be read", error))?;
    let Some(Opened {
        file,
        length,
        modified,
    }) = opened
    else {
        return Ok(absent());
    };
    let etag = format!("\"{:x}-{length:x}\"", modified.as_nanosecond());
    let response = if not_modified(&request.headers, Some(&etag), Some(modified)) {
        Response::new(StatusCode::NOT_MODIFIED, Body::Empty)
    } else {
        let selection = range::select(&request.headers, length, Some(&etag));
        let body = async |part: std::ops::Range<u64>| {
            let part = part.start..part.end.min(length);
            Ok(ByteStream::from_file(Arc::new(file), part).into())
        };
        let response = partial::respond(selection, path, length, body).await?;
        if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        response.with_header(header::CONTENT_TYPE, content_type(path))
    };
    Ok(response
        .with_header(header::ETAG, etag)
        .with_header(header::LAST_MODIFIED, http_date(modified))
        .with_header(header::ACCEPT_RANGES, "bytes"))
}

struct Opened {
    file: File,
    length: u64,
    modified: Timestamp,
}

/// Opens a file below `static`. Links are followed as far as they stay in the folder, because that is how Kubernetes mounts
/// one; names that begin with a dot are nobody's to see.
fn open(folder: &Path, path: &str) -> io::Result<Option<Opened>> {
    if path.is_empty()
        || path
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
    {
        return Ok(None);
    }
    let found = folder
        .canonicalize()
        .and_then(|root| Ok((folder.join("static").join(path).canonicalize()?, root)));
    let (target, root) = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        // Nothing there, or a link that leads nowhere.
        Err(_) => return Ok(None),
    };
    if !target.starts_with(&root) {
        return Ok(None);
    }
    let file = match File::open(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Some(Opened {
        file,
        length: metadata.len(),
        modified,
    }))
}

/// The media type by the ending of the name.
fn content_type(path: &str) -> &'static str {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => HTML,
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "yaml" | "yml" => "application/yaml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

/// The page of the ChartMuseum service.
const MUSEUM_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Helm chart repository</title></head>\n\
<body>\n<h1>Helm chart repository</h1>\n<p>This is chartgate, serving the ChartMuseum API.</p>\n\
<p>Add this address to helm: <code>helm repo add NAME URL</code></p>\n</body>\n</html>\n";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(folder: &Path, path: &str) -> Option<String> {
        let mut opened = open(folder, path).expect("no trouble")?;
        let mut text = String::new();
        opened.file.read_to_string(&mut text).expect("text");
        assert_eq!(opened.length, text.len() as u64);
        Some(text)
    }

    #[test]
    fn files_of_the_folder_and_no_others() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("secret"), "s").expect("written");
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("static/css")).expect("made");
        fs::create_dir_all(at("..data")).expect("made");
        fs::write(at("static/css/a.css"), "a").expect("written");
        fs::write(at("static/.hidden"), "h").expect("written");
        fs::write(at("..data/b.js"), "b").expect("written");
        symlink("../..data/b.js", at("static/b.js")).expect("linked");
        symlink(outside.path().join("secret"), at("static/out")).expect("linked");
        symlink(outside.path(), at("static/dir")).expect("linked");
        symlink("loop", at("static/loop")).expect("linked");
        assert_eq!(text(folder.path(), "css/a.css").as_deref(), Some("a"));
        assert_eq!(text(folder.path(), "b.js").as_deref(), Some("b"));
        for absent in [
            "",
            "css",
            "css/",
            "none",
            "css/a.css/x",
            ".hidden",
            "out",
            "dir/secret",
            "loop",
            "../..data/b.js",
            "../../etc/passwd",
            "css//a.css",
        ] {
            assert_eq!(text(folder.path(), absent), None, "{absent}");
        }
    }

    #[test]
    fn a_template_is_pointed_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = crate::config::quick_start(Path::new("data"));
        assert_eq!(note(&config), None);
        config.museum.web_folder = Some(folder.path().to_path_buf());
        assert!(note(&config).expect("a note").contains("does not exist"));
        fs::write(folder.path().join("index.html"), "<b>{{ .Name }}</b>").expect("written");
        assert!(note(&config).expect("a note").contains("Go template"));
        fs::write(folder.path().join("index.html"), "<b>hello</b>").expect("written");
        assert_eq!(note(&config), None);
    }
}
