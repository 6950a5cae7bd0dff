//! Numbers that begin at a cache line, which a vector then never straddles.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// As long as the longest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A slice of numbers whose first is aligned to 64 bytes.
#[derive(Clone)]
pub struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        Aligned { lines: vec![Line([0.0; 16]); length.div_ceil(16)], length }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines have no gaps between them, and are enough for the length.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Numbers for a while, from memory that the thread keeps for the next: what they are at first is left over from the last.
pub struct Scratch(Aligned);

thread_local! {
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// `length` numbers.
    pub fn new(length: usize) -> Self {
        let mut lines = KEPT.with_borrow_mut(|kept| kept.pop()).unwrap_or_default();
        if lines.len() < length.div_ceil(16) {
            lines.resize(length.div_ceil(16), Line([0.0; 16]));
        }
        Scratch(Aligned { lines, length })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.0.lines);
        KEPT.with_borrow_mut(|kept| kept.push(lines));
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
