#!/usr/bin/env bash
# ./build.sh         builds the site into dist/, ready for any static host
# ./build.sh serve   builds it and serves it on localhost
# ./build.sh test    checks everything: formats, lints, unit, property, integration, doc, browser and page tests
# ./build.sh sanitize   runs the CPU kernels' tests, whose code is partly unsafe, with checks of every access to memory
#
# Each sets up what it needs: the wasm target, wasm-bindgen, wasm-opt, and for the tests a browser.
set -euo pipefail
cd "$(dirname "$0")"

target="${CARGO_TARGET_DIR:-$PWD/target}"
tools="$target/tools"
wasm=(--target wasm32-unknown-unknown --no-default-features --profile web)

BINARYEN=132.0.0
ZOPFLI=1.0.15
PLAYWRIGHT=1.65.1

say() { echo "build.sh: $*" >&2; }

need() { command -v "$1" >/dev/null || { say "expected $1 ($2), found none"; exit 1; }; }

# rust-toolchain.toml names the target too, but a toolchain that is already there may be without it.
set_up_target() {
    if [ -d "$(rustc --print target-libdir --target wasm32-unknown-unknown)" ]; then return; fi
    need rustup "to install Rust's wasm32-unknown-unknown target"
    say "installing the wasm32-unknown-unknown target"
    rustup target add wasm32-unknown-unknown
}

# The tool has to be of the library's version.
set_up_wasm_bindgen() {
    local version
    version=$(cargo metadata --format-version 1 --locked --filter-platform wasm32-unknown-unknown |
        grep -o '"wasm-bindgen","version":"[^"]*"' | head -1 | cut -d'"' -f6)
    if [ "$("$tools/bin/wasm-bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
        say "installing wasm-bindgen $version"
        # It runs for seconds, so that optimising it takes longer than it saves.
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
            cargo install --quiet --root "$tools" --target-dir "$tools/build" wasm-bindgen-cli --version "=$version"
    fi
}

# $1@$2 from npm.
set_up_npm() {
    need npm "Node.js 20 or later"
    if ! grep -qs "\"version\": \"$2\"" "$tools/node_modules/$1/package.json"; then
        say "installing $1 $2"
        npm install --silent --no-fund --no-audit --save-exact --prefix "$tools" "$1@$2"
    fi
}

# Builds the module $2 and its script into $1, with the further settings of cargo.
build_module() {
    local folder="$1" name="$2" module="$target/wasm32-unknown-unknown/web/eloc.wasm"
    cargo rustc --lib --crate-type cdylib "${wasm[@]}" "${@:3}"
    # Such names mean that every call runs all static constructors again; src/web/mod.rs prevents it.
    if grep -q '\.command_export' "$module"; then
        say "expected exports without constructors, found them wrapped: see start() in src/web/mod.rs"
        exit 1
    fi
    "$tools/bin/wasm-bindgen" --target web --no-typescript --out-name "$name" --out-dir "$folder" "$module"
}

# Optimises and compresses the module $2 in $1.
shrink_module() {
    local module="$1/$2_bg.wasm"
    # The instructions that the compiler uses; with --all-features browsers refuse the module.
    local features=(bulk-memory bulk-memory-opt nontrapping-float-to-int reference-types sign-ext mutable-globals
        multivalue simd)
    if [ "$2" = eloc_relaxed ]; then features+=(relaxed-simd); fi
    "$tools/node_modules/.bin/wasm-opt" "${features[@]/#/--enable-}" -Oz -o "$module.optimised" "$module"
    # Compressed here, since not every host compresses, and none as well as this.
    NODE_PATH="$tools/node_modules" node -e '
        const { readFileSync, writeFileSync } = require("node:fs");
        const [module, file] = process.argv.slice(1);
        require("@gfx/zopfli").gzipAsync(readFileSync(module), { numiterations: 5 }).then((bytes) => writeFileSync(file, bytes));
    ' "$module.optimised" "$module.gz"
    rm "$module.optimised" "$module"
}

build_site() {
    set_up_target
    set_up_wasm_bindgen
    set_up_npm binaryen "$BINARYEN"
    set_up_npm @gfx/zopfli "$ZOPFLI"
    local new="$target/dist"
    rm -rf "$new"
    mkdir -p "$new/app" "$new/weights"
    build_module "$new/app" eloc
    shrink_module "$new/app" eloc &
    # For browsers with fused multiply-adds; they take one of the two (web/engine/download.js). Only the library is built anew.
    build_module "$new/app" eloc_relaxed --features relaxed-simd
    shrink_module "$new/app" eloc_relaxed
    wait $!
    cp -r web/*.js web/*.css web/engine web/views "$new/app"
    cp web/published.json "$new"

    local name fold list=()
    for name in $(LC_ALL=C; cd weights && printf '%s\n' */); do
        name=${name%/}
        # Folds that are still being trained have no results; the 8-bit form serves visitors as well as the other.
        if [ ! -e "weights/$name/results.json" ] || [ -e "weights/$name-int8/results.json" ]; then continue; fi
        mkdir "$new/weights/$name"
        cp "weights/$name/"*.json "$new/weights/$name"
        for fold in "weights/$name/"*.safetensors*; do
            cp "$fold" "$new/weights/$name/$(sha256sum <"$fold" | cut -d' ' -f1)"
        done
        list+=("{ \"name\": \"$name\" }")
    done
    (IFS=,; echo "[${list[*]}]") >"$new/weights/index.json"

    # A folder named by its contents may be cached for ever.
    local hash
    hash=$(cd "$new/app" && find . -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -c1-12)
    mv "$new/app" "$new/app-$hash"
    sed "s|app/|app-$hash/|g" web/index.html >"$new/index.html"
    rm -rf dist
    mv "$new" dist
    local app="dist/app-$hash"
    say "dist/ is built; the module takes $(wc -c <"$app/eloc_bg.wasm.gz") bytes, with relaxed SIMD $(wc -c <"$app/eloc_relaxed_bg.wasm.gz")"
}

