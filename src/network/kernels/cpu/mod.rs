//! The kernels of a CPU: in each, the sums of a tile of pixels and channels stay in registers.
//!
//! [`correlation`] is the convolution with what follows it, and the gradient of its input; [`sums`] is the gradient of its
//! weights. [`shape`] says which numbers meet, [`packed`] how weights lie, [`machine`] and [`vector`] on which instructions.
//! Maps are `[images, height, width, channels]` throughout.

mod aligned;
pub(super) mod correlation;
pub(super) mod dense;
pub(super) mod machine;
pub(super) mod normal;
pub(super) mod packed;
pub(super) mod pool;
pub(super) mod shape;
pub(super) mod source;
pub(super) mod sums;
pub(super) mod threads;
mod vector;

use correlation::{Correlation, Output, Then};
use packed::Packed;
use shape::Shape;
use source::Source;

/// `[images, height, width, outputs]` of `input` `[images, height, width, inputs]`.
pub(super) fn forward(shape: &Shape, input: &[f32], weight: &Packed, then: Then) -> Output {
    Correlation::forward(shape).run(weight, Source::Plain(input), then)
}

/// The gradient of the input, `[images, height, width, inputs]`, from that of the output.
pub(super) fn backward(shape: &Shape, gradient: Source, weight: &Packed) -> Vec<f32> {
    Correlation::backward(shape).run(weight, gradient, Then::Nothing).values
}

#[cfg(test)]
mod tests {
    use super::{correlation::Finish, machine::Machine, sums::weight_gradient, *};

