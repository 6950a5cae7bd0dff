#!/usr/bin/env bash
# Times training, forward passes and five-fold scoring here, in PyTorch and (forward passes of the compact network) in ONNX Runtime,
# one after the other on the same machine with the same number of threads, and prints a table of the ratios. Takes 10 minutes.
# Needs Python ($PYTHON [python3]) with `pip install torch==2.9.0 onnx onnxruntime`. $THREADS says how many threads [all cores].
# With LIBTORCH_USE_PYTORCH=1 set, the libtorch backend as well. Arguments narrow the work down: `compare.sh forward compact`.
#
# DEVICE=gpu, DEVICE=cuda or DEVICE=libtorch-cuda measures a GPU, through Vulkan (or Metal, DX12), CUDA or PyTorch's own
# kernels, beside PyTorch on the same card, which it calls TORCH_DEVICE [cuda], in fp32 or with TF32=1 in TF32. DEVICE=software-gpu tries the first without one.
set -euo pipefail
cd "$(dirname "$0")/../.."

device=${DEVICE:-cpu}
python=${PYTHON:-python3}
threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads
features=()
if [ "${LIBTORCH_USE_PYTORCH:-}" = 1 ]; then features+=(--features libtorch); fi
if [ "$device" = cuda ]; then features+=(--features cuda); fi
torch_device=cpu
case $device in
gpu | cuda | libtorch-cuda) torch_device=${TORCH_DEVICE:-cuda} ;;
esac
if [ "$device" != cpu ]; then export ELOC_BENCH_DEVICE=$device; fi

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
cargo bench --bench speed "${features[@]}" -- "$@" | tee "$out/bench.txt"
tf32=()
if [ "${TF32:-}" = 1 ]; then tf32=(--tf32); fi
"$python" tests/bench/pytorch.py "$out/bench.txt" --device "$torch_device" --threads "$threads" "${tf32[@]}" | tee "$out/pytorch.txt"
results=("$out/bench.txt" "$out/pytorch.txt")
if [ "$device" = cpu ] && grep -q '"forward","network":"compact"' "$out/bench.txt"; then
    "$python" tests/bench/onnx.py "$out/compact.onnx"
    "$python" tests/bench/onnx_runtime.py "$out/compact.onnx" --threads "$threads" | tee "$out/onnx.txt"
    results+=("$out/onnx.txt")
fi
echo
grep -m 1 'model name' /proc/cpuinfo 2>/dev/null || sysctl -n machdep.cpu.brand_string 2>/dev/null || true
echo "$threads threads"
echo
"$python" tests/bench/ratios.py "${results[@]}"
