#!/usr/bin/env bash
# Times training, forward passes and five-fold scoring here and in PyTorch, one after the other, and prints the ratios.
# Needs Python with PyTorch: `pip install torch==2.9.0`. With LIBTORCH_USE_PYTORCH=1 set, the libtorch backend as well.
#
# DEVICE=gpu, DEVICE=cuda or DEVICE=libtorch-cuda measures a GPU, through Vulkan (or Metal, DX12), CUDA or PyTorch's own
# kernels, beside PyTorch on the same card, which it calls TORCH_DEVICE [cuda]. DEVICE=software-gpu tries the first without one.
set -euo pipefail
cd "$(dirname "$0")/../.."

device=${DEVICE:-cpu}
features=()
if [ "${LIBTORCH_USE_PYTORCH:-}" = 1 ]; then features+=(--features libtorch); fi
if [ "$device" = cuda ]; then features+=(--features cuda); fi
torch_device=cpu
batches=(32 8 4)
case $device in
gpu | cuda | libtorch-cuda)
    torch_device=${TORCH_DEVICE:-cuda}
    batches=(248 100 100)
    ;;
esac
if [ "$device" != cpu ]; then export ELOC_BENCH_DEVICE=$device; fi

out=$(mktemp -d)
cargo bench --bench speed "${features[@]}" | tee "$out/bench.txt"
networks=(compact densenet-bc-100-12 wrn-28-10)
for i in 0 1 2; do
    python3 tests/bench/pytorch.py --device "$torch_device" --network "${networks[i]}" --batch "${batches[i]}" \
        --left-out $((batches[i] / 4)) --seconds 10
done | tee "$out/pytorch.txt"
python3 tests/bench/ratios.py "$out/bench.txt" "$out/pytorch.txt"
