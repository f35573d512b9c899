#!/usr/bin/env bash
# Builds llama.cpp, the peer that most people know, for three levels from one source:
#
#   target/peers/llama.cpp-native/bin   whatever this CPU has (AMX too)
#   target/peers/llama.cpp-avx512/bin   AVX-512 with VNNI and VBMI, as Stonechat's level avx512: neither BF16 nor AMX
#   target/peers/llama.cpp-avx2/bin     AVX2, FMA and F16C
#
#   benches/peers/build_llama_cpp.sh          all three: ten minutes on two cores, of which the first takes most
#   benches/peers/build_llama_cpp.sh avx2     only these
#
# The source is the one inside the PyPI package llama-cpp-python, fetched by the user's own pip, so that
# everyone who runs this measures the same commit. Needs Python 3 with venv and pip, and a C++ compiler.
# Idempotent: what is built stays. JOBS sets how many compilers run at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

VERSION=0.3.36
TOOLS=(llama-bench llama-completion llama-quantize llama-server)
peers="$PWD/${CARGO_TARGET_DIR:-target}/peers"
source="$peers/llama.cpp-source"

levels=(native avx512 avx2)
[ $# -eq 0 ] || levels=("$@")
for level in "${levels[@]}"; do
  case "$level" in native | avx512 | avx2) ;;
  *) echo "no level '$level': native, avx512 or avx2" >&2 && exit 2 ;;
  esac
done

venv="$peers/venv"
[ -x "$venv/bin/ninja" ] || {
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet cmake ninja
}
PATH="$venv/bin:$PATH"

if [ ! -e "$source/.complete" ]; then
  download="$peers/download"
  rm -rf "$download" "$source"
  mkdir -p "$download"
  "$venv/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --dest "$download" "llama-cpp-python==$VERSION"
  tar -xzf "$download"/llama_cpp_python-*.tar.gz -C "$download"
  package="$(echo "$download"/llama_cpp_python-*/)"
  cp "$package/.git/modules/vendor/llama.cpp/HEAD" "$package/vendor/llama.cpp/COMMIT"
  # Without its git link, or cmake would ask the repository around it for the commit.
  rm -rf "$package/vendor/llama.cpp/.git"
  mv "$package/vendor/llama.cpp" "$source"
  rm -rf "$download"
  # gcc 12 drops the stores to the tile configuration, since nothing it knows of reads them: AMX then faults.
  amx="$source/ggml/src/ggml-cpu/amx/mmq.cpp"
  sed -i 's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" : : "r"(\&tc) : "memory");\n&/' "$amx"
  grep -q '__asm__ volatile' "$amx" || { echo "llama.cpp has moved _tile_loadconfig: see $amx" >&2 && exit 1; }
  touch "$source/.complete"
fi

# One build tree for all levels: only ggml's kernels are compiled for a level, so only they are compiled again.
tree="$peers/llama.cpp-build"
build() {
  local level=$1 log="$peers/llama.cpp-$1.log" feature
  local native=OFF avx512=OFF
  case "$level" in
  native) native=ON ;;
  avx512) avx512=ON ;;
  esac
  local flags=("-DGGML_NATIVE=$native")
  for feature in SSE42 AVX AVX2 BMI2 FMA F16C; do flags+=("-DGGML_$feature=ON"); done
  for feature in AVX512 AVX512_VBMI AVX512_VNNI; do flags+=("-DGGML_$feature=$avx512"); done
  cmake -S "$source" -B "$tree" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_BUILD_COMMIT="$(cut -c1-9 "$source/COMMIT")" -DLLAMA_BUILD_NUMBER=0 \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_OPENSSL=OFF -DGGML_CCACHE=OFF "${flags[@]}" >"$log" 2>&1 || { tail -n 20 "$log" >&2 && exit 1; }
  ninja -C "$tree" ${JOBS:+-j "$JOBS"} "${TOOLS[@]}"
  mkdir -p "$peers/llama.cpp-$level/bin"
  cp "${TOOLS[@]/#/$tree/bin/}" "$peers/llama.cpp-$level/bin/"
}

for level in "${levels[@]}"; do
  if [ -x "$peers/llama.cpp-$level/bin/${TOOLS[-1]}" ]; then continue; fi
  build "$level"
  echo "ready: $peers/llama.cpp-$level/bin"
done
