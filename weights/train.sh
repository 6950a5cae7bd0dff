#!/usr/bin/env bash
# Trains an ensemble where time on the machine is short: folds side by side, each in a process of its own, a checkpoint every
# epoch, and a stop in good time. Run it again, there or elsewhere, with the same OUT to go on.
#
#   OUT=/safe/run MINUTES=25 weights/train.sh --dataset cifar10 --network densenet-bc-100-12 --device gpu \
#       --recipe paper --select last --epochs 30
#
# OUT      the run's folder, on a disk that outlives the machine [runs/script]
# JOBS     folds at a time [1]; more pay where one leaves the GPU idle, as compact and DenseNet do with libtorch-cuda on an H200,
#          and on a CPU when each computes with one thread (RAYON_NUM_THREADS=1, with libtorch OMP_NUM_THREADS=1
#          OMP_WAIT_POLICY=passive)
# FOLDS    number of folds [5]
# MINUTES  stop after so long, with exit status 3 [no limit]; what is lost is the epoch that was begun
# ELOC     the tool [built here; for a machine without Rust, and for --device libtorch-cuda and cuda, which ../README.md tells of,
#          build elsewhere]
# ELOC_DATA, --data  folder with cifar-10-binary.tar.gz or cifar-100-binary.tar.gz; the archives need not be unpacked
#
# All arguments go to `eloc train`. The first lines of the logs say how long it will take.
set -euo pipefail

out=${OUT:-runs/script}
folds=${FOLDS:-5}
jobs=${JOBS:-1}
eloc=${ELOC:-}
if [ -z "$eloc" ]; then
    cargo build --release --manifest-path "$(dirname "$0")/../Cargo.toml"
    eloc=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/release/eloc
fi

mkdir -p "$out/logs"
deadline=$((SECONDS + ${MINUTES:-525600} * 60))
running=()
# A fold whose process fails ends the script, and with it the others.
trap 'if [ ${#running[@]} -gt 0 ]; then kill "${running[@]}" 2>/dev/null || true; wait; fi' EXIT

failed() {
    echo "train.sh: a fold failed; the ends of the folds' logs:" >&2
    tail -n 3 "$out"/logs/fold-*.txt >&2
    exit 1
}

# Waits until fewer than $1 folds train, or stops at the deadline.
wait_for_fewer_than() {
    while [ ${#running[@]} -ge "$1" ]; do
        local left=() pid
        for pid in "${running[@]}"; do
            if kill -0 "$pid" 2>/dev/null; then left+=("$pid"); else wait "$pid" || failed; fi
        done
        running=(${left[@]+"${left[@]}"})
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "train.sh: stopped after $MINUTES minutes; run it again to go on" >&2
            exit 3
        fi
        sleep 1
    done
}

for fold in $(seq "$folds"); do
    wait_for_fewer_than "$jobs"
    "$eloc" train "$@" --folds "$folds" --fold "$fold" --out "$out" >>"$out/logs/fold-$fold.txt" 2>&1 &
    running+=($!)
    echo "train.sh: fold $fold of $folds; its progress is in $out/logs/fold-$fold.txt" >&2
done
wait_for_fewer_than 1
# Every fold is there: this sets the threshold.
"$eloc" train "$@" --folds "$folds" --out "$out"
