#!/usr/bin/env python3
"""Runs commands in a terminal of their own and draws what a person sees there as an SVG.

    scripts/terminal-svg.py docs/terminal.svg 'stonechat run "Name the capital of France."' ...

Needs nothing but Python. `stonechat` in a command means target/release/stonechat; in the picture it stays as typed.
"""

import html
import os
import pty
import re
import select
import sys

WIDTH, LINE, CHAR, MARGIN = 100, 18, 8.43, 16
PROGRAM = os.path.join(os.path.dirname(__file__), "..", "target", "release")


def seen(command):
    """What a terminal of WIDTH columns shows once the command has ended."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": str(WIDTH), "TERM": "xterm", "PATH": PROGRAM + ":" + os.environ["PATH"]}
        os.execvp("sh", ["sh", "-c", command])
    output = b""
    while select.select([terminal], [], [], 120)[0]:
        try:
            output += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{command}: ended badly\n{output.decode()}")
    lines = []
    for line in output.decode().replace("\r\n", "\n").rstrip("\n").split("\n"):
        # A line that was written over: what came last, where the rest was erased.
        line = re.sub(r"^.*\r(\x1b\[K)?", "", line)
        line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)
        lines += [line[i : i + WIDTH] for i in range(0, max(len(line), 1), WIDTH)]
    return lines


def main(path, commands):
    rows = []
    for command in commands:
        rows.append((command, True))
        rows += [(line, False) for line in seen(command)] + [("", False)]
    rows.pop()
    width, height = WIDTH * CHAR + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN
    with open(path, "w", encoding="utf-8") as out:
        out.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
            f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n'
            f'<rect width="100%" height="100%" rx="8" fill="#16181d"/>\n'
        )
        for index, (text, typed) in enumerate(rows):
            y = MARGIN + LINE * index + 13
            prompt = '<tspan fill="#7aa2f7">$ </tspan>' if typed else ""
            colour = "#ffffff" if typed else "#c8ccd4"
            if text:
                out.write(
                    f'<text x="{MARGIN}" y="{y}" fill="{colour}" xml:space="preserve">'
                    f"{prompt}{html.escape(text)}</text>\n"
                )
        out.write("</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
