//! Where chartgate deliberately answers differently from ChartMuseum, each with its reason. A test names the difference that
//! it shows; `Pair` then checks that ChartMuseum does what is written here and that the answers do differ.

use crate::support::http::{Call, Reply};

/// A difference on purpose.
#[derive(Debug)]
pub(crate) struct Difference {
    /// In a few words.
    pub(crate) name: &'static str,
    /// Why ours is better, or why it cannot matter.
    pub(crate) why: &'static str,
    /// What ChartMuseum does.
    pub(crate) theirs: Theirs,
    /// Which versions do it.
    pub(crate) applies: Applies,
}

/// What ChartMuseum does where ours differs.
#[derive(Debug)]
pub(crate) enum Theirs {
    /// Answers with one of these statuses and a body that contains the text beside it.
    Answers(&'static [(u16, &'static str)]),
    /// Sends this value in this header field, or lacks the field.
    Field(&'static str, Option<&'static str>),
    /// One thing or the other, from run to run.
    Varies,
}

/// The versions of ChartMuseum that differ from ours. The others must agree with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    /// 0.13.1 and 0.16.5.
    Always,
    /// 0.13.1 only: later versions do as ours.
    Before016,
    /// 0.16.5 only: earlier versions do as ours.
    Since016,
}

/// HEAD of the index and of API routes.
pub(crate) static HEAD_HAS_FIELDS: Difference = Difference {
    name: "HEAD carries GET's Content-Type",
    why: "RFC 9110 9.3.2; everywhere else in these tests the type of an answer to HEAD is not compared",
    theirs: Theirs::Field("content-type", None),
    applies: Applies::Since016,
};

/// `/metrics` of 0.13.1 is there without its flag.
pub(crate) static METRICS_WITHOUT_FLAG: Difference = Difference {
    name: "metrics only with their flag",
    why: "0.16.5 has a flag that turns them on; before there was one that turns them off",
    theirs: Theirs::Answers(&[(200, "chartmuseum")]),
    applies: Applies::Before016,
};

/// `GET /api/charts?offset=5`
pub(crate) static OFFSET_ALONE: Difference = Difference {
    name: "an offset without a limit has no upper bound",
    why: "ChartMuseum takes the missing limit for zero and answers with nothing",
    theirs: Theirs::Answers(&[(200, "{}")]),
    applies: Applies::Always,
};

/// Routes that 0.13.1 does not have.
pub(crate) static TEMPLATES_UNKNOWN: Difference = Difference {
    name: "templates and values of a version",
    why: "routes that came after 0.13.1",
    theirs: Theirs::Answers(&[(404, "not found")]),
    applies: Applies::Before016,
};

/// Templates and values with `--chart-url`.
pub(crate) static TEMPLATES_WITH_CHART_URL: Difference = Difference {
    name: "templates and values with --chart-url",
    why: "ChartMuseum takes the second segment of the absolute URL for the file's name",
    theirs: Theirs::Answers(&[(500, "unsupported file extension")]),
    applies: Applies::Always,
};

/// Two files that hold the same version.
pub(crate) static SAME_VERSION_TWICE: Difference = Difference {
    name: "of two files with one version the one with the canonical name counts",
    why: "in ChartMuseum one of them wins by chance, and another after the next scan",
    theirs: Theirs::Varies,
    applies: Applies::Always,
};

/// A chart under a configured field name.
pub(crate) static CUSTOM_FIELD_IS_UNLISTED: Difference = Difference {
    name: "a package from a configured field is listed at once",
    why: "ChartMuseum stores it and lists it after the next scan only",
    theirs: Theirs::Answers(&[(404, "no chart version found for field-1.0.0")]),
    applies: Applies::Always,
};

/// `Multipart/Form-Data`
pub(crate) static FORM_IN_CAPITALS: Difference = Difference {
    name: "the media type of a form in any case",
    why: "RFC 9110 8.3.1: media types are case-insensitive",
    theirs: Theirs::Answers(&[(400, "gzip: invalid header"), (500, "gzip: invalid header")]),
    applies: Applies::Always,
};

