//! The registries of the world, each with its peculiarities (spec: oci.md §2.1).

/// A kind of registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Nobody in particular: bearer tokens for everybody, as the specifications have it.
    Plain,
    /// Tokens from another host, 401 for what does not exist, blobs on a CDN, rates in headers.
    DockerHub,
    /// Opaque tokens, 403 from the token server for what is private or absent, scopes that nobody asked for are refused.
    Ghcr,
    /// The token server lies below `/v2/`, links are relative.
    Quay,
    /// Basic only, as user `AWS`; more than 1000 tags a page are refused.
    Ecr,
    /// A scope that is none, and a cursor in links that means nothing to others.
    EcrPublic,
    /// POST for tokens is 404, lists have more fields and ignore `n`, unasked scopes are refused.
    Gar,
    /// POST for tokens works with refresh tokens only.
    Acr,
    /// HEAD of a blob is 404 until somebody asked for its bytes.
    Harbor,
    /// As Harbor, under another name.
    QingCloud,
    /// Offers Basic and Bearer at once.
    Nexus,
    /// POST for tokens is 401; hides what strangers may not see behind 404.
    Artifactory,
    /// Manifests are `text/plain`.
    RedHat,
}

impl Row {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Plain,
        Self::DockerHub,
        Self::Ghcr,
        Self::Quay,
        Self::Ecr,
        Self::EcrPublic,
        Self::Gar,
        Self::Acr,
        Self::Harbor,
        Self::QingCloud,
        Self::Nexus,
        Self::Artifactory,
        Self::RedHat,
    ];

    /// How it behaves.
    pub(super) fn manners(self) -> Manners {
        let plain = Manners {
            token_path: "/token",
            service: Some("registry.example"),
            ..Manners::default()
        };
        match self {
            Self::Plain => plain,
            Self::DockerHub => Manners {
                service: Some("registry.docker.io"),
                absent: Absent::Denied,
                blobs_elsewhere: true,
                rate: true,
                expires_in: Some(300),
                ..plain
            },
            Self::Ghcr => Manners {
                service: Some("ghcr.io"),
                absent: Absent::NoToken,
                strict_scopes: true,
                expires_in: None,
                page: 3,
                ..plain
            },
            Self::Quay => Manners {
                token_path: "/v2/auth",
                service: Some("quay.io"),
                absent: Absent::Denied,
                links: Links::RelativeToFile,
                page: 2,
                blobs_elsewhere: true,
                ..plain
            },
            Self::Ecr => Manners {
                basic: true,
                bearer: false,
                anonymous: false,
                most_tags: Some(1000),
                referrers: false,
                blobs_elsewhere: true,
                ..plain
            },
            Self::EcrPublic => Manners {
                token_path: "/token/",
                service: Some("public.ecr.aws"),
                scope: ScopeStyle::Own("aws"),
                links: Links::Cursor,
                page: 2,
                ..plain
            },
            Self::Gar => Manners {
                token_path: "/v2/token",
                service: None,
                strict_scopes: true,
                post: Post::Status(404),
                extra_tag_fields: true,
                page: 0,
                referrers: false,
                ..plain
            },
            Self::Acr => Manners {
                token_path: "/oauth2/token",
                post: Post::RefreshOnly,
                links: Links::Absolute,
                page: 2,
                ..plain
            },
            Self::Harbor | Self::QingCloud => Manners {
                token_path: "/service/token",
                service: Some("harbor-registry"),
                head_blob_unknown: true,
                ..plain
            },
            Self::Nexus => Manners {
                token_path: "/v2/token",
                service: Some("https://nexus.example/v2/token"),
                scope: ScopeStyle::None,
                basic: true,
                referrers: false,
                ..plain
            },
            Self::Artifactory => Manners {
                token_path: "/artifactory/api/docker/hub/v2/token",
                post: Post::Status(401),
                absent: Absent::Hidden,
                links: Links::WrongScheme,
                page: 2,
                ..plain
            },
            Self::RedHat => Manners {
                token_path: "/auth/realms/rhcc/protocol/redhat-docker-v2/auth",
                manifest_type: Some("text/plain; charset=utf-8"),
                referrers: false,
                ..plain
            },
        }
    }
}

/// What distinguishes registries.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// Where the token server lies.
    pub(super) token_path: &'static str,
    /// Its full URL, where it is somewhere else.
    pub(super) realm: Option<String>,
    pub(super) service: Option<&'static str>,
    pub(super) scope: ScopeStyle,
    /// Offers Basic.
    pub(super) basic: bool,
    /// Offers Bearer.
    pub(super) bearer: bool,
    /// Gives tokens to strangers.
    pub(super) anonymous: bool,
    /// Refuses a token for scopes that it did not name in a challenge.
    pub(super) strict_scopes: bool,
    pub(super) post: Post,
    pub(super) expires_in: Option<u64>,
    pub(super) absent: Absent,
    pub(super) blobs_elsewhere: bool,
    pub(super) head_blob_unknown: bool,
    pub(super) rate: bool,
    pub(super) manifest_type: Option<&'static str>,
    pub(super) head: HeadStyle,
    pub(super) referrers: bool,
    pub(super) links: Links,
    /// What every page of tags names as the next one.
    pub(super) forced_link: Option<String>,
    /// Tags a page at most; 0: all, whatever is asked.
    pub(super) page: usize,
    pub(super) most_tags: Option<usize>,
    pub(super) extra_tag_fields: bool,
    /// Answers ranges with everything.
    pub(super) ranges: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            token_path: "/token",
            realm: None,
            service: None,
            scope: ScopeStyle::Asked,
            basic: false,
            bearer: true,
            anonymous: true,
            strict_scopes: false,
            post: Post::Works,
            expires_in: Some(60),
            absent: Absent::Unknown,
            blobs_elsewhere: false,
            head_blob_unknown: false,
            rate: false,
            manifest_type: None,
            head: HeadStyle::Full,
            referrers: true,
            links: Links::Path,
            forced_link: None,
            page: 1000,
            most_tags: None,
            extra_tag_fields: false,
            ranges: true,
        }
    }
}

/// The `scope` of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScopeStyle {
    /// What the request needs.
    Asked,
    /// A word of its own.
    Own(&'static str),
    /// None.
    None,
}

/// What POST at the token server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// Gives a token for the right refresh token.
    Works,
    /// As `Works`, and 400 for everything else.
    RefreshOnly,
    /// This.
    Status(u16),
}

/// What becomes of questions about repositories that do not exist or are not for the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// 404 for absent ones, 401 for private ones.
    Unknown,
    /// 401 in any case.
    Denied,
    /// The token server says 403.
    NoToken,
    /// 404 in any case, without a challenge for strangers.
    Hidden,
}

/// How the next page is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// `/v2/…?last=…`
    Path,
    /// `list?last=…`
    RelativeToFile,
    /// With scheme and host.
    Absolute,
    /// With the other scheme and without the port, as behind a proxy that nobody told about.
    WrongScheme,
    /// A cursor; `last` is 405.
    Cursor,
}

/// What a HEAD of a manifest is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadStyle {
    /// Everything.
    Full,
    /// No `Docker-Content-Digest`.
    WithoutDigest,
    /// This status.
    Status(u16),
}
