//! Registries: pulling through upstreams, pushing to our own, below `/v2/` and its other addresses (spec: oci.md §1, §4).

mod route;
mod spelling;
