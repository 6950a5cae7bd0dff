// WebGPU inside the worker that runs the networks: is there an adapter, and what does the page need to know about its device?
// In: the worker's navigator.gpu. Out: an adapter or a plain sentence; counts, descriptions and loss of the device.

/** How long the search for an adapter may take, in milliseconds; some workers never answer. */
const DEADLINE_MS = 2500;
/** The same where there is reason to wait. */
const PATIENT_DEADLINE_MS = 20_000;
/** How long an answer of "no adapter" may still be a hasty one, and when to ask again. */
const HASTY_MS = 500;
const RETRY_MS = 120;
const FEATURE = "timestamp-query";

/** What the module's device did so far: kernels sent, and programs made of them. `device` is the newest one, null before there is any. */
export const usage = { dispatches: 0, pipelines: 0, device: null, adapter: null };

/**
 * Looks for an adapter for at most 2.5 s, or 20 s if `patient`: the first answers can be null, can throw or can fail to
 * come.
 * @param {{ patient: boolean }} options
 * @returns {Promise<{ sentence: string | null, software?: boolean }>}
 *   sentence: null where WebGPU works, otherwise why not, fit for visitors; software: whether it runs on the processor
 */
export async function probe({ patient }) {
  const deadline = patient ? PATIENT_DEADLINE_MS : DEADLINE_MS;
  if (!self.navigator?.gpu) return { sentence: "This browser offers no WebGPU here." };
  const started = performance.now();
  let sentence = "The browser found no graphics adapter that WebGPU can use.";
  while (performance.now() - started < HASTY_MS) {
    const left = deadline - (performance.now() - started);
    try {
      const adapter = await Promise.race([navigator.gpu.requestAdapter(), pause(left, "silent")]);
      if (adapter === "silent") return { sentence: "WebGPU did not answer." };
      if (adapter) return { sentence: null, software: isSoftware(adapter) };
    } catch (error) {
      sentence = `WebGPU is switched off or broken here (${error.message}).`;
    }
    await pause(RETRY_MS);
  }
  return { sentence };
}

/**
 * Watches every device that is made from here on, and counts its dispatches and pipelines.
 *
 * CubeCL 0.11 panics on an adapter without timestamp-query, which it never uses here. Such an adapter claims to have
 * it; the request for the device leaves it out, and time stamps go nowhere.
 * @param {{ lost: (reason: string) => void, failed: (message: string, outOfMemory: boolean) => void }} on
 */
export function watchDevices(on) {
  if (!self.GPUAdapter) return;
  const features = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features").get;
  const requestDevice = GPUAdapter.prototype.requestDevice;
  const lacks = (adapter) => !features.call(adapter).has(FEATURE);

  Object.defineProperty(GPUAdapter.prototype, "features", {
    get() { return lacks(this) ? new Set([...features.call(this), FEATURE]) : features.call(this); },
  });
  GPUAdapter.prototype.requestDevice = async function (descriptor = {}) {
    const pretend = lacks(this);
    const wanted = [...(descriptor.requiredFeatures ?? [])].filter((name) => !pretend || name !== FEATURE);
    const device = await requestDevice.call(this, { ...descriptor, requiredFeatures: wanted });
    if (pretend) ignoreTimestamps(device);
    Object.assign(usage, { device, adapter: describe(this, features.call(this)) });
    device.lost.then((info) => on.lost(info.message || `The reason given is "${info.reason}".`));
    device.addEventListener("uncapturederror", ({ error }) => {
      on.failed(error.message, self.GPUOutOfMemoryError !== undefined && error instanceof GPUOutOfMemoryError);
    });
    return device;
  };
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
    const dispatch = GPUComputePassEncoder.prototype[name];
    GPUComputePassEncoder.prototype[name] = function (...args) {
      usage.dispatches += 1;
      return dispatch.apply(this, args);
    };
  }
  for (const name of ["createComputePipeline", "createComputePipelineAsync"]) {
    const create = GPUDevice.prototype[name];
    GPUDevice.prototype[name] = function (...args) {
      usage.pipelines += 1;
      return create.apply(this, args);
    };
  }
}

/** Lets `device` accept the time-stamp calls that it does not support, without effect. */
function ignoreTimestamps(device) {
  const features = new Set([...device.features, FEATURE]);
  Object.defineProperty(device, "features", { get: () => features });
  const createQuerySet = device.createQuerySet.bind(device);
  device.createQuerySet = (descriptor) =>
    createQuerySet(descriptor.type === "timestamp" ? { ...descriptor, type: "occlusion" } : descriptor);
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  device.createCommandEncoder = (descriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const beginComputePass = encoder.beginComputePass.bind(encoder);
    encoder.beginComputePass = (pass = {}) => beginComputePass({ label: pass.label });
    return encoder;
  };
}

/** Browsers tell a software adapter by a flag, which has moved, or by name only. */
function isSoftware(adapter) {
  const { isFallbackAdapter, architecture, description } = adapter.info ?? {};
  return Boolean(isFallbackAdapter || adapter.isFallbackAdapter) ||
    /swiftshader|llvmpipe|lavapipe/i.test(`${architecture} ${description}`);
}

/** The adapter in plain values, for the report. */
function describe(adapter, features) {
  const { vendor, architecture, device, description } = adapter.info ?? {};
  const limits = {};
  for (const name in adapter.limits) {
    if (typeof adapter.limits[name] === "number") limits[name] = adapter.limits[name];
  }
  return { vendor, architecture, device, description, features: [...features].sort(), limits };
}

function pause(ms, value) {
  return new Promise((resolve) => setTimeout(resolve, ms, value));
}