/// A chart with the provenance file of another.
pub(crate) static MISMATCHED_PROVENANCE: Difference = Difference {
    name: "a chart and the provenance file of another version are refused together",
    why: "ChartMuseum stores both; the pair could never be verified, and the sender meant one of them",
    theirs: Theirs::Answers(&[(201, "saved")]),
    applies: Applies::Always,
};

/// Damaged archives.
pub(crate) static WORDS_OF_DAMAGE: Difference = Difference {
    name: "other words for a damaged archive",
    why: "ChartMuseum passes on the words of Go's unpackers",
    theirs: Theirs::Answers(&[
        (201, "saved"),
        (400, "error"),
        (409, "exists"),
        (500, "error"),
    ]),
    applies: Applies::Always,
};

/// Chart names with separators.
pub(crate) static NAMES_WITH_SEPARATORS: Difference = Difference {
    name: "a chart's name is checked by the chart rules first",
    why: "0.13.1 finds the separator in the file's name later, in other words",
    theirs: Theirs::Answers(&[(400, "is improperly formatted")]),
    applies: Applies::Before016,
};

/// Rules for charts that came with later versions of helm's library.
pub(crate) static YOUNGER_RULES: Difference = Difference {
    name: "the rules for charts of helm 3.20",
    why: "0.13.1 knows those of helm 3.5: it stores such a chart, or dies of it",
    theirs: Theirs::Answers(&[(201, "saved"), (409, "already exists"), (500, "")]),
    applies: Applies::Before016,
};

/// YAML that cannot be read.
pub(crate) static YAML_WORDS: Difference = Difference {
    name: "other words for what is wrong in YAML",
    why: "what follows the file's name are the words of the reader's library",
    theirs: Theirs::Answers(&[(400, "cannot load"), (500, "cannot load")]),
    applies: Applies::Always,
};

/// Subcharts that cannot be read.
pub(crate) static WORDS_OF_SUBCHARTS: Difference = Difference {
    name: "other words for a broken subchart",
    why: "ours name the subchart's path in the package",
    theirs: Theirs::Answers(&[(400, "error unpacking"), (500, "error unpacking")]),
    applies: Applies::Always,
};

/// Control characters in a description.
pub(crate) static CONTROL_CHARACTERS: Difference = Difference {
    name: "no control characters in texts",
    why: "a rule of helm's that is younger than 0.13.1",
    theirs: Theirs::Answers(&[(200, "\\u0007")]),
    applies: Applies::Before016,
};

/// DELETE of what is not there.
pub(crate) static MISSING_TO_DELETE: Difference = Difference {
    name: "deleting what is not there names the chart",
    why: "ChartMuseum shows a path of the server's file system",
    theirs: Theirs::Answers(&[(404, "no such file or directory")]),
    applies: Applies::Always,
};

/// `--max-storage-objects` and forms.
pub(crate) static FULL_FOR_FORMS: Difference = Difference {
    name: "a full repository is full for forms, too",
    why: "ChartMuseum counts for raw uploads only",
    theirs: Theirs::Answers(&[(201, "saved")]),
    applies: Applies::Always,
};

/// `--per-chart-limit` at its limit.
pub(crate) static EVICTION_LOSES: Difference = Difference {
    name: "a push at the limit of versions loses no other version than the oldest",
    why: "ChartMuseum evicts one although an overwrite adds none, and fails for a form with a provenance file after it has deleted",
    theirs: Theirs::Varies,
    applies: Applies::Since016,
};

/// `Authorization: basic …`
pub(crate) static SCHEME_IN_LOWER_CASE: Difference = Difference {
    name: "the scheme of credentials in any case",
    why: "RFC 9110 11.1: schemes are case-insensitive",
    theirs: Theirs::Answers(&[(401, "unauthorized")]),
    applies: Applies::Always,
};

