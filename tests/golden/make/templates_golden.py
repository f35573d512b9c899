#!/usr/bin/env python3
"""Writes cases.json.gz beside chat templates: what transformers makes of conversations with each of them.

    templates_golden.py [FOLDER]

FOLDER holds templates of models, `NAME.jinja`; without it, ../templates, whose templates are under the Apache licence 2.0
or the MIT licence. Templates of models under other licences belong into the folder `templates` of the further goldens
(`STONECHAT_GOLDEN`). Needs the packages `transformers` and `jinja2`.
"""

import gzip
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
# When "now" is, in seconds since 1970: a noon in UTC, so that the day is the same nearly everywhere.
NOW = 1_764_072_000


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(NOW, timezone.utc)


chat_template_utils.datetime = Clock


def said(role, content, **more):
    return {"role": role, "content": content} | more


def call(name, arguments, number):
    return {"type": "function", "id": f"call{number:05}", "function": {"name": name, "arguments": arguments}}


def tool(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool("get_weather", "Tells the weather \"now\" & <soon>.", {
        "city": {"type": "string", "description": "A city, like Zürich"},
        "unit": {"type": "string", "enum": ["°C", "°F"], "default": "°C"},
    }, ["city"]),
    tool("add", "Adds numbers.", {
        "numbers": {"type": "array", "items": {"type": "number"}},
        "factor": {"type": "number", "default": 1.0},
        "exact": {"type": "boolean", "default": False},
        "note": {"type": "string", "nullable": True},
    }, []),
]  # fmt: skip
SYSTEM = said("system", " Be brief,  and \"kind\".\n")
HELLO = said("user", "Hi there")
TURN = [HELLO, said("assistant", "Hello! How are you?"), said("user", "  Fine.\n\n2 < 3 && 'x' ")]
ASK = said("user", "What is the weather in Zürich?")
CALLED = [
    ASK,
    said("assistant", "", tool_calls=[call("get_weather", {"city": "Zürich", "unit": "°C"}, 1)]),
    said("tool", '{"degrees": 21.5, "sky": "clear \\u2600"}', name="get_weather", tool_call_id="call00001"),
]
TWICE = [
    said("user", "Add 1, 2 and 1e20"),
    said("assistant", "Let me see.", tool_calls=[
        call("add", {"numbers": [1, 2.0, 1e20, -0.5e-7], "exact": True, "note": None}, 2), call("add", {}, 3),
    ]),
    said("tool", "3", name="add", tool_call_id="call00002"),
    said("tool", "0", name="add", tool_call_id="call00003"),
]  # fmt: skip
THOUGHT = [HELLO, said("assistant", "<think>\nA greeting.\n</think>\n\nHello!"), said("user", "And now?")]
REASONED = [HELLO, said("assistant", "Hello!", reasoning_content="A greeting."), said("user", "And now?")]
UNICODE = [said("user", "naïve 🦀 {{ no template }} </s> 日本語\u0301 \u00a0 \t| \\n")]

CASES = [
    ([HELLO], {}),
    ([SYSTEM, HELLO], {}),
    (TURN, {}),
    ([SYSTEM, *TURN], {}),
    (UNICODE, {}),
    ([HELLO], {"enable_thinking": False}),
    ([SYSTEM, HELLO], {"enable_thinking": True}),
    (THOUGHT, {}),
    (THOUGHT, {"enable_thinking": False}),
    (REASONED, {}),
    ([ASK], {"tools": TOOLS}),
    ([SYSTEM, ASK], {"tools": TOOLS}),
    (CALLED, {"tools": TOOLS}),
    ([SYSTEM, *CALLED, said("assistant", "21.5 °C."), said("user", "Thanks")], {"tools": TOOLS}),
    (TWICE, {"tools": TOOLS}),
    ([HELLO], {"documents": [{"title": "A", "text": "Some text."}]}),
    ([SYSTEM, HELLO], {"reasoning_effort": "high", "model_identity": "You are Stone.", "date_string": "1 May"}),
    ([HELLO, said("user", "Again")], {}),
    ([said("assistant", "I begin.")], {}),
    ([said("stranger", "Who?")], {}),
]


def render(template, messages, options, prompt):
    options = dict(options)
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            [messages],
            tools=options.pop("tools", None),
            documents=options.pop("documents", None),
            chat_template=template,
            add_generation_prompt=prompt,
            bos_token="<s>",
            eos_token="</s>",
            **options,
        )
        return {"text": texts[0]}
    except TemplateError as error:
        # The template's own words, or what jinja has against it.
        own = type(error) is TemplateError
        return {"refused": str(error)} if own else {"fails": f"{type(error).__name__}: {error}"}
    except Exception as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "templates"
    conversations, cases = [], []
    for messages, _ in CASES:
        if messages not in conversations:
            conversations.append(messages)
    for path in sorted(folder.glob("*.jinja")):
        template = path.read_text()
        if "|safe" in template:
            # Strings that remember that they are HTML, and escape what is added to them: one model family wants it.
            print(f"{path.name} is left out: its text depends on escaping for HTML")
            continue
        for messages, options in CASES:
            for prompt in (True, False):
                # What a generation prompt does is seen where there is little else.
                if not prompt and len(messages) > 3:
                    continue
                case = {"template": path.name, "messages": conversations.index(messages)}
                case |= {"options": {k: v for k, v in options.items() if k != "tools"}}
                case |= {"tools": "tools" in options, "add_generation_prompt": prompt}
                cases.append(case | render(template, messages, options, prompt))
    whole = {"now": NOW, "tools": TOOLS, "conversations": conversations, "cases": cases}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).replace('{"template"', '\n{"template"')
    (folder / "cases.json.gz").write_bytes(gzip.compress((text + "\n").encode(), 9, mtime=0))
    failed = sum("fails" in case for case in cases)
    refused = sum("refused" in case for case in cases)
    print(f"{folder.name}: {len(cases)} cases, {refused} refused by their template, {failed} fail")


if __name__ == "__main__":
    main()
