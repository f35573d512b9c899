#!/usr/bin/env python3
"""Writes crates/core/src/vocabulary/unicode_table.rs: what tokenizers ask of characters.

    python3 -m pip install unicodedata2==15.1.0
    python3 scripts/unicode-tables.py

The Unicode version is fixed, so that every machine writes the same table; it is the one that llama.cpp's classes
agree with. Python's own `unicodedata` is used where it has that version.
"""

import pathlib
import sys

VERSION = "15.1.0"
OUTPUT = pathlib.Path(__file__).parent.parent / "crates/core/src/vocabulary/unicode_table.rs"

# In the order of `Class` in unicode.rs. After the classes, a run in which upper and lower case alternate.
CLASSES = ["Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "No", "Pc", "P", "S", "Z", "C"]
ALTERNATING = len(CLASSES)

# White_Space of PropList.txt, which `unicodedata` does not tell. It has all of Z.
SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

HANGUL = range(0xAC00, 0xD7A4)
SURROGATES = range(0xD800, 0xE000)
POINTS = range(0x110000)


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


def class_runs(data):
    """Where each run of characters of one class begins, and the class."""

    def classify(point):
        if point in SPACES:
            return "Z"
        category = data.category(chr(point))
        return {"Me": "Mc", "Nl": "No"}.get(category, category if category in CLASSES else category[0])

    classes = [classify(point) for point in POINTS]
    start = 0
    while start < len(classes):
        end = start
        while classes[end : end + 2] == ["Lu", "Ll"]:
            end += 2
        if end >= start + 4:
            yield start, ALTERNATING
        else:
            end = start + 1
            while end < len(classes) and classes[end] == classes[start]:
                end += 1
            yield start, CLASSES.index(classes[start])
        start = end


def bases(data):
    """Characters that are others with accents: what is left of their decomposition without the accents."""
    for point in POINTS:
        if point in HANGUL or point in SURROGATES or data.category(chr(point)) == "Mn":
            continue
        parts = [ord(c) for c in data.normalize("NFD", chr(point)) if data.category(c) != "Mn"]
        if parts != [point]:
            yield point, parts


def rust(name, comment, kind, entries, per_line):
    lines = ["    " + ", ".join(entries[i : i + per_line]) + "," for i in range(0, len(entries), per_line)]
    body = "\n".join(lines)
    return (
        f"\n/// {comment}\n#[rustfmt::skip]\n#[allow(clippy::unreadable_literal)]\n"
        f"pub(super) static {name}: [{kind}; {len(entries)}] = [\n{body}\n];\n"
    )


def main():
    data = find_unicodedata()
    runs = [f"{start << 4 | found:#x}" for start, found in class_runs(data)]
    narrow, wide, many = [], [], []
    for point, parts in bases(data):
        if len(parts) > 1:
            many.append(f"[{', '.join(f'{p:#x}' for p in [point, *parts, 0, 0][:4])}]")
        else:
            (narrow if max(point, *parts) < 0x10000 else wide).append(f"[{point:#x}, {parts[0]:#x}]")
    OUTPUT.write_text(
        f"//! Written by scripts/unicode-tables.py from Unicode {VERSION}; not to be edited by hand.\n"
        + rust("RUNS", "Where each run of characters of one class begins: `code point << 4 | class`, ascending.", "u32", runs, 10)
        + rust("BASES", "Characters that are others with accents, and those, ascending.", "[u16; 2]", narrow, 6)
        + rust("WIDE_BASES", "As [`BASES`], where either lies beyond U+FFFF.", "[u32; 2]", wide, 5)
        + rust("MANY_BASES", "Characters that are two or three others with accents, and those; 0 is none.", "[u32; 4]", many, 3)
    )
    print(f"{OUTPUT}: {len(runs)} runs, {len(narrow)} + {len(wide)} + {len(many)} characters with accents")


main()
