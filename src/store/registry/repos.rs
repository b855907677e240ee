//! What is known of a tenant's repositories, in bounded memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::repo::Repo;
use crate::oci::RepoName;

/// Repositories that were used recently. One that somebody uses stays, so that there is only one of each.
#[derive(Debug, Default)]
pub(super) struct Repos {
    known: Mutex<HashMap<RepoName, Arc<Repo>>>,
    tick: AtomicU64,
}

impl Repos {
    /// The repository `name` of the tenant with this segment.
    pub(super) fn get(&self, name: &RepoName, tenant: &str) -> Arc<Repo> {
        let tick = self.tick.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = known.get(name) {
            repo.touch(tick);
            return Arc::clone(repo);
        }
        make_room(&mut known, MAX_REPOS, MAX_WEIGHT);
        let repo = Arc::new(Repo::new(tenant, name));
        repo.touch(tick);
        known.insert(name.clone(), Arc::clone(&repo));
        repo
    }

    /// Those that are in memory.
    pub(super) fn all(&self) -> Vec<Arc<Repo>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }
}

/// Forgets those that were not used for longest, a quarter at a time so that this is seldom.
fn make_room(known: &mut HashMap<RepoName, Arc<Repo>>, repos: usize, weight: usize) {
    let total: usize = known.values().map(|repo| repo.weight()).sum();
    if known.len() < repos && total < weight {
        return;
    }
    let mut by_use: Vec<_> = known
        .values()
        .map(|repo| {
            (
                repo.used.load(Ordering::Relaxed),
                repo.name.clone(),
                repo.weight(),
            )
        })
        .collect();
    by_use.sort_unstable_by_key(|(used, ..)| *used);
    let (mut left, mut kept) = (total, known.len());
    for (_, name, size) in by_use {
        if kept <= repos - repos / 4 && left <= weight - weight / 4 {
            break;
        }
        let is_idle = known
            .get(&name)
            .is_some_and(|repo| Arc::strong_count(repo) == 1);
        if is_idle && known.remove(&name).is_some() {
            (left, kept) = (left - size, kept - 1);
        }
    }
}

/// How many repositories of a tenant are known at most.
const MAX_REPOS: usize = 4096;
/// How many links and tags of them in all; some 200 bytes each.
const MAX_WEIGHT: usize = 300_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_and_those_in_use_stay() {
        let repos = Repos::default();
        let name = |at: usize| RepoName::parse(&format!("r{at}")).expect("a name");
        let first = repos.get(&name(0), "t");
        for at in 1..=MAX_REPOS {
            repos.get(&name(at), "t");
        }
        let known = repos.all();
        assert!(
            known.len() <= MAX_REPOS - MAX_REPOS / 4 + 1,
            "{}",
            known.len()
        );
        assert!(Arc::ptr_eq(&first, &repos.get(&name(0), "t")));
        assert!(known.iter().any(|repo| repo.name == name(MAX_REPOS)));
        assert!(!known.iter().any(|repo| repo.name == name(1)));
    }
}
