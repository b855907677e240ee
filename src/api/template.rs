//! Templates of routes, as ChartMuseum's metrics name them: bounded, whatever clients ask for.

/// The template of the route with this label in a service below `context_path`. `depth_zero`: there is one repository and it
/// has no name in paths.
pub fn template(label: &str, context_path: &str, depth_zero: bool) -> String {
    let repository = if depth_zero { "" } else { "/:repo" };
    let (prefix, rest) = match label {
        "index" => (repository, "/index.yaml"),
        "archive" | "provenance" => (repository, "/charts/:filename"),
        "artifacthub" => (repository, "/artifacthub-repo.yml"),
        "charts" | "upload" => ("/api", "/charts"),
        "upload-provenance" => ("/api", "/prov"),
        "chart" => ("/api", "/charts/:name"),
        "version" | "delete" => ("/api", "/charts/:name/:version"),
        "templates" => ("/api", "/charts/:name/:version/templates"),
        "values" => ("/api", "/charts/:name/:version/values"),
        "health" => ("", "/health"),
        "info" => ("", "/info"),
        "static" => ("", "/static"),
        // `/` itself, and what no route answers.
        _ => ("", "/"),
    };
    let repository = if prefix == "/api" { repository } else { "" };
    format!("{context_path}{prefix}{repository}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_clean_at_every_depth() {
        for (label, context_path, depth_zero, expected) in [
            ("index", "", true, "/index.yaml"),
            ("index", "", false, "/:repo/index.yaml"),
            ("index", "/helm", false, "/helm/:repo/index.yaml"),
            ("archive", "", false, "/:repo/charts/:filename"),
            ("delete", "", true, "/api/charts/:name/:version"),
            ("upload", "/helm", false, "/helm/api/:repo/charts"),
            ("health", "/helm", false, "/helm/health"),
            ("anything", "", false, "/"),
        ] {
            assert_eq!(template(label, context_path, depth_zero), expected);
        }
    }
}
