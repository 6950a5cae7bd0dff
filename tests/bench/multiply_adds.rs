//! How much arithmetic a network is.

use eloc::network::Network;

/// Multiply-adds of the convolutions of `network` in one forward pass of one image. What else it does is not counted: it is
/// below a hundredth, and no matter of multiply-add instructions.
pub fn multiply_adds(network: &Network) -> u64 {
    let one = |Convolution { from, to, size, side }| (from * to * size * size * side * side) as u64;
    convolutions(network).into_iter().map(one).sum()
}

/// A convolution of `size` x `size` between two numbers of channels, whose output has `side` x `side` positions.
struct Convolution {
    from: usize,
    to: usize,
    size: usize,
    side: usize,
}

fn convolutions(network: &Network) -> Vec<Convolution> {
    let of = |size, side, from, to| Convolution { from, to, size, side };
    match *network {
        Network::Compact { widths: [a, b, c] } => vec![
            of(2, 31, 3, 24),
            of(3, 31, 24, a),
            of(3, 15, a, a),
            of(3, 15, a, b),
            of(3, 7, b, b),
            of(3, 7, b, c),
            of(3, 3, c, c),
        ],
        Network::DenseNetBc { depth, growth } => {
            let mut channels = 2 * growth;
            let mut all = vec![of(3, 32, 3, channels)];
            for side in [32, 16, 8] {
                for _ in 0..(depth - 4) / 6 {
                    all.extend([of(1, side, channels, 4 * growth), of(3, side, 4 * growth, growth)]);
                    channels += growth;
                }
                // A transition stands between two blocks.
                if side > 8 {
                    all.push(of(1, side, channels, channels / 2));
                    channels /= 2;
                }
            }
            all
        }
        Network::WideResNet { depth, widen } => {
            let mut channels = 16;
            let mut all = vec![of(3, 32, 3, channels)];
            for (width, side) in [(16 * widen, 32), (32 * widen, 16), (64 * widen, 8)] {
                for _ in 0..(depth - 4) / 6 {
                    all.extend([of(3, side, channels, width), of(3, side, width, width)]);
                    if channels != width {
                        all.push(of(1, side, channels, width));
                    }
                    channels = width;
                }
            }
            all
        }
    }
}
