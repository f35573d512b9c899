#!/usr/bin/env python3
"""How much prompt lookup speeds up an edit of a text: `benches/lookup.py [MODEL] [ROUNDS]`.

The model is shown one edit and makes another, greedily, with `--lookup` and without it, in turns. The tokens must be the
same. Prints the medians of tokens per second, their ratio, and how many guesses stood.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "target/release/stonechat"
TOKENS = 118

SHOWN = """The meeting of the garden club is on Monday at six. Please bring your own tools, a pair of gloves and \
something to drink. We will meet at the gate of the old park and walk to the rose beds together. If it rains on Monday, \
we will meet in the library instead."""
EDITED = """The harbour of the old town lies between two hills. In the morning fishermen bring in their boats, and their \
wives sell the catch on the stone quay. Tourists come from the station at ten, drink coffee in the square and take \
pictures of the lighthouse. In the afternoon the wind turns, and the boats leave again. The lighthouse was built in 1871 \
by an engineer named Thomas Gray, who also built the bridge over the river. It has been automatic since 1968, and the \
house of Thomas Gray is a museum now."""
PROMPT = f"""Text:
{SHOWN}
The same text, with Friday in place of Monday:
{SHOWN.replace("Monday", "Friday")}

Text:
{EDITED}
The same text, with Ada Brown in place of Thomas Gray:
"""


def answer(model: str, *more: str) -> dict:
    """What the program says of one answer."""
    command = [str(PROGRAM), "run", "--raw", "--json", "-n", str(TOKENS), "-c", "1024", *more, "-p", PROMPT]
    command += ["-m", model] if model else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else ""
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    speeds: dict[str, list[float]] = {"plain": [], "lookup": []}
    draft, tokens = {}, 0
    for _ in range(rounds):
        plain, lookup = answer(model), answer(model, "--lookup")
        if plain["ids"] != lookup["ids"]:
            sys.exit("with and without guesses the tokens differ: this is a bug")
        for name, said in (("plain", plain), ("lookup", lookup)):
            speeds[name].append(len(said["ids"]) / said["timings"]["generated_s"])
        draft, tokens = lookup["draft"], len(plain["ids"])
    plain_ts, lookup_ts = (statistics.median(of) for of in speeds.values())
    print(f"{draft['accepted']} of {draft['drafted']} guesses stood in {tokens} tokens, which are the same")
    print(f"plain {plain_ts:.1f} t/s, lookup {lookup_ts:.1f} t/s: {lookup_ts / plain_ts:.2f}x (medians of {rounds} rounds)")


if __name__ == "__main__":
    main()
