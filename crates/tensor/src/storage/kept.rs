//! What was computed from a buffer's contents, kept beside them until they are written.

use std::any::Any;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Boxed twice, so that a place for it takes a single word of every buffer.
type Entry = Box<dyn Any + Send + Sync>;

/// Room for one value that depends on a buffer's contents.
///
/// Whoever wants such a value first only leaves a mark: contents that are written after each use,
/// like parameters in training, then never take memory for it. It is the second who keeps it.
pub(crate) struct Kept(AtomicPtr<Entry>);

/// The address in a slot that was asked once; nothing lies there.
const ASKED: *mut Entry = ptr::without_provenance_mut(align_of::<Entry>());

impl Kept {
    pub(super) const fn nothing() -> Self {
        Kept(AtomicPtr::new(ptr::null_mut()))
    }

    /// What is kept, if it has this type.
    pub(crate) fn get<K: Any>(&self) -> Option<&K> {
        let entry = self.0.load(Acquire);
        if entry.is_null() || entry == ASKED {
            return None;
        }
        // SAFETY: other addresses come from `Box::into_raw` in `keep`, which published them with
        // release, and are freed by `forget` alone, which nobody calls while `self` is borrowed.
        let entry = unsafe { &*entry };
        entry.downcast_ref()
    }

    /// Whether a value should be kept: nothing is, and somebody asked before.
    pub(crate) fn is_wanted(&self) -> bool {
        match (self.0).compare_exchange(ptr::null_mut(), ASKED, Relaxed, Relaxed) {
            Ok(_) => false,
            Err(found) => found == ASKED,
        }
    }

    /// Keeps `value`, unless another thread was first.
    pub(crate) fn keep<K: Any + Send + Sync>(&self, value: K) {
        let entry = Box::into_raw(Box::new(Box::new(value) as Entry));
        let kept = (self.0).compare_exchange(ASKED, entry, Release, Relaxed);
        if kept.is_err() {
            // SAFETY: the address comes from `Box::into_raw` above, and nobody else saw it.
            drop(unsafe { Box::from_raw(entry) });
        }
    }

    /// Forgets what is kept, and who asked.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.0.get_mut().is_null() {
            self.release();
        }
    }

    #[cold]
    fn release(&mut self) {
        let entry = std::mem::replace(self.0.get_mut(), ptr::null_mut());
        if entry != ASKED {
            // SAFETY: neither null nor `ASKED`, so it comes from `Box::into_raw` in `keep`; `self`
            // is borrowed exclusively, and the slot forgot it.
            drop(unsafe { Box::from_raw(entry) });
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_second_who_asks_keeps_and_writing_forgets() {
        let mut kept = Kept::nothing();
        let value = Arc::new(5_u8);
        for _ in 0..2 {
            assert!(!kept.is_wanted());
            kept.keep_if_wanted(&value);
            assert_eq!(kept.get::<Arc<u8>>(), Some(&value));
            assert_eq!(kept.get::<u8>(), None);
            assert!(!kept.is_wanted());
            // The first value stays.
            kept.keep(Arc::new(6_u8));
            assert_eq!(kept.get::<Arc<u8>>(), Some(&value));
            assert_eq!(Arc::strong_count(&value), 2);
            kept.forget();
            assert_eq!(Arc::strong_count(&value), 1);
            assert_eq!(kept.get::<Arc<u8>>(), None);
        }
        kept.keep_if_wanted(&value);
        kept.keep_if_wanted(&value);
        drop(kept);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    impl Kept {
        fn keep_if_wanted(&self, value: &Arc<u8>) {
            if self.is_wanted() {
                self.keep(value.clone());
            }
        }
    }

    #[test]
    fn one_of_many_threads_keeps() {
        let kept = Kept::nothing();
        kept.is_wanted();
        let values: Vec<Arc<u8>> = (0..4).map(Arc::new).collect();
        std::thread::scope(|scope| {
            for value in &values {
                scope.spawn(|| kept.keep_if_wanted(value));
            }
        });
        let first = kept.get::<Arc<u8>>().unwrap();
        assert!(values.contains(first));
        let owners: usize = values.iter().map(Arc::strong_count).sum();
        assert_eq!(owners, values.len() + 1);
    }
}