serve() {
    need python3 "to serve dist/"
    echo "http://localhost:${PORT:-8000}/"
    # Only what goes wrong: the requests are of no interest.
    python3 -m http.server --bind 127.0.0.1 --directory dist "${PORT:-8000}" 2>&1 >/dev/null | grep --line-buffered -v '" 20[06] -\|" 304 -'
}

# Debian's packages $2..., unless the command or file $1 is there.
set_up_debian() {
    local found="$1"
    shift
    if command -v "$found" >/dev/null || compgen -G "$found" >/dev/null; then return; fi
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "installing $*"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    else
        say "expected $found for the tests, found none; install $*"
        exit 1
    fi
}

run_tests() {
    # The GPU tests run on any Vulkan adapter; without a graphics card Mesa's software one does.
    set_up_debian '/usr/share/vulkan/icd.d/*.json' libvulkan1 mesa-vulkan-drivers
    set_up_debian chromium chromium
    set_up_debian chromedriver chromium-driver
    set_up_npm playwright-core "$PLAYWRIGHT"
    cargo fmt --check
    cargo clippy --release --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps --quiet
    cargo test --release
    build_site
    local module
    # Each of the page's modules.
    for module in "" relaxed-simd; do
        cargo clippy --lib --test parity "${wasm[@]}" --features "$module" -- -D warnings
        CHROMEDRIVER=$(command -v chromedriver) WASM_BINDGEN_TEST_TIMEOUT=600 \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER="env -C $PWD/tests/page $tools/bin/wasm-bindgen-test-runner" \
            cargo test --test parity "${wasm[@]}" --features "$module"
    done
    CHROMIUM=$(command -v chromium) ELOC="$target/release/eloc" TOOLS="$tools" node --test tests/page/
}

# Miri knows too few of the vector instructions. The switch is unstable, the compiler need not be. Burn is built once more: 10 to 25
# minutes at first.
sanitize() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --release --lib --target "$host" \
        --no-default-features --features native network
}

case "${1:-}" in
    '') build_site ;;
    # Not joined by &&, after which bash would go on when a part of the build fails.
    serve) build_site; serve ;;
    test) run_tests ;;
    sanitize) sanitize ;;
    *)
        sed -n '2,5s/^# //p' "$0" >&2
        exit 2
        ;;
esac
