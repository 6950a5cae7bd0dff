//! What is sent to a GPU: how many kernels, and which.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use burn_cubecl::cubecl::{
    launched::LaunchedKernels,
    logging::{LaunchObservation, LaunchObserver},
};

/// The kernels that were sent to GPUs meanwhile.
#[derive(Debug)]
pub struct Launches {
    /// How often each kernel was, by its name.
    pub dispatches: BTreeMap<&'static str, usize>,
    /// Different programs, of which one kernel may have several.
    pub pipelines: usize,
}

impl Launches {
    /// Does `work`, counting; what other threads send is counted, too.
    pub fn count<T>(work: impl FnOnce() -> T) -> (T, Launches) {
        let names = Arc::new(Names::default());
        let watching = (LaunchObservation::new(names.clone()), LaunchedKernels::new());
        let result = work();
        let (observation, kernels) = watching;
        drop(observation);
        let dispatches = std::mem::take(&mut *names.0.lock().unwrap_or_else(PoisonError::into_inner));
        (result, Launches { dispatches, pipelines: kernels.finish().len() })
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.dispatches.values().sum()
    }
}

#[derive(Default)]
struct Names(Mutex<BTreeMap<&'static str, usize>>);

impl LaunchObserver for Names {
    fn launched(&self, kernel: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_default() += 1;
    }
}
