//! What a processor's multiply-add instructions can do: the limit of convolutions in single precision.

use std::{hint::black_box, time::Instant};

/// Samples of which the median counts.
const SAMPLES: usize = 9;
/// Rounds of a sample: some 10 ms.
const ROUNDS: usize = 1_000_000;

/// GFLOP/s of independent fused multiply-adds, two operations each, in the widest vectors that the processor has, on all of
/// rayon's threads at once.
pub fn gflops() -> f64 {
    let (per_round, rounds) = widest();
    let flops = (2 * per_round * ROUNDS * rayon::current_num_threads()) as f64;
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            rayon::broadcast(|_| rounds(ROUNDS));
            flops / start.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    super::median(&mut samples)
}

/// The multiply-adds of a round, and what does some rounds.
fn widest() -> (usize, fn(usize)) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the instructions.
            return (x86::AVX512, |rounds| unsafe { x86::avx512(rounds) });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the instructions.
            return (x86::AVX2, |rounds| unsafe { x86::avx2(rounds) });
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: every processor of this kind has the instructions.
        return (arm::NEON, |rounds| unsafe { arm::neon(rounds) });
    }
    #[allow(unreachable_code, reason = "other processors come here")]
    (16, plain)
}

/// Defines `$work`, which does rounds of one multiply-add in each of `$chains` vectors, and how many numbers these are. As many
/// chains as fit into the registers: each waits for itself alone.
macro_rules! chains {
    ($count:ident, $work:ident, $feature:literal, $lanes:literal x $chains:literal, $splat:path, |$c:ident, $a:ident, $b:ident| $add:expr) => {
        pub const $count: usize = $lanes * $chains;

        #[target_feature(enable = $feature)]
        pub fn $work(rounds: usize) {
            // The sums settle near 1.
            let ($a, $b) = ($splat(black_box(0.5)), $splat(black_box(0.5)));
            let mut sums = [$splat(black_box(0.0)); $chains];
            for _ in 0..rounds {
                for sum in &mut sums {
                    let $c = *sum;
                    *sum = $add;
                }
            }
            black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, hint::black_box};

    chains!(AVX512, avx512, "avx512f", 16 x 24, _mm512_set1_ps, |c, a, b| _mm512_fmadd_ps(c, a, b));
    chains!(AVX2, avx2, "avx2,fma", 8 x 12, _mm256_set1_ps, |c, a, b| _mm256_fmadd_ps(c, a, b));
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::{arch::aarch64::*, hint::black_box};

    chains!(NEON, neon, "neon", 4 x 24, vdupq_n_f32, |c, a, b| vfmaq_f32(b, c, a));
}

fn plain(rounds: usize) {
    let (a, b) = (black_box(0.5), black_box(0.5));
    let mut sums = [black_box(0.0_f32); 16];
    for _ in 0..rounds {
        sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
    }
    black_box(sums);
}
