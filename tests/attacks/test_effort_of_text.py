"""Files built to be slow: what reading them costs grows with their size, never with its square.

Calls are counted, so that the figures are the same on any machine. Work that Python does without a call, such as
a search in a list, shows only as time: there a file is read against the parse of the same file alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from targets.effort import calls

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import load
from dosimeter.monitor.config import load_config
from dosimeter.rules.language.schema import read_rules

RULE = (
    "- {{rule: r{i}, when: {{feature: x, in: answer, above: z 1}}, status: draft, severity: low, "
    'summary: "{text}"}}\n'
)
BOMBS: dict[str, Callable[[int], str]] = {
    "unknown keys": lambda n: "".join(f"versoin{i}: 1\n" for i in range(n)),
    "long unknown keys": lambda n: f"{'versio' * n}: 1\n",
    "one rule many times": lambda n: rules("".join(RULE.format(i=0, text="a") for _ in range(n))),
    "many rules": lambda n: rules("".join(RULE.format(i=i, text="a") for i in range(n))),
    "many fields": lambda n: rules(
        "".join(RULE.format(i=i, text="{a}" * 90) for i in range(n // 50))
    ),
    "braces": lambda n: rules("".join(RULE.format(i=i, text="{" * 290) for i in range(n // 50))),
    "wrong everything": lambda n: rules(
        "- {rule: [], when: 1, status: liev, severity: hihg}\n" * n
    ),
    "levels": lambda n: rules(
        "".join(RULE.format(i=i, text="a").replace("z 1", "z" + " " * 70) for i in range(n))
    ),
    "nesting": lambda n: "a: " + "[" * n,
    "quotes": lambda n: "a: '" + "''" * n,
    "aliases": lambda n: "".join(f"- &a{i} *a{i}\n" for i in range(n)),
    "comments": lambda n: "# a\n" * n + "version: 1\n",
    "folded": lambda n: "a: >\n" + "  b\n\n" * n,
}


def rules(text: str) -> str:
    return f"version: 1\nrules:\n{text}"


def read(text: str) -> None:
    try:
        read_rules(load(text, "f.yaml"), Reader())
    except InputError as error:
        str(error)


@pytest.mark.parametrize("name", BOMBS)
def test_twice_the_file_is_about_twice_the_work(name: str) -> None:
    small, large = (calls(lambda n=n: read(BOMBS[name](n))) for n in (400, 800))
    assert large < 2.4 * small + 1000


@pytest.mark.parametrize("name", ["headers", "resource", "security"])
def test_a_mapping_of_foreign_keys_costs_little_more_than_its_parse(
    tmp_path: Path, name: str
) -> None:
    """Found 2026-11-20: each key was looked for in a list of all, so a configuration of 1 MiB took a minute."""
    sink = "kafka" if name == "security" else "otlp"
    target = "bootstrap: a" if name == "security" else "endpoint: http://a"
    keys = "".join(f"      ssl_{i}: 1\n" for i in range(30_000))
    text = f"version: 1\nsinks:\n  {sink}:\n    {target}\n    {name}:\n{keys}"
    path = tmp_path / "sidecar.yaml"
    path.write_text(text)
    began = time.process_time()
    load(text, "f.yaml")
    parsed = time.process_time()
    with suppress(InputError):  # those of `security` are none
        load_config(path)
    assert time.process_time() - parsed < 4 * (parsed - began)
