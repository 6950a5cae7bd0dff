#!/usr/bin/env bash
# Times training, forward passes and five-fold scoring here and in PyTorch, one after the other, and prints the ratios.
# Needs Python with PyTorch: `pip install torch==2.9.0`. With LIBTORCH_USE_PYTORCH=1 set, the libtorch backend as well.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$(mktemp -d)
features=()
if [ "${LIBTORCH_USE_PYTORCH:-}" = 1 ]; then features=(--features libtorch); fi
cargo bench --bench speed "${features[@]}" | tee "$out/bench.txt"
for work in "compact 32" "densenet-bc-100-12 8" "wrn-28-10 4"; do
    read -r network batch <<<"$work"
    python3 tests/bench/pytorch.py --network "$network" --batch "$batch" --left-out $((batch / 4)) --seconds 10
done | tee "$out/pytorch.txt"
python3 tests/bench/ratios.py "$out/bench.txt" "$out/pytorch.txt"
