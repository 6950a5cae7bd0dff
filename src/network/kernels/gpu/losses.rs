//! The losses of training and of ODIN with their gradients, and ODIN's step.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, as_it_lies, each, numbers, position};

/// Invocations of the one workgroup that computes a loss.
const INVOCATIONS: u32 = 256;

/// The margin-entropy loss `[1]` of logits `kept` `[n, c]`, labels `[n]` and logits `left_out` `[m, c]`, and the gradients of both.
pub fn margin_entropy(
    kept: CubeTensor,
    labels: CubeTensor,
    left_out: CubeTensor,
    [beta, margin]: [f32; 2],
) -> [CubeTensor; 3] {
    let ([n, classes], [m, _]) = (kept.shape().dims(), left_out.shape().dims());
    let loss = numbers(&kept, [1]);
    let gradients = [numbers(&kept, [n, classes]), numbers(&kept, [m, classes])];
    let client = kept.client.clone();
    let [of_kept, of_left_out] = gradients.clone();
    // SAFETY: invocations take the rows that are there.
    unsafe {
        lose::launch_unchecked(
            &client,
            CubeCount::new_single(),
            CubeDim::new_1d(INVOCATIONS),
            arg(kept, 1),
            arg(labels, 1),
            arg(left_out, 1),
            arg(loss.clone(), 1),
            arg(of_kept, 1),
            arg(of_left_out, 1),
            n as u32,
            m as u32,
            classes as u32,
            beta,
            margin,
        );
    }
    let [of_kept, of_left_out] = gradients;
    [loss, of_kept, of_left_out]
}

#[cube(launch_unchecked)]
fn lose(
    kept: &[f32],
    labels: &[i32],
    left_out: &[f32],
    loss: &mut [f32],
    of_kept: &mut [f32],
    of_left_out: &mut [f32],
    n: u32,
    m: u32,
    classes: u32,
    beta: f32,
    margin: f32,
) {
    let mut sums = Shared::<[f32]>::new_slice(comptime!(3 * INVOCATIONS as usize));
    let mut cross = 0.0f32.runtime();
    let mut kept_entropy = 0.0f32.runtime();
    let mut left_out_entropy = 0.0f32.runtime();
    let mut row = UNIT_POS;
    while row < n {
        let start = row * classes;
        let (largest, total, entropy) = row_entropy(kept, start, classes);
        cross += total.ln() - (kept[(start + labels[row as usize] as u32) as usize] - largest);
        kept_entropy += entropy;
        row += INVOCATIONS;
    }
    row = UNIT_POS;
    while row < m {
        let (_largest, _total, entropy) = row_entropy(left_out, row * classes, classes);
        left_out_entropy += entropy;
        row += INVOCATIONS;
    }
    sums[UNIT_POS as usize] = cross;
    sums[(INVOCATIONS + UNIT_POS) as usize] = kept_entropy;
    sums[(2 * INVOCATIONS + UNIT_POS) as usize] = left_out_entropy;
    sync_cube();
    let mut cross = 0.0f32.runtime();
    let mut kept_entropy = 0.0f32.runtime();
    let mut left_out_entropy = 0.0f32.runtime();
    for at in 0..INVOCATIONS {
        cross += sums[at as usize];
        kept_entropy += sums[(INVOCATIONS + at) as usize];
        left_out_entropy += sums[(2 * INVOCATIONS + at) as usize];
    }
    let kept_share = 1.0f32 / f32::cast_from(n);
    let left_out_share = 1.0f32 / f32::cast_from(m);
    let gap = kept_entropy * kept_share - left_out_entropy * left_out_share + margin;
    let mut by = 0.0f32.runtime();
    if gap > 0.0f32 {
        by = beta;
    }
    if UNIT_POS == 0 {
        loss[0] = cross * kept_share + gap * by;
    }
    let mut row = UNIT_POS;
    while row < n {
        let start = row * classes;
        let (largest, total, entropy) = row_entropy(kept, start, classes);
        let label = labels[row as usize] as u32;
        for class in 0..classes {
            let log = kept[(start + class) as usize] - largest - total.ln();
            let p = log.exp();
            let wrong = p - select(class == label, 1.0f32, 0.0f32);
            of_kept[(start + class) as usize] = kept_share * (wrong - by * p * (log + entropy));
        }
        row += INVOCATIONS;
    }
    row = UNIT_POS;
    while row < m {
        let start = row * classes;
        let (largest, total, entropy) = row_entropy(left_out, start, classes);
        for class in 0..classes {
            let log = left_out[(start + class) as usize] - largest - total.ln();
            of_left_out[(start + class) as usize] = left_out_share * by * log.exp() * (log + entropy);
        }
        row += INVOCATIONS;
    }
}

