//! The instruction sets, one of which runs all work.

#[cfg(not(target_family = "wasm"))]
use super::vector::Plain;
use super::vector::Vector;

/// Something to be computed with the vectors of an instruction set.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Computes it, with tiles of at most `H` pixels or channels.
    ///
    /// Inlined into code for the instruction set, as everything in it has to be: closures and iterators' adapters are not.
    ///
    /// # Safety
    /// The instruction set of `V` is there.
    unsafe fn run<V: Vector, const H: usize>(self) -> Self::Output;
}

/// Height of a tile that is one vector wide, where that of others is six; where it is less, that is six.
pub const TALL: usize = 12;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Whatever the compiler makes of it.
    #[cfg(not(target_family = "wasm"))]
    Plain,
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 lanes, with products and sums in one.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 lanes, on every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 4 lanes, in every browser that the page runs in.
    #[cfg(all(target_family = "wasm", not(feature = "relaxed-simd")))]
    Simd128,
    /// 4 lanes, with products and sums in one: a module of its own, since one with unknown instructions is refused as a whole.
    #[cfg(all(target_family = "wasm", feature = "relaxed-simd"))]
    RelaxedSimd,
}

/// Each instruction set with its vectors, the height of its tiles and its features.
macro_rules! machines {
    ($($(#[$cfg:meta])* $machine:ident: $vector:ty, $height:literal, [$($feature:tt)?];)*) => {
        impl Machine {
            /// All that this computer has, best first.
            pub fn all() -> impl Iterator<Item = Machine> {
                let known = [$($(#[$cfg])* (Machine::$machine, $(is_there!($feature) &&)? true)),*];
                known.into_iter().filter(|(_, there)| *there).map(|(machine, _)| machine)
            }

            /// Pixels or input channels of a tile.
            pub fn height(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => $height),* }
            }

            /// Numbers in a vector.
            pub fn lanes(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => <$vector>::LANES),* }
            }

            /// Output channels of a tile.
            pub fn block(self) -> usize {
                match self { $($(#[$cfg])* Machine::$machine => <$vector>::LANES * <$vector>::ACROSS),* }
            }

            /// Does the work.
            pub fn run<W: Work>(self, work: W) -> W::Output {
                match self {
                    $($(#[$cfg])* Machine::$machine => {
                        $(#[target_feature(enable = $feature)])?
                        unsafe fn on<W: Work>(work: W) -> W::Output {
                            // SAFETY: the caller's.
                            unsafe { work.run::<$vector, $height>() }
                        }
                        // SAFETY: `all`, from which every machine comes, says that the instruction set is there.
                        unsafe { on(work) }
                    })*
                }
            }
        }
    };
}

#[cfg(any(target_arch = "x86_64", all(target_family = "wasm", feature = "relaxed-simd")))]
macro_rules! is_there {
    // The browser has refused the module otherwise.
    ("relaxed-simd") => {
        true
    };
    ("avx512f") => {
        is_x86_feature_detected!("avx512f")
    };
    ("avx2,fma") => {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    };
}

machines! {
    #[cfg(target_arch = "x86_64")] Avx512: std::arch::x86_64::__m512, 6, ["avx512f"];
    #[cfg(target_arch = "x86_64")] Avx2: std::arch::x86_64::__m256, 6, ["avx2,fma"];
    #[cfg(target_arch = "aarch64")] Neon: std::arch::aarch64::float32x4_t, 6, [];
    #[cfg(all(target_family = "wasm", not(feature = "relaxed-simd")))] Simd128: std::arch::wasm32::v128, 4, [];
    #[cfg(all(target_family = "wasm", feature = "relaxed-simd"))]
    RelaxedSimd: std::arch::wasm32::v128, 3, ["relaxed-simd"];
    #[cfg(not(target_family = "wasm"))] Plain: Plain, 4, [];
}

impl Machine {
    /// The best that this computer has.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Machine> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Machine::all().next().expect("one is always there"))
    }

    /// Channels, with those that fill the last vector.
    pub fn padded(self, channels: usize) -> usize {
        channels.next_multiple_of(self.lanes())
    }
}

/// Calls `$tile::<V, rows, vectors>` for a tile of so many rows and vectors, `H` and `V::ACROSS` at most.
macro_rules! sized {
    ($rows:expr, $vectors:expr, $tile:ident($($argument:expr),*)) => {
        sized!(@rows $rows, $vectors, $tile, ($($argument),*), 1 2 3 4 5 6)
    };
    (@rows $rows:expr, $vectors:expr, $tile:ident, $arguments:tt, $($height:literal)*) => {
        match $rows {
            $($height if $height <= H => sized!(@vectors $vectors, $tile, $height, $arguments, 1 2 3 4),)*
            rows => unreachable!("tiles of {rows} rows"),
        }
    };
    (@vectors $vectors:expr, $tile:ident, $height:literal, $arguments:tt, $($width:literal)*) => {
        match $vectors {
            $($width if $width <= V::ACROSS => sized!(@call $tile, $height, $width, $arguments),)*
            vectors => unreachable!("tiles of {vectors} vectors"),
        }
    };
    (@call $tile:ident, $height:literal, $width:literal, ($($argument:expr),*)) => {
        $tile::<V, $height, $width>($($argument),*)
    };
}
pub(super) use sized;

/// A loop of at most twelve rounds, each written out: a build for size unrolls none, and sums would be in memory.
macro_rules! unrolled {
    ($index:ident < $count:ident, $body:block) => {
        unrolled!(@ $index $count $body 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $index:ident $count:ident $body:block $($n:literal)*) => {
        $(if $n < $count {
            let $index = $n;
            $body
        })*
    };
}
pub(super) use unrolled;
