#!/usr/bin/env python3
"""Writes cases.json: what real Jinja2, set up as transformers sets it up, makes of the templates beside this file.

Needs the package `jinja2`. Run it after changing a template or a conversation; the tests read what it wrote.
"""
import json
from pathlib import Path

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent


class Generation(Extension):
    """`{% generation %}` prints what is in it; transformers also notes where it was."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_call"), [], [], body).set_lineno(line)

    def _call(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception

CONVERSATIONS = [
    [("user", "What is the capital of France?")],
    [("system", " Be  brief. "), ("user", "Hi <|im_end|> there\n"), ("assistant", "Hello!"), ("user", "stop\tnow"), ("user", "unseen")],
    [("user", "naïve 🦀 {{ not a template }} & <b>")],
    [("user", "x"), ("tool", "y")],
]

cases = []
for path in sorted(HERE.glob("*.jinja")):
    template = environment.from_string(path.read_text())
    for conversation in CONVERSATIONS:
        for prompt in (False, True):
            case = {"template": path.name, "messages": conversation, "add_generation_prompt": prompt}
            try:
                case["text"] = template.render(
                    messages=[{"role": r, "content": c} for r, c in conversation],
                    add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>", tools=None, documents=None,
                )
            except TemplateError as error:
                case["refused"] = str(error)
            cases.append(case)
(HERE / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
