//! What the whole service says about itself: health, version, metrics, and who claims a repository on Artifact Hub.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::http::{Response, StatusCode, header};
use crate::names::FileName;

/// The release of ChartMuseum whose API this is.
const CHARTMUSEUM: &str = "0.16.5";

/// `GET /health`, as ChartMuseum.
pub(super) fn health() -> Response {
    Response::json(StatusCode::OK, &serde_json::json!({ "healthy": true }))
}

/// `GET /info`: the version. The strict service says that of ChartMuseum, because scripts compare it, and its own beside it.
pub(super) fn info(config: &Config) -> Response {
    let own = env!("CARGO_PKG_VERSION");
    let info = if config.museum.strict {
        serde_json::json!({ "version": CHARTMUSEUM, "chartgate": own })
    } else {
        serde_json::json!({ "version": own })
    };
    Response::json(StatusCode::OK, &info)
}

/// `GET /metrics` on a public listener.
pub(super) fn metrics(gateway: &Gateway) -> Response {
    Response::new(StatusCode::OK, bytes::Bytes::from(gateway.render_metrics())).with_header(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )
}

/// `GET /T/artifacthub-repo.yml`: the id under which Artifact Hub knows the repository.
pub(super) fn artifact_hub(config: &Config, tenant: &str) -> Result<Response> {
    let ids = &config.museum.artifact_hub;
    let root = if tenant.is_empty() {
        ids.get("/")
    } else {
        None
    };
    let id = ids
        .get(tenant)
        .or(root)
        .ok_or_else(|| Error::not_found("Artifact Hub repository ID not found"))?;
    let body = format!("repositoryID: {}\n", yaml_text(id));
    Ok(Response::new(StatusCode::OK, bytes::Bytes::from(body))
        .with_header(header::CONTENT_TYPE, "application/x-yaml"))
}

/// An archive under the media type that ChartMuseum gives it.
pub(super) fn as_chartmuseum_types_it(response: Response, file: &FileName) -> Response {
    let is_archive = response.status.is_success() && !file.is_provenance();
    if is_archive {
        response.with_header(header::CONTENT_TYPE, "application/x-tar")
    } else {
        response
    }
}

/// A text that no YAML reader takes for anything else.
fn yaml_text(text: &str) -> String {
    let is_uuid = text.len() == 36
        && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    if is_uuid {
        return text.to_owned();
    }
    // A JSON string is a YAML string.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_text() {
        let uuid = "00000000-1234-1234-1234-1234567890ab";
        assert_eq!(yaml_text(uuid), uuid);
        for odd in ["1234", "true", "a: b", "", "1e5", "x\ny: z", "2026-01-01"] {
            let text = yaml_text(odd);
            let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, odd);
        }
    }
}
