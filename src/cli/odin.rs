//! The perturbation's settings on the command line.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use eloc::detection::odin::{GradientMode, Odin};

/// Settings of the perturbation; what is not given comes from the weights or is the method's default.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OdinArgs {
    /// Softmax temperature [default: that of the weights; 1000 for new ones, as in the paper].
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Size of the perturbation, in units of the 0 to 1 pixel range [default: that of the weights; 0.002 for new ones].
    #[arg(long, allow_negative_numbers = true)]
    pub epsilon: Option<f64>,
    /// Loss whose gradient is followed [default: that of the weights; cross-entropy for new ones].
    #[arg(long, value_enum)]
    gradient: Option<GradientChoice>,
}

impl OdinArgs {
    /// The settings, `start` where a flag was not given.
    pub fn over(self, start: Odin) -> Result<Odin> {
        let odin = Odin {
            temperature: self.temperature.unwrap_or(start.temperature),
            epsilon: self.epsilon.unwrap_or(start.epsilon),
            gradient: self.gradient.map_or(start.gradient, GradientChoice::mode),
        };
        if let Some((name, expected, found)) = odin.refused() {
            bail!("--{name}: expected {expected}, found {found}");
        }
        Ok(odin)
    }
}

/// Loss whose gradient is followed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GradientChoice {
    /// Cross-entropy to the predicted class, as ODIN and the method's published code do.
    CrossEntropy,
    /// Entropy, as the paper writes it.
    Entropy,
}

impl GradientChoice {
    /// The loss itself.
    pub fn mode(self) -> GradientMode {
        match self {
            GradientChoice::CrossEntropy => GradientMode::CrossEntropy,
            GradientChoice::Entropy => GradientMode::Entropy,
        }
    }
}
