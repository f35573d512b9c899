#!/usr/bin/env python3
"""Writes crates/core/src/vocabulary/unicode_table.rs: the character classes that pre-tokenizers ask for.

    python3 -m pip install unicodedata2==15.1.0
    python3 scripts/unicode-tables.py

The Unicode version is fixed, so that every machine writes the same table; it is the one that llama.cpp's classes
agree with. Python's own `unicodedata` is used where it has that version.
"""

import pathlib
import sys

VERSION = "15.1.0"
OUTPUT = pathlib.Path(__file__).parent.parent / "crates/core/src/vocabulary/unicode_table.rs"

# In the order of `Class` in unicode.rs.
OTHER, LETTER, NUMBER, SPACE = range(4)

# White_Space of PropList.txt, which `unicodedata` does not tell.
SPACES = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def find_unicodedata():
    import unicodedata

    if unicodedata.unidata_version != VERSION:
        try:
            import unicodedata2 as unicodedata
        except ImportError:
            pass
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"Unicode {VERSION} is needed: python3 -m pip install unicodedata2=={VERSION}")
    return unicodedata


def main():
    category = find_unicodedata().category

    def classify(point):
        if point in SPACES:
            return SPACE
        return {"L": LETTER, "N": NUMBER}.get(category(chr(point))[0], OTHER)

    entries = []
    previous = None
    for point in range(0x110000):
        found = classify(point)
        if found != previous:
            entries.append(point << 2 | found)
            previous = found

    numbers = [f"{entry:#09x}" for entry in entries]
    lines = ["    " + ", ".join(numbers[i : i + 9]) + "," for i in range(0, len(numbers), 9)]
    OUTPUT.write_text(
        f"//! Written by scripts/unicode-tables.py from Unicode {VERSION}; not to be edited by hand.\n\n"
        "/// Where each run of characters of one class begins: `code point << 2 | class`, ascending.\n"
        "#[rustfmt::skip]\n"
        "#[allow(clippy::unreadable_literal)]\n"
        f"pub(super) static RUNS: [u32; {len(entries)}] = [\n" + "\n".join(lines) + "\n];\n"
    )
    print(f"{OUTPUT}: {len(entries)} runs")


main()
