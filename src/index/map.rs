//! A sorted map by chart name whose edits copy little: blocks of neighbours are shared between versions of the map.

use std::sync::Arc;

/// Items per block. An edit copies one block and the list of blocks: some microseconds at 100,000 items.
const BLOCK: usize = 128;

type Block<V> = Arc<Vec<(Arc<str>, V)>>;

/// A persistent sorted map.
#[derive(Clone, Debug)]
pub(super) struct Map<V> {
    /// Never empty blocks, in order.
    blocks: Arc<Vec<Block<V>>>,
    len: usize,
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self {
            blocks: Arc::default(),
            len: 0,
        }
    }
}

impl<V: Clone> Map<V> {
    /// A map of items that are sorted by name, each name once.
    pub(super) fn from_sorted(items: impl IntoIterator<Item = (Arc<str>, V)>) -> Self {
        let (mut blocks, mut block, mut len) = (Vec::new(), Vec::with_capacity(BLOCK), 0);
        for item in items {
            debug_assert!(
                block
                    .last()
                    .is_none_or(|(name, _): &(Arc<str>, V)| *name < item.0)
            );
            len += 1;
            block.push(item);
            if block.len() == BLOCK {
                blocks.push(Arc::new(std::mem::replace(
                    &mut block,
                    Vec::with_capacity(BLOCK),
                )));
            }
        }
        if !block.is_empty() {
            block.shrink_to_fit();
            blocks.push(Arc::new(block));
        }
        Self {
            blocks: Arc::new(blocks),
            len,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let block = self.blocks.get(self.block_of(name))?;
        let at = position(block, name).ok()?;
        block.get(at).map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.blocks
            .iter()
            .flat_map(|block| block.iter().map(|(name, value)| (name, value)))
    }

    /// The map with `value` under `name`.
    pub(super) fn with(&self, name: Arc<str>, value: V) -> Self {
        let at = self.block_of(&name);
        let mut blocks = Vec::clone(&self.blocks);
        let mut len = self.len;
        match blocks.get_mut(at) {
            None => {
                blocks.push(Arc::new(vec![(name, value)]));
                len += 1;
            }
            Some(shared) => {
                let mut block = Vec::clone(shared);
                match position(&block, &name) {
                    Ok(found) => block[found] = (name, value),
                    Err(gap) => {
                        block.insert(gap, (name, value));
                        len += 1;
                    }
                }
                if block.len() > 2 * BLOCK {
                    let upper = block.split_off(BLOCK);
                    blocks[at] = Arc::new(block);
                    blocks.insert(at + 1, Arc::new(upper));
                } else {
                    blocks[at] = Arc::new(block);
                }
            }
        }
        Self {
            blocks: Arc::new(blocks),
            len,
        }
    }

    /// The map without `name`.
    pub(super) fn without(&self, name: &str) -> Self {
        let at = self.block_of(name);
        let Some(found) = self
            .blocks
            .get(at)
            .and_then(|block| position(block, name).ok())
        else {
            return self.clone();
        };
        let mut blocks = Vec::clone(&self.blocks);
        let mut block = Vec::clone(&blocks[at]);
        block.remove(found);
        if block.is_empty() {
            blocks.remove(at);
        } else {
            blocks[at] = Arc::new(block);
        }
        Self {
            blocks: Arc::new(blocks),
            len: self.len - 1,
        }
    }

    /// Calls `changed` with every name, in order, that only one map has or whose values are not `same`. Shared blocks cost nothing.
    pub(super) fn diff(
        &self,
        other: &Self,
        same: impl Fn(&V, &V) -> bool,
        mut changed: impl FnMut(&Arc<str>),
    ) {
        let (mut left, mut right) = (Cursor::new(self), Cursor::new(other));
        loop {
            if left.skip_shared(&mut right) {
                continue;
            }
            match (left.item(), right.item()) {
                (None, None) => return,
                (Some((name, _)), None) => {
                    changed(name);
                    left.advance();
                }
                (None, Some((name, _))) => {
                    changed(name);
                    right.advance();
                }
                (Some((a, x)), Some((b, y))) => match a.cmp(b) {
                    std::cmp::Ordering::Less => {
                        changed(a);
                        left.advance();
                    }
                    std::cmp::Ordering::Greater => {
                        changed(b);
                        right.advance();
                    }
                    std::cmp::Ordering::Equal => {
                        if !same(x, y) {
                            changed(a);
                        }
                        left.advance();
                        right.advance();
                    }
                },
            }
        }
    }

    /// The block in which `name` is or belongs; the number of blocks only where there are none.
    fn block_of(&self, name: &str) -> usize {
        let after = self.blocks.partition_point(|block| {
            block
                .first()
                .is_some_and(|(first, _)| first.as_ref() <= name)
        });
        after.saturating_sub(1)
    }
}

fn position<V>(block: &[(Arc<str>, V)], name: &str) -> Result<usize, usize> {
    block.binary_search_by(|(own, _)| own.as_ref().cmp(name))
}

struct Cursor<'a, V> {
    blocks: &'a [Block<V>],
    at: usize,
}

impl<'a, V> Cursor<'a, V> {
    fn new(map: &'a Map<V>) -> Self {
        Self {
            blocks: &map.blocks,
            at: 0,
        }
    }

    fn item(&self) -> Option<&'a (Arc<str>, V)> {
        self.blocks.first()?.get(self.at)
    }

    fn advance(&mut self) {
        self.at += 1;
        if self
            .blocks
            .first()
            .is_some_and(|block| self.at >= block.len())
        {
            self.next_block();
        }
    }

    fn next_block(&mut self) {
        self.blocks = self.blocks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    fn skip_shared(&mut self, other: &mut Self) -> bool {
        match (self.blocks.first(), other.blocks.first()) {
            (Some(a), Some(b)) if self.at == other.at && Arc::ptr_eq(a, b) => {
                self.next_block();
                other.next_block();
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_plain_map(start in 0_u32..700, edits in prop::collection::vec((0_u32..700, any::<bool>()), 0..300)) {
            let name = |n: u32| Arc::<str>::from(format!("{n:04}"));
            let mut plain: BTreeMap<Arc<str>, u32> = (0..start).map(|n| (name(n), n)).collect();
            let first = Map::from_sorted(plain.clone());
            let mut map = first.clone();
            let mut touched = BTreeSet::new();
            for (step, (n, insert)) in edits.into_iter().enumerate() {
                let value = 1000 + step as u32;
                if insert {
                    plain.insert(name(n), value);
                    map = map.with(name(n), value);
                } else {
                    plain.remove(&name(n));
                    map = map.without(&name(n));
                }
                touched.insert(name(n));
            }
            prop_assert_eq!(map.len(), plain.len());
            prop_assert!(map.iter().eq(plain.iter()));
            for n in 0..700 {
                prop_assert_eq!(map.get(&name(n)), plain.get(&name(n)));
            }
            let mut changed = BTreeSet::new();
            first.diff(&map, |a, b| a == b, |name| assert!(changed.insert(Arc::clone(name))));
            let differ: BTreeSet<_> = touched.into_iter().filter(|n| first.get(n) != map.get(n)).collect();
            prop_assert_eq!(changed, differ);
        }
    }

    #[test]
    fn an_empty_map_has_nothing() {
        let map = Map::<u8>::default();
        assert_eq!(
            (map.len(), map.get("a"), map.without("a").len()),
            (0, None, 0)
        );
    }
}
