//! The vectors of each instruction set, as far as convolutions need them.

/// Whether a number is larger, or is none and so has to be seen.
#[inline(always)]
pub fn is_larger(value: f32, than: f32) -> bool {
    value > than || value.is_nan()
}

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
    /// The larger; what is not a number where one of them is none.
    unsafe fn larger(self, other: Self) -> Self;
    /// 0 where `other` is 0.
    unsafe fn cut(self, other: Self) -> Self;
    /// 0 where the byte at `places` is not `place`.
    unsafe fn only(self, places: *const u8, place: u8) -> Self;
}

/// Four numbers, for the compiler to do with what it can.
#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Copy)]
pub struct Plain([f32; 4]);

#[cfg(not(target_family = "wasm"))]
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

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        let mut values = self.0;
        for (value, other) in values.iter_mut().zip(other.0) {
            *value = if is_larger(other, *value) { other } else { *value };
        }
        Plain(values)
    }

    #[inline(always)]
    unsafe fn cut(self, other: Self) -> Self {
        let mut values = self.0;
        for (value, other) in values.iter_mut().zip(other.0) {
            *value = if other == 0.0 { 0.0 } else { *value };
        }
        Plain(values)
    }

    #[inline(always)]
    unsafe fn only(self, places: *const u8, place: u8) -> Self {
        // SAFETY: the caller's.
        let places = unsafe { places.cast::<[u8; 4]>().read() };
        let mut values = self.0;
        for (value, of) in values.iter_mut().zip(places) {
            *value = if of == place { *value } else { 0.0 };
        }
        Plain(values)
    }
}

/// Implements [`Vector`] by the functions of `std::arch`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_family = "wasm"))]
macro_rules! vector {
    ($vector:ty, $lanes:literal x $across:tt, $splat:path, $load:path, $store:path,
     |$c:ident, $a:ident, $b:ident| $add:expr, |$x:ident, $zero:ident| $relu:expr,
     |$one:ident, $two:ident| $larger:expr, |$cut:ident, $other:ident, $none:ident| $is_cut:expr,
     |$kept:ident, $places:ident, $place:ident| $only:expr) => {
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

            #[inline(always)]
            #[allow(unused_unsafe, reason = "safe where the instruction set is known when the program is built")]
            unsafe fn larger(self, $two: Self) -> Self {
                let $one = self;
                // SAFETY: the caller's.
                unsafe { $larger }
            }

            #[inline(always)]
            #[allow(unused_unsafe, reason = "safe where the instruction set is known when the program is built")]
            unsafe fn cut(self, $other: Self) -> Self {
                let $cut = self;
                // SAFETY: the caller's.
                unsafe {
                    let $none = $splat(0.0);
                    $is_cut
                }
            }

            #[inline(always)]
            unsafe fn only(self, $places: *const u8, $place: u8) -> Self {
                let $kept = self;
                // SAFETY: the caller's.
                unsafe { $only }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::network::kernels::cpu::vector::Vector;

    vector!(__m512, 16 x 4, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, |c, a, b| _mm512_fmadd_ps(a, b, c),
    |x, zero| _mm512_max_ps(zero, x),
    |x, other| {
        // Of `max` it is the second where one is not a number.
        let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_mov_ps(_mm512_max_ps(x, other), none, x)
    },
    |x, other, zero| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(other, zero), x),
    |x, places, place| {
        let places = _mm512_cvtepu8_epi32(_mm_loadu_si128(places.cast()));
        _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(places, _mm512_set1_epi32(place.into())), x)
    });
    vector!(__m256, 8 x 2, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, |c, a, b| _mm256_fmadd_ps(a, b, c),
    |x, zero| _mm256_max_ps(zero, x),
    |x, other| _mm256_blendv_ps(_mm256_max_ps(x, other), x, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)),
    |x, other, zero| _mm256_and_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(other, zero), x),
    |x, places, place| {
        let places = _mm256_cvtepu8_epi32(_mm_loadl_epi64(places.cast()));
        _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(places, _mm256_set1_epi32(place.into()))), x)
    });
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use crate::network::kernels::cpu::vector::Vector;

    vector!(float32x4_t, 4 x 4, vdupq_n_f32, vld1q_f32, vst1q_f32, |c, a, b| vfmaq_f32(c, a, b),
    |x, zero| vmaxq_f32(x, zero),
    |x, other| vmaxq_f32(x, other),
    |x, other, zero| vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vceqq_f32(other, zero))),
    |x, places, place| {
        let places = vcreate_u8(places.cast::<u32>().read_unaligned().into());
        let places = vmovl_u16(vget_low_u16(vmovl_u8(places)));
        vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vceqq_u32(places, vdupq_n_u32(place.into()))))
    });
}

#[cfg(target_family = "wasm")]
mod wasm {
    use std::arch::wasm32::*;

    use crate::network::kernels::cpu::vector::Vector;

    #[cfg(feature = "relaxed-simd")]
    use f32x4_relaxed_madd as product_and;

    /// Registers hold sums of three by three vectors, or, beside products, of four by two.
    const WIDE: usize = if cfg!(feature = "relaxed-simd") { 3 } else { 2 };

    #[cfg(not(feature = "relaxed-simd"))]
    #[inline(always)]
    fn product_and(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    vector!(v128, 4 x WIDE, f32x4_splat, v128_load, v128_store, |c, a, b| product_and(a, b, c),
    |x, zero| f32x4_pmax(x, zero),
    |x, other| f32x4_max(x, other),
    |x, other, zero| v128_andnot(x, f32x4_eq(other, zero)),
    |x, places, place| {
        let found = i8x16_eq(v128_load32_zero(places.cast()), u8x16_splat(place));
        v128_and(x, i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(found)))
    });
}
