//! What is sent to a GPU: how many kernels, and which.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use burn_cubecl::cubecl::{
    launched::LaunchedKernels,
    logging::{Duration, LaunchObservation, LaunchObserver, TimingMethod, TimingRequest},
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

/// The kernels that `work` sends to GPUs, how often, and the seconds that they take, one after the other; the longest first.
pub fn times(work: impl FnOnce()) -> Vec<(&'static str, usize, f64)> {
    let times = Arc::new(Times::default());
    let watching = LaunchObservation::new(times.clone());
    work();
    drop(watching);
    let found = std::mem::take(&mut *times.0.lock().unwrap_or_else(PoisonError::into_inner));
    let mut found: Vec<_> = found.into_iter().map(|(name, (count, seconds))| (name, count, seconds)).collect();
    found.sort_by(|a, b| b.2.total_cmp(&a.2));
    found
}

#[derive(Default)]
struct Times(Mutex<BTreeMap<&'static str, (usize, f64)>>);

impl LaunchObserver for Times {
    fn launched(&self, _: &'static str) {}

    fn timing(&self) -> TimingRequest {
        TimingRequest::Resolved
    }

    fn timed(&self, kernel: &'static str, duration: Duration, _: TimingMethod) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, seconds) = times.entry(kernel).or_default();
        *count += 1;
        *seconds += duration.as_secs_f64();
    }
}

#[derive(Default)]
struct Names(Mutex<BTreeMap<&'static str, usize>>);

impl LaunchObserver for Names {
    fn launched(&self, kernel: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_default() += 1;
    }
}