/// The page at the root.
pub(crate) static WELCOME_PAGE: Difference = Difference {
    name: "a welcome page of our own",
    why: "it names this program",
    theirs: Theirs::Answers(&[(200, "ChartMuseum")]),
    applies: Applies::Always,
};

/// Tokens as passwords.
pub(crate) static TOKEN_AS_PASSWORD: Difference = Difference {
    name: "a token as password",
    why: "helm knows no bearer tokens; so `helm repo add --username x --password <token>` works",
    theirs: Theirs::Answers(&[(401, "unauthorized")]),
    applies: Applies::Always,
};

/// Tokens without the claim that the query looks for.
pub(crate) static TOKEN_WITHOUT_ACCESS: Difference = Difference {
    name: "a token without access rights is refused",
    why: "ChartMuseum panics",
    theirs: Theirs::Answers(&[(500, "")]),
    applies: Applies::Since016,
};

/// `GET /info`
pub(crate) static INFO: Difference = Difference {
    name: "info names chartgate beside ChartMuseum's version",
    why: "clients that look at the version find the one whose API this is; people find out who answers",
    theirs: Theirs::Answers(&[(200, "version"), (200, "ChartMuseum"), (404, "not found")]),
    applies: Applies::Always,
};

/// JavaScript below `/static`.
pub(crate) static TYPE_OF_SCRIPTS: Difference = Difference {
    name: "the media type of scripts",
    why: "ChartMuseum's depends on the machine's table of types",
    theirs: Theirs::Varies,
    applies: Applies::Always,
};

/// CORS on a 401.
pub(crate) static CORS_ON_ERRORS: Difference = Difference {
    name: "CORS covers errors",
    why: "without the field a page cannot read why it was refused",
    theirs: Theirs::Field("access-control-allow-origin", None),
    applies: Applies::Always,
};

/// OPTIONS before a request of another site.
pub(crate) static CORS_PREFLIGHT: Difference = Difference {
    name: "CORS preflights are answered",
    why: "without them no browser sends credentials or a POST with a type of its own",
    theirs: Theirs::Answers(&[(404, "not found")]),
    applies: Applies::Always,
};

/// The text of `/metrics`.
pub(crate) static METRICS_TEXT: Difference = Difference {
    name: "metrics of this process",
    why: "the same names, but no figures of Go's runtime",
    theirs: Theirs::Answers(&[(200, "chartmuseum_charts_served_total")]),
    applies: Applies::Always,
};

/// `//index.yaml`, `/org/charts/`
pub(crate) static EMPTY_SEGMENTS: Difference = Difference {
    name: "a path with an empty segment is no route",
    why: "ChartMuseum takes the emptiness for the name of a repository, a chart or a file, and then finds nothing by that name",
    theirs: Theirs::Answers(&[(401, "unauthorized")]),
    applies: Applies::Always,
};

/// Differences of 0.13.1 that show in many tests, recognised by both answers.
pub(crate) static OF_THE_OLD: &[(&Difference, Recognise)] = &[
    (&BROKEN_IS_500, |call, ours, theirs| {
        (ours.status, theirs.status) == (400, 500)
            && call.line().starts_with("POST ")
            && ours.body == theirs.body
    }),
    (&CONFLICTS_NAME_THE_FILE, |call, ours, theirs| {
        (ours.status, theirs.status) == (409, 409)
            && call.line().starts_with("POST ")
            && theirs.text().contains(" already exists\"")
    }),
    (&NO_HEAD_OF_INDEX, |call, ours, theirs| {
        call.line().starts_with("HEAD ")
            && call.line().ends_with("index.yaml")
            && matches!(ours.status, 200 | 401)
            && theirs.status == 404
    }),
    (&UNKNOWN_ROUTE_OF_DYNAMIC_DEPTH, |_, ours, theirs| {
        ours.status == 404 && theirs.status == 500 && theirs.body.is_empty()
    }),
];

