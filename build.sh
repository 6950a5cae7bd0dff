#!/usr/bin/env bash
# ./build.sh test   checks everything: format, lints, unit, property, integration and doc tests. Sets up what it needs.
set -euo pipefail
cd "$(dirname "$0")"

# The GPU tests run on any Vulkan adapter; without a graphics card Mesa's software one is installed.
set_up_vulkan() {
    if ls /usr/share/vulkan/icd.d/*.json >/dev/null 2>&1; then return; fi
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && apt-get install -y -qq libvulkan1 mesa-vulkan-drivers >/dev/null
    else
        echo "build.sh: no Vulkan driver found; install libvulkan1 and mesa-vulkan-drivers to run the GPU tests" >&2
    fi
}

run_tests() {
    set_up_vulkan
    cargo fmt --check
    cargo clippy --release --all-targets -- -D warnings
    cargo test --release
}

case "${1:-}" in
    test) run_tests ;;
    *)
        echo "usage: ./build.sh test" >&2
        exit 2
        ;;
esac
