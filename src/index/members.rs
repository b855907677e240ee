//! Writing the members of a JSON object.

use std::borrow::Cow;

use super::text::push_json;

/// The members of a JSON object that is being written.
#[derive(Debug, Default)]
pub(super) struct Members(pub(super) String);

impl Members {
    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        push_json(&mut self.0, text);
    }

    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    pub(super) fn open(&mut self, key: &str, bracket: char) {
        self.key(key);
        self.0.push(bracket);
    }

    pub(super) fn list(&mut self, key: &str, items: &[Cow<'_, str>]) {
        if items.is_empty() {
            return;
        }
        self.open(key, '[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            push_json(&mut self.0, item);
        }
        self.0.push(']');
    }

    pub(super) fn records(&mut self, key: &str, items: &[Self]) {
        if items.is_empty() {
            return;
        }
        self.open(key, '[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            self.0.push('{');
            self.0.push_str(&item.0);
            self.0.push('}');
        }
        self.0.push(']');
    }
}