    /// `[forward, input gradient, weight gradient]` by the definition, in double precision.
    fn naive(shape: Shape, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let ([height, width], [oh, ow], k) = (shape.size, shape.out().unwrap(), shape.kernel);
        let mut out = [vec![0f64; g.len()], vec![0f64; x.len()], vec![0f64; w.len()]];
        for at in 0..g.len() {
            let (o, pixel) = (at % shape.outputs, at / shape.outputs);
            let (xx, y, n) = (pixel % ow, pixel / ow % oh, pixel / ow / oh);
            for (i, ky, kx) in (0..shape.inputs * k * k).map(|index| (index / k / k, index / k % k, index % k)) {
                let (row, column) = (y * shape.stride + ky, xx * shape.stride + kx);
                let inside = |position: usize, size: usize| (shape.padding..shape.padding + size).contains(&position);
                if inside(row, height) && inside(column, width) {
                    let (row, column) = (row - shape.padding, column - shape.padding);
                    let from = ((n * height + row) * width + column) * shape.inputs + i;
                    let weight = ((o * shape.inputs + i) * k + ky) * k + kx;
                    out[0][at] += f64::from(x[from]) * f64::from(w[weight]);
                    out[1][from] += f64::from(g[at]) * f64::from(w[weight]);
                    out[2][weight] += f64::from(g[at]) * f64::from(x[from]);
                }
            }
        }
        out.map(|values| values.into_iter().map(|value| value as f32).collect())
    }

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    /// Every instruction set that this computer has against the definition.
    fn check(shape: Shape) {
        let [oh, ow] = shape.out().unwrap();
        let x = numbers(shape.images * shape.inputs * shape.size[0] * shape.size[1], 1);
        let w = numbers(shape.outputs * shape.inputs * shape.taps(), 2);
        let g = numbers(shape.images * shape.outputs * oh * ow, 3);
        let expected = naive(shape, &x, &w, &g);
        // What is read outside of the maps would show in the sums.
        let [x, g] = [x, g].map(|map| [&[f32::NAN; 64], &map[..], &[f32::NAN; 64]].concat());
        let [x, g] = [&x, &g].map(|map| &map[64..map.len() - 64]);
        for machine in Machine::all() {
            let found = [
                forward(&shape, x, &Packed::forward(machine, shape.filters(), &w), Then::Nothing).values,
                backward(&shape, Source::Plain(g), &Packed::backward(machine, shape.filters(), &w)),
                weight_gradient(machine, &shape, Source::Plain(x), g),
            ];
            for ((found, expected), terms) in found.iter().zip(&expected).zip([
                shape.inputs * shape.taps(),
                shape.outputs * shape.taps(),
                shape.images * oh * ow,
            ]) {
                assert_eq!(found.len(), expected.len());
                // Rounding errors of a sum in single precision, whose terms are below a quarter.
                let tolerance = 1e-7 * (terms as f32).max(4.0);
                for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!((found - expected).abs() < tolerance, "{machine:?} {shape:?} {index}: {found} {expected}");
                }
            }
        }
    }

    fn shape(images: usize, inputs: usize, size: [usize; 2], outputs: usize, kernel: usize) -> Shape {
        Shape { images, inputs, size, outputs, kernel, stride: 1, padding: (kernel - 1) / 2, even: false }
    }

    #[test]
    fn odd_shapes_agree_with_the_definition() {
        check(shape(1, 1, [1, 1], 1, 1));
        check(shape(1, 1, [1, 1], 1, 3));
        check(shape(2, 3, [32, 32], 24, 2));
        check(shape(257, 5, [3, 3], 7, 3));
        check(shape(1, 24, [15, 15], 64, 3));
        check(shape(5, 64, [7, 7], 65, 3));
        check(shape(3, 176, [3, 3], 176, 3));
        check(shape(2, 13, [8, 8], 12, 1));
        check(shape(1, 4, [2, 9], 33, 3));
        check(Shape { stride: 2, ..shape(3, 6, [8, 8], 17, 3) });
        check(Shape { stride: 2, ..shape(2, 6, [7, 9], 5, 3) });
        check(Shape { stride: 2, padding: 0, ..shape(2, 16, [8, 8], 48, 1) });
        check(Shape { padding: 0, ..shape(2, 9, [6, 5], 10, 3) });
        check(Shape { padding: 2, ..shape(1, 2, [4, 4], 3, 3) });
        check(Shape { stride: 3, padding: 1, ..shape(2, 3, [10, 11], 6, 4) });
        check(Shape { even: true, ..shape(2, 5, [7, 9], 20, 3) });
        check(Shape { even: true, ..shape(2, 5, [1, 4], 16, 3) });
    }

    /// Against gradients that are masked here; channels that fill vectors and some more.
    #[test]
    fn gradients_from_behind_a_relu_and_a_pool_agree_with_the_definition() {
        let shape =
            Shape { images: 2, inputs: 5, size: [6, 4], outputs: 21, kernel: 3, stride: 1, padding: 1, even: true };
        let w = numbers(21 * 5 * 9, 1);
        let scale = numbers(21, 2);
        for pool in [false, true] {
            let [height, width] = if pool { [3, 2] } else { [6, 4] };
            let count = 2 * height * width * 21;
            let g = numbers(count, 3);
            let output: Vec<f32> = numbers(count, 4).into_iter().map(|value| value.max(0.0)).collect();
            let places: Vec<u8> = numbers(count, 5).into_iter().map(|value| ((value + 0.5) * 4.0) as u8).collect();
            for relu in [false, true] {
                let masked = |index: usize| {
                    let (channel, column, row, image) = (index % 21, index / 21 % 4, index / 84 % 6, index / 504);
                    let side = if pool { 2 } else { 1 };
                    let at = ((image * height + row / side) * width + column / side) * 21 + channel;
                    let is_other = pool && usize::from(places[at]) != row % 2 * 2 + column % 2;
                    if is_other || relu && output[at] == 0.0 { 0.0 } else { g[at] * scale[channel] }
                };
                let plain: Vec<f32> = (0..2 * 6 * 4 * 21).map(masked).collect();
                let (gradient, output, scale, places) = (&g[..], &output[..], &scale[..], &places[..]);
                for machine in Machine::all() {
                    let packed = Packed::backward(machine, shape.filters(), &w);
                    let source = match pool {
                        true => Source::Pooled { gradient, output, places, scale, relu },
                        false => Source::Finished { gradient, output, scale, relu },
                    };
                    let found = backward(&shape, source, &packed);
                    assert_eq!(found, backward(&shape, Source::Plain(&plain), &packed), "{machine:?} {pool} {relu}");
                }
            }
        }
    }

    /// Whole vectors and single numbers are pooled by different loops.
    #[test]
    fn pooling_gives_the_same_with_places_and_without() {
        let shape = Shape { even: true, ..shape(2, 5, [7, 8], 40, 3) };
        let mut x = numbers(2 * 5 * 7 * 8, 1);
        x[100] = f32::NAN;
        let (w, scale, shift) = (numbers(40 * 5 * 9, 2), numbers(40, 3), numbers(40, 4));
        for machine in Machine::all() {
            let packed = Packed::forward(machine, shape.filters(), &w);
            let pooled = |places| {
                let finish = Finish { scale: &scale, shift: &shift, relu: true, pool: true, places };
                forward(&shape, &x, &packed, Then::Finish(finish)).values
            };
            let (with, without) = (pooled(true), pooled(false));
            assert!(with.iter().any(|value| value.is_nan()) && with.len() == without.len());
            for (with, without) in with.iter().zip(&without) {
                assert!(with == without || with.is_nan() && without.is_nan(), "{machine:?}: {with} {without}");
            }
        }
    }

    #[test]
    fn filters_that_do_not_fit_have_no_output() {
        assert_eq!(Shape { padding: 0, ..shape(1, 1, [2, 2], 1, 3) }.out(), None);
        assert_eq!(Shape { padding: 3, ..shape(1, 1, [8, 8], 1, 3) }.out(), None);
        assert_eq!(Shape { stride: 0, ..shape(1, 1, [8, 8], 1, 3) }.out(), None);
    }

    #[test]
    fn the_same_threads_give_the_same_digits() {
        let shape = shape(40, 8, [5, 5], 9, 3);
        let (x, g) = (numbers(40 * 8 * 25, 1), numbers(40 * 9 * 25, 2));
        let one = weight_gradient(Machine::best(), &shape, Source::Plain(&x), &g);
        assert_eq!(one, weight_gradient(Machine::best(), &shape, Source::Plain(&x), &g));
    }
}
