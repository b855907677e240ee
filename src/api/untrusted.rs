//! The reader of registry paths, for the fuzz targets (`fuzz/`). Not part of any interface: it changes with what it reads.

use super::registry::RegistryRoutes;
use crate::http::Method;

/// The name of the repository that a path of the registry below `/v2/`, `/acme/v2/` or `/acme/hub/v2/` is about, and what
/// stands in front of `/v2`. `None`: it is refused, or none.
pub fn registry_path(method: &Method, path: &str, query: Option<&str>) -> Option<(String, String)> {
    let routes = RegistryRoutes {
        context: "",
        base: &|path| {
            let text = path.strip_prefix('/')?;
            let known = ["acme/hub", "acme"].into_iter();
            let mut fitting = known.filter(|base| {
                let rest = text.strip_prefix(base);
                rest.is_some_and(|rest| rest == "/v2" || rest.starts_with("/v2/"))
            });
            fitting.next().map(str::len)
        },
    };
    let route = routes.parse(method, path, query)?.ok()?;
    Some((route.spelling.name().to_owned(), route.base))
}
