//! The vectors of each instruction set, as far as convolutions need them.

/// Some numbers side by side in one register.
///
/// # Safety
/// Every function may be called only where the processor has the instruction set; pointers are to as many numbers as
/// [`LANES`](Self::LANES) says.
pub trait Vector: Copy {
    /// Numbers in a vector.
    const LANES: usize;
    /// Vectors that a tile is wide: with its height, as many sums as registers hold.
    const ACROSS: usize;

    /// The same number in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// Reads from memory, aligned or not.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes to memory, aligned or not.
    unsafe fn store(self, to: *mut f32);
    /// `self + a * b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// 0 for each number below; what is not a number stays so.
    unsafe fn relu(self) -> Self;
}

/// Four numbers, for the compiler to do with what it can.
#[derive(Clone, Copy)]
pub struct Plain([f32; 4]);

impl Vector for Plain {
    const LANES: usize = 4;
    const ACROSS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Plain([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Plain(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        let mut sums = self.0;
        for (sum, (a, b)) in sums.iter_mut().zip(a.0.iter().zip(&b.0)) {
            *sum += a * b;
        }
        Plain(sums)
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        let mut values = self.0;
        for value in &mut values {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
        Plain(values)
    }
}

/// Implements [`Vector`] by the functions of `std::arch`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_family = "wasm"))]
macro_rules! vector {
    ($vector:ty, $lanes:literal x $across:literal, $splat:path, $load:path, $store:path,
     |$c:ident, $a:ident, $b:ident| $add:expr, |$x:ident, $zero:ident| $relu:expr) => {
        impl Vector for $vector {
            const LANES: usize = $lanes;
            const ACROSS: usize = $across;

            #[inline(always)]
            #[allow(unused_unsafe, reason = "safe where the instruction set is known when the program is built")]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller's.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's.
                unsafe { $load(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's.
                unsafe { $store(to.cast(), self) }
            }

            #[inline(always)]
            #[allow(unused_unsafe, reason = "safe where the instruction set is known when the program is built")]
            unsafe fn add_product(self, $a: Self, $b: Self) -> Self {
                let $c = self;
                // SAFETY: the caller's.
                unsafe { $add }
            }

            #[inline(always)]
            #[allow(unused_unsafe, reason = "safe where the instruction set is known when the program is built")]
            unsafe fn relu(self) -> Self {
                let $x = self;
                // SAFETY: the caller's.
                unsafe {
                    let $zero = $splat(0.0);
                    $relu
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::network::kernels::cpu::vector::Vector;

    vector!(__m512, 16 x 4, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, |c, a, b| _mm512_fmadd_ps(a, b, c),
        |x, zero| _mm512_max_ps(zero, x));
    vector!(__m256, 8 x 2, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, |c, a, b| _mm256_fmadd_ps(a, b, c),
        |x, zero| _mm256_max_ps(zero, x));
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use crate::network::kernels::cpu::vector::Vector;

    vector!(float32x4_t, 4 x 4, vdupq_n_f32, vld1q_f32, vst1q_f32, |c, a, b| vfmaq_f32(c, a, b),
        |x, zero| vmaxq_f32(x, zero));
}

#[cfg(target_family = "wasm")]
mod wasm {
    use std::arch::wasm32::*;

    use crate::network::kernels::cpu::vector::Vector;

    #[cfg(feature = "relaxed-simd")]
    vector!(v128, 4 x 3, f32x4_splat, v128_load, v128_store, |c, a, b| f32x4_relaxed_madd(a, b, c),
        |x, zero| f32x4_pmax(x, zero));
    #[cfg(not(feature = "relaxed-simd"))]
    vector!(v128, 4 x 2, f32x4_splat, v128_load, v128_store, |c, a, b| f32x4_add(c, f32x4_mul(a, b)),
        |x, zero| f32x4_pmax(x, zero));
}
