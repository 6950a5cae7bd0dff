//! Weights in the order in which tiles read them.

use super::{aligned::Aligned, machine::Machine};

/// Bytes of weights that a run over all tiles reads, so that they stay in the first-level cache.
const CHUNK_BYTES: usize = 24 << 10;

/// For each block of output channels, each chunk, tap and input channel, the block's output channels.
#[derive(Clone)]
pub struct Packed {
    pub machine: Machine,
    pub values: Aligned,
    /// Consecutive taps and input channels whose weights fit into the first-level cache.
    pub chunks: Vec<Vec<Part>>,
    pub inputs: usize,
    pub outputs: usize,
}

/// Input channels `first..first + length` of a tap.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub tap: usize,
    pub first: usize,
    pub length: usize,
}

impl Packed {
    /// Of `weight(output, input, tap)`; `taps` are in the order of what they meet.
    pub fn new(
        machine: Machine,
        [outputs, inputs]: [usize; 2],
        taps: impl ExactSizeIterator<Item = usize>,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let longest = (CHUNK_BYTES / 4 / machine.block()).max(1);
        let mut chunks: Vec<Vec<Part>> = Vec::new();
        let mut room = 0;
        let count = taps.len();
        for tap in taps {
            let parts = inputs.div_ceil(longest).max(1);
            for part in 0..parts {
                let channels = inputs * part / parts..inputs * (part + 1) / parts;
                if channels.len() > room || chunks.is_empty() {
                    chunks.push(Vec::new());
                    room = longest;
                }
                room -= channels.len();
                let part = Part { tap, first: channels.start, length: channels.len() };
                chunks.last_mut().expect("there is one by now").push(part);
            }
        }
        let width = machine.padded(outputs);
        let mut values = Aligned::zeros(count * inputs * width);
        let mut rest = &mut values[..];
        for column in (0..width).step_by(machine.block()) {
            let lanes = machine.block().min(width - column);
            for part in chunks.iter().flatten() {
                let these = rest.split_off_mut(..part.length * lanes).expect("there is room for all weights");
                for o in column..(column + lanes).min(outputs) {
                    for i in 0..part.length {
                        these[i * lanes + o - column] = weight(o, part.first + i, part.tap);
                    }
                }
            }
        }
        Packed { machine, values, chunks, inputs, outputs }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} channels for {:?}", self.inputs, self.outputs, self.machine)
    }
}
