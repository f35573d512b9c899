# What one does often. `just` lists the recipes; `just check` is what CI runs.

# Lists the recipes.
default:
    @just --list --unsorted

# Sets up what is missing and checks everything (the same as ./test).
check:
    ./test

# Answers one question: `just run "Why is the sea salt?"`.
run prompt="What is the capital of France?":
    cargo run --release -- run "{{prompt}}"

# Native tests only.
test *arguments:
    cargo test --workspace {{arguments}}

# Answers under ten JSON schemas, judged: many more than ./test takes.
schemas generations="1000":
    STONECHAT_GENERATIONS={{generations}} cargo test --release --test constrained whatever_is_sampled -- --nocapture

# What a grammar takes of the time of a token (5 % at most is meant). Let the machine do nothing else.
grammar-cost:
    cargo bench --bench grammar

# Kills the program while it saves a conversation, and looks whether a whole one is there.
kills times="200":
    STONECHAT_KILLS={{times}} cargo test --release --test chat killed -- --nocapture

# Malformed requests to a server: many more than ./test sends.
malformed requests="10000":
    STONECHAT_MALFORMED={{requests}} cargo test --test serve malformed -- --nocapture

# Formats the code.
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml
    cargo fmt --manifest-path benches/peers/candle/Cargo.toml
    cargo fmt --manifest-path targets/cortex-m/Cargo.toml
    cargo fmt --manifest-path targets/raspberry-pi-bare-metal/Cargo.toml

# Format check, shell scripts and clippy, natively and for aarch64.
lint:
    ./test setup format scripts lint setup_cross lint_aarch64

# Tests for aarch64 under qemu, as an A53 (NEON), an A76 (+ dotprod) and with all that qemu knows; and boards without an OS.
cross:
    ./test setup_cross boards cross_build cross_cortex_a53 cross_cortex_a76 cross_max

# 32 clients at a server for ten minutes each: equal texts whatever the load, memory that stays, and who goes away.
storm seconds="600" same="200":
    cargo build --release
    STONECHAT_STORM={{seconds}} STONECHAT_SAME={{same}} scripts/storm.sh

# Serving many clients beside llama.cpp's server (benches/peers/build_llama_cpp.sh).
serving model *arguments:
    cargo build --release
    python3 benches/serving.py {{model}} {{arguments}}

# Asks a server by the clients that people have.
clients:
    cargo build --release
    scripts/clients.sh

# Kubernetes' manifests, gateways and Ray: all of them, or `just deploy-test test_ray`.
deploy-test *tests:
    cargo build --release
    scripts/deploy.sh target/release/stonechat {{tests}}

# They show speeds: let the machine do nothing else for `--pictures`.
# Looks at a server's page in a browser, or draws docs/page-*.png anew: `just page --pictures`.
page *arguments:
    cargo build --release
    scripts/page.sh {{arguments}}

# The Debian package of a Linux board, for arm64: `just deb raspberry-pi-5`.
deb board="raspberry-pi-5" *arguments:
    TARGETS=aarch64-unknown-linux-gnu scripts/setup-cross.sh
    scripts/deb.sh {{board}} {{arguments}}

# The recorded bits on 32-bit ARM with Linux, under qemu-arm.
armv7:
    TARGETS=armv7-unknown-linux-gnueabihf scripts/setup-cross.sh
    scripts/armv7.sh

# Boots Stonechat on emulated Cortex-M4, M7 and M33 without an OS, and compares a story with this machine's.
cortex-m prompt="Once upon a time":
    scripts/board.sh cortex-m "{{prompt}}"

# The same on an emulated Raspberry Pi 3 with four cores.
pi3 prompt="Once upon a time":
    scripts/board.sh pi3 "{{prompt}}"

# The same on an emulated Raspberry Pi 4, by the same image (QEMU 9 or later, which scripts/setup-cross.sh sets up).
pi4 prompt="Once upon a time":
    scripts/board.sh pi4 "{{prompt}}"

# Counts the instructions of a step on emulated ARM CPUs: `just count-instructions model.gguf`, or with `--record` into benches/record.
count-instructions *arguments:
    scripts/count-instructions.sh {{arguments}}

# Conversations of many thousand tokens in a context of 1,024: memory, and what a shift costs in perplexity.
long tokens="20000":
    STONECHAT_LONG={{tokens}} cargo test --release --test long -- --nocapture

# How much prompt lookup speeds up an edit of a text.
lookup model="" rounds="9":
    cargo build --release
    benches/lookup.py "{{model}}" {{rounds}}

# API documentation, in the browser.
doc:
    cargo doc --workspace --no-deps --open

# Draws docs/terminal.svg anew from what the program says. It shows speeds: let the machine do nothing else.
picture:
    cargo build --release
    scripts/terminal-svg.py docs/terminal.svg 'stonechat run "Name the capital of France."' \
        'stonechat plan smollm2-135m -c 2048' 'stonechat logits -p "The capital of France is" --hash' \
        'stonechat logits -p "The capital of France is" --hash --cpu reference -t 1 -b 3'

# Remakes tests/golden (needs Python, a C++ compiler and 8 GB of disk for torch).
golden:
    tests/golden/make/make.sh

# Chat templates whose licences keep them out of this repository (Llama 3, Gemma and others, from llama.cpp's source), written by
# transformers and by us. After `just golden`.
templates:
    mkdir -p target/golden/further/templates
    cp target/golden/llama.cpp/models/templates/*.jinja target/golden/further/templates/
    .venv/bin/python tests/golden/make/templates_golden.py target/golden/further/templates
    STONECHAT_GOLDEN=$PWD/target/golden/further cargo test -p stonechat-runtime --lib further_templates

# Fuzzes the GGUF reader for some seconds, seeded with the small files of tests/golden. Needs a nightly toolchain and cargo-fuzz.
fuzz-gguf seconds="60":
    mkdir -p fuzz/corpus/gguf_parse
    cp tests/golden/tokenizers/*.gguf fuzz/corpus/gguf_parse/
    cargo +nightly fuzz run gguf_parse -- -max_len=65536 -max_total_time={{seconds}}

# Property tests with more cases than ./test takes.
properties cases="20000":
    PROPTEST_CASES={{cases}} cargo test --workspace --release

# Measures kernels: all, or those that the words match (`just bench matmul Q4_0/avx512`).
bench kind="matmul" filter="":
    cargo bench --bench {{kind}} -- {{filter}}

# Measures Stonechat against its peers, on the models that it makes (an hour the first time: it builds the peers).
peers *arguments:
    cargo build --release
    benches/peers/build_llama_cpp.sh
    benches/peers/build_candle.sh
    benches/peers/make_models.sh
    python3 benches/peers run {{arguments}} target/peers/models/*.gguf
