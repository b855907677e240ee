//! Real clients of registries: push, pull, copy, list, attach, remove, by every way in.
//!
//! What a program does in a week is written once, for any registry ([`Place`]). The reference registry comes first: what fails there is
//! the test's own mistake.

mod collect;
mod containerd;
mod crane;
mod docker;
mod engines;
mod everyday;
mod helm;
mod hosted;
mod login;
mod oras;
mod place;
mod pull_through;
mod reference;
mod schemes;
mod skopeo;

pub(crate) use self::place::Place;
