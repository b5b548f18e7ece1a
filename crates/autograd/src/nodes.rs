//! The memory of a tape: a list that grows without moving what it holds.

use std::ops::{Index, IndexMut};

use tensor::Float;

use crate::tape::{Node, NodeId};

/// Nodes in one piece of memory. Small enough that the allocator keeps released pieces for the
/// next tape instead of returning them to the operating system, page by page.
const CHUNK: usize = 256;

/// The nodes of a tape, in the order of their recording.
pub(crate) struct Nodes<T: Float> {
    /// All but the last are full.
    chunks: Vec<Vec<Node<T>>>,
}

impl<T: Float> Nodes<T> {
    pub(crate) fn new() -> Self {
        Nodes { chunks: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, node: Node<T>) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(node),
            _ => self.push_to_new_chunk(node),
        }
    }

    #[cold]
    fn push_to_new_chunk(&mut self, node: Node<T>) {
        // A tape of a few operations takes little.
        let room = if self.chunks.is_empty() { 16 } else { CHUNK };
        let mut chunk = Vec::with_capacity(room);
        chunk.push(node);
        self.chunks.push(chunk);
    }

    /// Removes all nodes, in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Node<T>> + use<T> {
        std::mem::take(&mut self.chunks).into_iter().flatten()
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node<T>> {
        let id = id as usize;
        self.chunks.get(id / CHUNK)?.get(id % CHUNK)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node<T>> {
        self.chunks.iter().flatten()
    }
}

impl<T: Float> Index<NodeId> for Nodes<T> {
    type Output = Node<T>;
    #[inline]
    fn index(&self, id: NodeId) -> &Node<T> {
        let id = id as usize;
        &self.chunks[id / CHUNK][id % CHUNK]
    }
}

impl<T: Float> IndexMut<NodeId> for Nodes<T> {
    #[inline]
    fn index_mut(&mut self, id: NodeId) -> &mut Node<T> {
        let id = id as usize;
        &mut self.chunks[id / CHUNK][id % CHUNK]
    }
}
