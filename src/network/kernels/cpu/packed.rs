//! Weights in the order in which tiles read them.

use super::{aligned::Aligned, machine::Machine, threads::for_each_part};

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

/// A convolution's weights for both ways.
#[derive(Debug)]
pub struct Weights {
    /// `[outputs, inputs, size, size]`
    pub shape: [usize; 4],
    /// From input to output.
    pub forward: Packed,
    /// From the gradient of the output to that of the input.
    pub backward: Packed,
}

impl Weights {
    /// Of `weight` `[outputs, inputs, size, size]`.
    pub fn new(machine: Machine, shape: [usize; 4], weight: &[f32]) -> Self {
        let filters = [shape[0], shape[1], shape[2] * shape[3]];
        let [forward, backward] = [Packed::forward, Packed::backward].map(|pack| pack(machine, filters, weight));
        Weights { shape, forward, backward }
    }
}

impl Packed {
    /// `weight` `[outputs, inputs, taps]` for the way from input to output.
    pub fn forward(machine: Machine, [outputs, inputs, taps]: [usize; 3], weight: &[f32]) -> Self {
        Packed::new(machine, [outputs, inputs], 0..taps, |o, i, tap| weight[(o * inputs + i) * taps + tap])
    }

    /// `weight` `[outputs, inputs, taps]` for the way back.
    pub fn backward(machine: Machine, [outputs, inputs, taps]: [usize; 3], weight: &[f32]) -> Self {
        Packed::new(machine, [inputs, outputs], (0..taps).rev(), |o, i, tap| weight[(i * inputs + o) * taps + tap])
    }

    /// Of `weight(output, input, tap)`; `taps` are in the order of what they meet.
    fn new(
        machine: Machine,
        [outputs, inputs]: [usize; 2],
        taps: impl ExactSizeIterator<Item = usize>,
        weight: impl Fn(usize, usize, usize) -> f32 + Send + Sync,
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
        for_each_part(&mut values, count * inputs * machine.block(), |block, mut rest| {
            let column = block * machine.block();
            let lanes = machine.block().min(width - column);
            for part in chunks.iter().flatten() {
                let these = rest.split_off_mut(..part.length * lanes).expect("there is room for all weights");
                for (i, these) in these.chunks_exact_mut(lanes).enumerate() {
                    for (o, to) in (column..outputs).zip(these) {
                        *to = weight(o, part.first + i, part.tap);
                    }
                }
            }
        });
        Packed { machine, values, chunks, inputs, outputs }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} channels for {:?}", self.inputs, self.outputs, self.machine)
    }
}