/// The largest of a row's logits, the sum of the exponentials of what they are less than it, and the entropy of their softmax.
#[cube]
fn row_entropy(logits: &[f32], start: u32, classes: u32) -> (f32, f32, f32) {
    let mut largest = logits[start as usize];
    for class in 1..classes {
        largest = max(largest, logits[(start + class) as usize]);
    }
    let mut total = 0.0f32.runtime();
    let mut weighted = 0.0f32.runtime();
    for class in 0..classes {
        let less = logits[(start + class) as usize] - largest;
        let power = less.exp();
        total += power;
        weighted += power * less;
    }
    (largest, total, total.ln() - weighted / total)
}

/// The gradient of ODIN's loss with respect to logits `[n, c]`, as written out in `detection/odin.rs`.
pub fn descent(logits: CubeTensor, temperature: f32, entropy: bool) -> CubeTensor {
    let [rows, classes] = logits.shape().dims();
    let output = numbers(&logits, [rows, classes]);
    let (client, (cubes, dim)) = (logits.client.clone(), each(rows));
    // SAFETY: an invocation beyond the last row does nothing.
    unsafe {
        descend::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(logits, 1),
            arg(output.clone(), 1),
            rows as u32,
            classes as u32,
            temperature,
            entropy,
        );
    }
    output
}

#[cube(launch_unchecked)]
fn descend(logits: &[f32], output: &mut [f32], rows: u32, classes: u32, temperature: f32, #[comptime] entropy: bool) {
    let row = position();
    if row < rows {
        let start = row * classes;
        let mut largest = logits[start as usize];
        let mut target = 0u32.runtime();
        for class in 1..classes {
            let value = logits[(start + class) as usize];
            if value > largest {
                largest = value;
                target = class;
            }
        }
        let mut total = 0.0f32.runtime();
        let mut weighted = 0.0f32.runtime();
        let mut others = 0.0f32.runtime();
        for class in 0..classes {
            let centred = (logits[(start + class) as usize] - largest) / temperature;
            let power = centred.exp();
            total += power;
            weighted += power * centred;
            if class != target {
                others += power;
            }
        }
        for class in 0..classes {
            let centred = (logits[(start + class) as usize] - largest) / temperature;
            let p = centred.exp() / total;
            let mut value = p;
            if comptime!(entropy) {
                value = p * (weighted / total - centred);
            } else if class == target {
                value = -(others / total);
            }
            output[(start + class) as usize] = value;
        }
    }
}

/// `images` `[n, channels, height, width]` moved by `by` `[channels]` against the sign of `gradient`, which may be a view.
pub fn step(images: CubeTensor, gradient: CubeTensor, by: CubeTensor) -> CubeTensor {
    let shape: [usize; 4] = images.shape().dims();
    let output = numbers(&images, shape);
    let count = shape.iter().product::<usize>();
    let (client, (cubes, dim)) = (images.client.clone(), each(count));
    let (gradient, [image, channel, row, column]) = as_it_lies(gradient);
    if count > 0 {
        // SAFETY: an invocation beyond the last number does nothing.
        unsafe {
            against::launch_unchecked(
                &client,
                cubes,
                dim,
                arg(images, 1),
                gradient,
                arg(by, 1),
                arg(output.clone(), 1),
                count as u32,
                shape[1] as u32,
                shape[2] as u32,
                shape[3] as u32,
                image,
                channel,
                row,
                column,
            );
        }
    }
    output
}

#[cube(launch_unchecked)]
fn against(
    images: &[f32],
    gradient: &[f32],
    by: &[f32],
    output: &mut [f32],
    count: u32,
    channels: u32,
    height: u32,
    width: u32,
    by_image: u32,
    by_channel: u32,
    by_row: u32,
    by_column: u32,
) {
    let at = position();
    if at < count {
        let (column, row) = (at % width, at / width % height);
        let (channel, image) = (at / width / height % channels, at / width / height / channels);
        let from = image * by_image + channel * by_channel + row * by_row + column * by_column;
        let step = by[channel as usize];
        output[at as usize] = images[at as usize] - select(gradient[from as usize] >= 0.0f32, step, -step);
    }
}
