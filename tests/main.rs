//! The built program and its parts seen from outside, one module for each surface.

/// One behaviour suite per trait, run for every implementer.
mod suites;
mod support;

/// chartgate's own API tokens: commands, admin API, every way to show one, real clients, replicas.
mod api_tokens;
/// Who did what, in one line each.
mod audit;
/// What upstreams are asked: clients before the background, stale before refused, never absent.
mod budgets;
/// What is fetched once and kept: coalescing, verification, eviction, restarts and crashes.
mod cache;
/// Encodings, conditional requests, ranges, reserved names and rates over HTTP.
mod charts;
/// Real helm 3 and helm 4 through twenty upstreams, in every form of the index, with and without credentials.
mod clients;
/// The files in `config/`, and what a wrong file is told.
mod configs;
/// The distribution specification row by row, and the official suite where it can be had.
mod conformance;
/// kill -9 at random moments during uploads and fills.
mod crash;
/// The fuzz targets for a bounded number of inputs.
mod fuzzing;
/// Buckets as upstreams: a real MinIO with real helm, and faults, through the whole program.
mod gateway_buckets;
/// Upstreams that fail in every way, seen from the gateway's clients and its operator.
mod gateway_faults;
/// Hosted registries: one behaviour suite for folders and buckets, replicas, and reading through the cache.
mod hosted_registry;
/// Who somebody is: servers of keys that rotate, lie and go away, and real clients with every identity.
mod identities;
/// How often and how much: several limits at once, bytes and debts, floods, reloads, and limits that replicas share.
mod limits;
/// ChartMuseum's cases, its clients, and the way back to it.
mod museum;
/// The ChartMuseum API of native tenants: merged with upstreams, at any depth.
mod museum_api;
/// ChartMuseum's flags, and tokens end to end.
mod museum_flags;
/// Logins, addresses and wishes of object stores, as they are on the wire.
mod object_logins;
/// What object stores are asked, word for word, and what comes of answers that go wrong.
mod object_requests;
/// Object stores: one behaviour suite against real servers, and what is special about each.
mod objects;
/// Helm lists through the gateway what it lists from the raw index, with the same digests and bytes.
mod oracle;
/// Commands and exit codes, reload, drain and hand-over.
mod process;
/// Upstream registries through the cache: tags, blobs, lists, isolation, dead upstreams.
mod pull_through;
/// The client of upstream registries against every kind of registry and every fault.
mod registries;
/// Registries over HTTP: every endpoint, every address, every kind of caller.
mod registry_api;
/// Real clients of registries: push, pull, copy, list, attach, log in, by every way in.
mod registry_clients;
/// What a configuration says about registries, and what a wrong one is told.
mod registry_configs;
/// Upstream registries of every kind and with every fault, through the whole program; isolation.
mod registry_faults;
/// Tenants with registries through the whole program: order, reserved names, patterns, reloads, and what operators see.
mod registry_group;
/// Requests that no decent client sends.
mod requests;
/// The front on real sockets: framing, limits, TLS, drain.
mod server;
/// The hosted store: one behaviour suite for folders and buckets, and what can go wrong with a bucket.
mod storage;
/// Tenants by pattern: unknown names, the first push, restarts and reloads, permissions, bounds.
mod tenants;
/// Every threat of SECURITY.md has tests that exist, and those that have no other home.
mod threats;
/// The direction of imports, homes of building blocks, and what no text may say.
mod tidy;
/// Tokens of registry clients: every form of asking for one, live rules, realms, tokens of others.
mod token;
/// What comes from upstreams, and every way in which it can go wrong.
mod upstream;
