//! Filters that whiten the 2 x 2 patches of images: responses of unit power without correlation.

/// Values in a 2 x 2 patch of three channels, and so the number of whitening filters.
pub(super) const PATCH: usize = 12;

/// Added to the eigenvalues of the patches' covariance, so that directions without signal are not blown up.
const WHITENING_EPSILON: f64 = 5e-4;

/// Rotations of each pair of axes; the off-diagonal values square at each, and are gone after six or so.
const SWEEPS: usize = 15;

type Matrix = [[f64; PATCH]; PATCH];

/// The eigenvectors of the patches' covariance, each divided by the root of its eigenvalue, strongest direction first; the values
/// of each are in the order of a convolution's weights: channel, row, column.
///
/// `images` is `[n, 3, 32, 32]`, normalised, in one slice.
pub(super) fn whitening_filters(images: &[f32]) -> [[f32; PATCH]; PATCH] {
    let (values, vectors) = eigen(patch_covariance(images));
    let mut order: [usize; PATCH] = std::array::from_fn(|index| index);
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.map(|index| {
        let scale = 1.0 / (values[index].max(0.0) + WHITENING_EPSILON).sqrt();
        vectors[index].map(|value| (value * scale) as f32)
    })
}

/// Mean of x x^T over all 2 x 2 patches x.
fn patch_covariance(images: &[f32]) -> Matrix {
    let mut total = [[0.0; PATCH]; PATCH];
    let mut patches = 0.0;
    for image in images.chunks_exact(3 * 32 * 32) {
        let mut sum = [[0f32; PATCH]; PATCH];
        for (row, column) in (0..31).flat_map(|row| (0..31).map(move |column| (row, column))) {
            let patch: [f32; PATCH] =
                std::array::from_fn(|i| image[(i / 4) * 1024 + (row + i / 2 % 2) * 32 + column + i % 2]);
            for (sums, a) in sum.iter_mut().zip(patch) {
                for (sum, b) in sums.iter_mut().zip(patch) {
                    *sum += a * b;
                }
            }
        }
        for (total, sum) in total.as_flattened_mut().iter_mut().zip(sum.as_flattened()) {
            *total += f64::from(*sum);
        }
        patches += 31.0 * 31.0;
    }
    total.map(|row| row.map(|value| value / f64::max(patches, 1.0)))
}

/// Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations (Golub & Van Loan, "Matrix Computations", 8.5).
fn eigen(mut a: Matrix) -> ([f64; PATCH], Matrix) {
    let mut vectors: Matrix =
        std::array::from_fn(|row| std::array::from_fn(|column| f64::from(u8::from(row == column))));
    let pairs = || (0..PATCH).flat_map(|p| (p + 1..PATCH).map(move |q| (p, q)));
    for (p, q) in (0..SWEEPS).flat_map(|_| pairs()) {
        if a[p][q] == 0.0 {
            continue;
        }
        // The smaller of the two angles that turn a[p][q] to 0.
        let slope = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
        let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
        let cosine = 1.0 / tangent.hypot(1.0);
        let sine = tangent * cosine;
        let turn = |x: &mut f64, y: &mut f64| (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        for row in &mut a {
            let [x, y] = row.get_disjoint_mut([p, q]).expect("p < q");
            turn(x, y);
        }
        for rows in [&mut a, &mut vectors] {
            let [x, y] = rows.get_disjoint_mut([p, q]).expect("p < q");
            x.iter_mut().zip(y).for_each(|(x, y)| turn(x, y));
        }
    }
    (std::array::from_fn(|index| a[index][index]), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_orthonormal_and_give_the_matrix_back() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX) - 0.5
        };
        let mut a = [[0.0; PATCH]; PATCH];
        for (row, column) in (0..PATCH).flat_map(|row| (0..=row).map(move |column| (row, column))) {
            a[row][column] = random();
            a[column][row] = a[row][column];
        }
        let (values, vectors) = eigen(a);
        for row in 0..PATCH {
            for column in 0..PATCH {
                let sum = |of: &dyn Fn(usize) -> f64| (0..PATCH).map(of).sum::<f64>();
                let product = sum(&|k| vectors[row][k] * vectors[column][k]);
                assert!((product - f64::from(u8::from(row == column))).abs() < 1e-14);
                let back = sum(&|k| values[k] * vectors[k][row] * vectors[k][column]);
                assert!((back - a[row][column]).abs() < 1e-14);
            }
        }
    }
}
