//! Which numbers a convolution brings together.

/// A square convolution of square or oblong maps, without dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images.
    pub images: usize,
    /// Channels in.
    pub inputs: usize,
    /// Height and width in.
    pub size: [usize; 2],
    /// Channels out.
    pub outputs: usize,
    /// Height and width of a filter.
    pub kernel: usize,
    /// Pixels from one position of the filter to the next.
    pub stride: usize,
    /// Zeros on each side, less than the filter's size.
    pub padding: usize,
    /// Whether the last row and column are left out where there is an odd number of them: a max pooling will not read them.
    pub even: bool,
}

impl Shape {
    /// Height and width out; none where the filter does not fit or the padding is as large as it.
    pub fn out(&self) -> Option<[usize; 2]> {
        let of = |size: usize| {
            let out = (size + 2 * self.padding).checked_sub(self.kernel)?.checked_div(self.stride)? + 1;
            Some(if self.even { out & !1 } else { out })
        };
        let [height, width] = self.size;
        (self.padding < self.kernel).then_some([of(height)?, of(width)?])
    }

    /// Channels out and in, and positions in a filter.
    pub fn filters(&self) -> [usize; 3] {
        [self.outputs, self.inputs, self.taps()]
    }

    /// Positions in a filter.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// `(tap, place in the source less that of the first)` for each tap that meets something.
pub type Class = Vec<(usize, usize)>;

/// Rows or columns out, and what of the source each tap of a filter meets there.
///
/// Taps that meet nothing are left out, instead of being multiplied by zeros; places whose taps meet the same neighbours are of
/// one class, and one list of taps serves them all.
pub struct Axis {
    /// What the taps meet.
    pub classes: Vec<Class>,
    /// Class and first place in the source, of each place out.
    pub places: Vec<(usize, usize)>,
}

impl Axis {
    /// `meets(place, tap)` is the place in the source.
    fn new(out: usize, kernel: usize, meets: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        let mut places = Vec::with_capacity(out);
        for place in 0..out {
            let met: Vec<(usize, usize)> = (0..kernel).filter_map(|tap| Some((tap, meets(place, tap)?))).collect();
            let first = met.iter().map(|(_, source)| *source).min().unwrap_or(0);
            let class: Class = met.into_iter().map(|(tap, source)| (tap, source - first)).collect();
            let index = classes.iter().position(|known| *known == class).unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            });
            places.push((index, first));
        }
        Axis { classes, places }
    }

    /// Rows (0) or columns (1) of the output, which read the input.
    pub fn forward(shape: &Shape, axis: usize) -> Self {
        let out = shape.out().expect("the caller has checked the shape");
        Axis::new(out[axis], shape.kernel, |place, tap| {
            (place * shape.stride + tap).checked_sub(shape.padding).filter(|source| *source < shape.size[axis])
        })
    }

    /// Rows (0) or columns (1) of the input, which read the gradient of the output.
    pub fn backward(shape: &Shape, axis: usize) -> Self {
        let out = shape.out().expect("the caller has checked the shape");
        Axis::new(shape.size[axis], shape.kernel, |place, tap| {
            let source = (place + shape.padding).checked_sub(tap)?;
            (source % shape.stride == 0 && source / shape.stride < out[axis]).then_some(source / shape.stride)
        })
    }

    /// First place of the source that some places out meet, and one more than the last.
    pub fn reach(&self, places: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let places = &self.places[places];
        let last = |&(class, first): &(usize, usize)| {
            first + self.classes[class].iter().map(|(_, offset)| offset + 1).max().unwrap_or(0)
        };
        let start = places.iter().map(|(_, first)| *first).min().unwrap_or(0);
        start..places.iter().map(last).max().unwrap_or(0).max(start)
    }
}
