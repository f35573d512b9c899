#!/usr/bin/env bash
# Makes the models that are measured, in target/peers/models:
#
#   llama-3.2-1b-{Q4_0,Q8_0,Q4_K_M}.gguf   the shape of Llama 3.2 1B with random weights (synthetic_model.py)
#   smollm2-135m-{Q4_1,Q4_0,Q8_0}.gguf     SmolLM2-135M-Instruct: Q4_1 as it is pulled, the others quantized again from it
#   format-*.gguf                          with `make_models.sh formats`: four layers in each format there is (format_models.py)
#
# Needs Python 3 with venv and pip, a release build of Stonechat (which pulls SmolLM2) and llama-quantize from
# build_llama_cpp.sh native. Idempotent: what is there stays.
set -euo pipefail
cd "$(dirname "$0")/../.."

target="$PWD/${CARGO_TARGET_DIR:-target}"
models="$target/peers/models"
quantize="${LLAMA_CPP_NATIVE_BIN:-$target/peers/llama.cpp-native/bin}/llama-quantize"
[ -x "$quantize" ] || {
  echo "there is no $quantize: benches/peers/build_llama_cpp.sh native" >&2
  exit 1
}
case "$#:${1:-}" in
  0: | 1:formats) ;;
  *) echo "there is no '$*' to make; there is: formats" >&2 && exit 2 ;;
esac
mkdir -p "$models"

# quantized IN OUT TYPE
quantized() {
  [ -e "$2" ] && return
  "$quantize" --allow-requantize "$1" "$2.part" "$3" >"$models/quantize.log" 2>&1 || {
    tail -n 5 "$models/quantize.log" >&2
    return 1
  }
  mv "$2.part" "$2"
}

small="$models/smollm2-135m-Q4_1.gguf"
if [ ! -e "$small" ]; then
  pulled="$(cargo run --quiet --release -- pull smollm2-135m)"
  cp "$pulled" "$small"
fi
for type in Q4_0 Q8_0; do quantized "$small" "$models/smollm2-135m-$type.gguf" "$type"; done

venv="$target/peers/venv"
python() {
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet gguf numpy
  "$venv/bin/python" "$@"
}
if [ "${1:-}" = formats ]; then
  python benches/peers/format_models.py "$small" "$models"
  ls -l "$models"/format-*.gguf
  exit
fi

large=("$models"/llama-3.2-1b-{Q4_0,Q8_0,Q4_K_M}.gguf)
if [ ! -e "${large[0]}" ] || [ ! -e "${large[1]}" ] || [ ! -e "${large[2]}" ]; then
  unquantized="$models/llama-3.2-1b-F16.gguf"
  python benches/peers/synthetic_model.py "$small" "$unquantized"
  for type in Q4_0 Q8_0 Q4_K_M; do quantized "$unquantized" "$models/llama-3.2-1b-$type.gguf" "$type"; done
  rm "$unquantized"
fi
ls -l "$models"/*.gguf
