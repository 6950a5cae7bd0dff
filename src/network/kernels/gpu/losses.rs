//! The losses of training and of ODIN with their gradients, and ODIN's step.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, as_it_lies, each, numbers, position};

/// Invocations of the one workgroup that computes a loss.
const INVOCATIONS: u32 = 256;

/// The loss `[1]` of [`head::margin_entropy`](super::super::head::margin_entropy), and the gradient of its logits.
pub fn margin_entropy(
    logits: CubeTensor,
    targets: CubeTensor,
    left_out: usize,
    [beta, margin, temperature]: [f32; 3],
) -> (CubeTensor, CubeTensor) {
    let ([rows, classes], [kept, _]) = (logits.shape().dims(), targets.shape().dims());
    let (loss, gradient) = (numbers(&logits, [1]), numbers(&logits, [rows, classes]));
    let share = |images: usize| 1.0 / images.max(1) as f32;
    let client = logits.client.clone();
    // SAFETY: invocations take the rows that are there.
    unsafe {
        lose::launch_unchecked(
            &client,
            CubeCount::new_single(),
            CubeDim::new_1d(INVOCATIONS),
            arg(logits, 1),
            arg(targets, 1),
            arg(loss.clone(), 1),
            arg(gradient.clone(), 1),
            kept as u32,
            (kept + left_out) as u32,
            rows as u32,
            classes as u32,
            share(kept),
            share(left_out),
            share(rows - kept - left_out),
            beta,
            margin,
            temperature,
            temperature > 0.0,
        );
    }
    (loss, gradient)
}

/// Rows up to `kept` are of kept images, those up to `known` of left-out ones, the others of outliers.
#[cube(launch_unchecked)]
fn lose(
    logits: &[f32],
    targets: &[f32],
    loss: &mut [f32],
    gradient: &mut [f32],
    kept: u32,
    known: u32,
    rows: u32,
    classes: u32,
    kept_share: f32,
    left_out_share: f32,
    outlier_share: f32,
    beta: f32,
    margin: f32,
    temperature: f32,
    #[comptime] normalised: bool,
) {
    let mut sums = Shared::<[f32]>::new_slice(comptime!(5 * INVOCATIONS as usize));
    let mut cross = 0.0f32.runtime();
    let mut kept_entropy = 0.0f32.runtime();
    let mut left_out_entropy = 0.0f32.runtime();
    let mut row = UNIT_POS;
    while row < known {
        let start = row * classes;
        let (_largest, _total, entropy) = row_entropy(logits, start, classes);
        if row < kept {
            kept_entropy += entropy;
            let by = row_scale(logits, start, classes, temperature, normalised);
            let log_total = row_log_total(logits, start, classes, by);
            for class in 0..classes {
                let at = (start + class) as usize;
                cross += targets[at] * (log_total - logits[at] * by);
            }
        } else {
            left_out_entropy += entropy;
        }
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
    let least = kept_entropy * kept_share + margin;
    let gap = least - left_out_entropy * left_out_share;
    let mut by_left_out = 0.0f32.runtime();
    if known > kept && gap > 0.0f32 {
        by_left_out = beta;
    }

    let mut lack = 0.0f32.runtime();
    let mut lacking = 0.0f32.runtime();
    let mut row = known + UNIT_POS;
    while row < rows {
        let (_largest, _total, entropy) = row_entropy(logits, row * classes, classes);
        if least > entropy {
            lack += least - entropy;
            lacking += 1.0f32;
        }
        row += INVOCATIONS;
    }
    sums[(3 * INVOCATIONS + UNIT_POS) as usize] = lack;
    sums[(4 * INVOCATIONS + UNIT_POS) as usize] = lacking;
    sync_cube();
    let mut lack = 0.0f32.runtime();
    let mut lacking = 0.0f32.runtime();
    for at in 0..INVOCATIONS {
        lack += sums[(3 * INVOCATIONS + at) as usize];
        lacking += sums[(4 * INVOCATIONS + at) as usize];
    }
    let by_outlier = beta * outlier_share;
    let by_kept = by_left_out + by_outlier * lacking;
    if UNIT_POS == 0 {
        loss[0] = cross * kept_share + gap * by_left_out + lack * by_outlier;
    }

    let mut row = UNIT_POS;
    while row < rows {
        let start = row * classes;
        let (largest, total, entropy) = row_entropy(logits, start, classes);
        let mut of_entropy = 0.0f32.runtime();
        if row < kept {
            of_entropy = by_kept * kept_share;
        } else if row < known {
            of_entropy = -by_left_out * left_out_share;
        } else if least > entropy {
            of_entropy = -by_outlier;
        }
        for class in 0..classes {
            let log = logits[(start + class) as usize] - largest - total.ln();
            gradient[(start + class) as usize] = -of_entropy * log.exp() * (log + entropy);
        }
        if row < kept {
            let by = row_scale(logits, start, classes, temperature, normalised);
            let log_total = row_log_total(logits, start, classes, by);
            let mut target = 0.0f32.runtime();
            for class in 0..classes {
                target += targets[(start + class) as usize];
            }
            // What the length of the logits takes back.
            let mut back = 0.0f32.runtime();
            if comptime!(normalised) {
                let mut along = 0.0f32.runtime();
                for class in 0..classes {
                    let at = (start + class) as usize;
                    along += logits[at] * (target * (logits[at] * by - log_total).exp() - targets[at]);
                }
                back = along * by * by * temperature * temperature;
            }
            for class in 0..classes {
                let at = (start + class) as usize;
                let wrong = target * (logits[at] * by - log_total).exp() - targets[at];
                gradient[at] += kept_share * by * (wrong - logits[at] * back);
            }
        }
        row += INVOCATIONS;
    }
}

/// What the cross-entropy takes a row of logits times: with LogitNorm 1 over their length and the temperature.
#[cube]
fn row_scale(logits: &[f32], start: u32, classes: u32, temperature: f32, #[comptime] normalised: bool) -> f32 {
    let mut by = 1.0f32.runtime();
    if comptime!(normalised) {
        let mut squares = 1e-14f32.runtime();
        for class in 0..classes {
            let value = logits[(start + class) as usize];
            squares += value * value;
        }
        by = 1.0f32 / (squares.sqrt() * temperature);
    }
    by
}

/// The logarithm of the sum of the exponentials of a row's logits times `by`, which is above 0.
#[cube]
fn row_log_total(logits: &[f32], start: u32, classes: u32, by: f32) -> f32 {
    let mut largest = logits[start as usize];
    for class in 1..classes {
        largest = max(largest, logits[(start + class) as usize]);
    }
    let mut total = 0.0f32.runtime();
    for class in 0..classes {
        total += ((logits[(start + class) as usize] - largest) * by).exp();
    }
    largest * by + total.ln()
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