/// Whether two answers show a difference.
pub(crate) type Recognise = fn(&Call, &Reply, &Reply) -> bool;

static BROKEN_IS_500: Difference = Difference {
    name: "a broken package is the sender's fault on the raw route, too",
    why: "0.13.1 answers 500 there and 400 for forms",
    theirs: Theirs::Varies,
    applies: Applies::Before016,
};

static CONFLICTS_NAME_THE_FILE: Difference = Difference {
    name: "a conflict of a form says `chart already exists`",
    why: "0.13.1 names the file",
    theirs: Theirs::Varies,
    applies: Applies::Before016,
};

static NO_HEAD_OF_INDEX: Difference = Difference {
    name: "HEAD of an index",
    why: "a route that came after 0.13.1",
    theirs: Theirs::Varies,
    applies: Applies::Before016,
};

static UNKNOWN_ROUTE_OF_DYNAMIC_DEPTH: Difference = Difference {
    name: "an unknown route with --depth-dynamic is 404",
    why: "0.13.1 panics",
    theirs: Theirs::Varies,
    applies: Applies::Before016,
};

/// `!=2.1.0`
pub(crate) static UNEQUAL_AND_PRERELEASES: Difference = Difference {
    name: "`!=` without a prerelease matches none",
    why: "a rule of the constraints' library that is younger than 0.13.1",
    theirs: Theirs::Answers(&[(200, "3.0.0-beta.2")]),
    applies: Applies::Before016,
};

/// `/metrics/`
pub(crate) static METRICS_SLASH: Difference = Difference {
    name: "no redirect from /metrics/",
    why: "0.13.1 has the route without its flag, and redirects to it",
    theirs: Theirs::Answers(&[(301, "metrics")]),
    applies: Applies::Before016,
};

/// `/y`, `other/y`
pub(crate) static UNCLEAN_NAMES: Difference = Difference {
    name: "the files of a package lie in one folder, and no name is absolute",
    why: "what two readers could understand differently is not let in; it is served where it lies",
    theirs: Theirs::Answers(&[(201, "saved")]),
    applies: Applies::Always,
};

/// DELETE of a version in a file with another name.
pub(crate) static DELETED_BY_VERSION: Difference = Difference {
    name: "a version is deleted whatever its file is called",
    why: "ChartMuseum looks for the canonical name, and such a version can never be deleted",
    theirs: Theirs::Answers(&[(404, "no such file or directory")]),
    applies: Applies::Always,
};

/// The URL of a version in a file with another name.
pub(crate) static CANONICAL_URLS: Difference = Difference {
    name: "a version's URL has the canonical name",
    why: "key and version are unique, names of files need not be; a file is served under its own name, too",
    theirs: Theirs::Answers(&[(200, "whatever.tgz")]),
    applies: Applies::Always,
};

/// Subcharts without a Chart.yaml, or that are no archives.
pub(crate) static SUBCHARTS_ARE_CALLED_SO: Difference = Difference {
    name: "a broken subchart is called a subchart",
    why: "0.13.1 says `error unpacking sub`, later ones `error unpacking subchart sub`",
    theirs: Theirs::Answers(&[(400, "error unpacking "), (500, "error unpacking ")]),
    applies: Applies::Before016,
};

/// A package in the storage that nobody can read.
pub(crate) static BROKEN_IS_NOT_SERVED: Difference = Difference {
    name: "what is no chart is not served as one",
    why: "nobody could install it; the log and the tenant's report say what is wrong with it",
    theirs: Theirs::Answers(&[(200, "this is no gzip")]),
    applies: Applies::Always,
};

/// Less than ten bytes that are no gzip.
pub(crate) static SHORT_NONSENSE: Difference = Difference {
    name: "a few bytes that do not begin like gzip are called so",
    why: "ChartMuseum reads ten bytes before it looks at the first, and says that they end early",
    theirs: Theirs::Answers(&[(400, "unexpected EOF"), (500, "unexpected EOF")]),
    applies: Applies::Always,
};
