//! The pipelines that a rollback returns to.

use super::author::Source;
use super::history::HISTORY_MAX;

/// The newest last; as many as the history lists.
#[derive(Debug, PartialEq)]
pub(super) struct RollbackStack<P>(Vec<P>);

impl<P> RollbackStack<P> {
    /// Replays records, oldest first: a rollback takes the pipeline that it returned to off the stack.
    pub(super) fn replay(records: impl Iterator<Item = (Source, P)>) -> Self {
        let mut stack = Self(Vec::new());
        let mut newest = None;
        for (source, pipeline) in records {
            let replaced = newest.replace(pipeline);
            if source == Source::Rollback {
                stack.pop();
            } else if let Some(replaced) = replaced {
                stack.push(replaced);
            }
        }
        stack
    }

    pub(super) fn push(&mut self, replaced: P) {
        if self.0.len() == HISTORY_MAX as usize {
            self.0.remove(0);
        }
        self.0.push(replaced);
    }

    pub(super) fn last(&self) -> Option<&P> {
        self.0.last()
    }

    pub(super) fn pop(&mut self) -> Option<P> {
        self.0.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollbacks_go_back_one_pipeline_each() {
        let records = [
            (Source::File, "random"),
            (Source::Admin, "hash-user"),
            (Source::Folder, "weighted"),
            (Source::Rollback, "hash-user"),
        ];
        assert_eq!(RollbackStack::replay(records.into_iter()).last(), Some(&"random"));
    }

    #[test]
    fn the_rollback_stack_is_bounded() {
        let stack = RollbackStack::replay((0..=HISTORY_MAX + 1).map(|number| (Source::Admin, number)));
        assert_eq!(stack.0.len(), HISTORY_MAX as usize);
        assert_eq!(stack.0[0], 1);
    }
}
