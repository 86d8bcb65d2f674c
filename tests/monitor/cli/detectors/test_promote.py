"""`dosimeter detectors promote` as an operator runs it: what passes is copied, what does not is not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from dosimeter.detectors.examples import load_examples
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import load_pack
from dosimeter.monitor.cli.detectors import promote
from dosimeter.monitor.lab import PACK


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    promote.add(commands)
    parsed = parser.parse_args([str(word) for word in argv])
    code: int = parsed.run(parsed)
    return code


def test_the_labs_pack_is_promoted_by_no_suite_of_real_scams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was fitted on the lab's own little world, and its card says so."""
    ordinary = tmp_path / "ordinary.jsonl"
    texts = [f"Meeting {i} is in room {i}." for i in range(100)]
    ordinary.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    folder = tmp_path / "features"
    rows = [f"Your parcel {i} is held: pay 1.99 at parcel-{i}.example" for i in range(5)]
    make_feature(folder, "scam", rows)
    told = ("promote", PACK, "--model", "lab", "--to", tmp_path / "packs", "--features", folder,
            "--ordinary", ordinary, "--date", "2026-01-31")  # fmt: skip
    code = run(*told)
    shown = capsys.readouterr()
    assert code == 1
    assert not (tmp_path / "packs").exists()
    assert "suite of scam, version 1" in shown.out
    relaxed = folder / "scam" / "suite.yaml"
    relaxed.write_text(relaxed.read_text().replace("1.0", "0.0"))
    assert run(*told) == 1  # three features have no suite
    assert "--without-suite" in capsys.readouterr().err
    assert run(*told, "--without-suite", "lab only", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["suites"][0]["passed"]
    assert load_pack(Path(document["promoted"])).digest == load_pack(PACK).digest
    with pytest.raises(InputError, match="a pack stands here"):
        run(*told, "--without-suite", "lab only")


def make_feature(folder: Path, name: str, rows: list[str]) -> None:
    from dosimeter.detectors.registry import FEATURES

    place = folder / name
    place.mkdir(parents=True)
    (place / "feature.yaml").write_bytes((FEATURES / name / "feature.yaml").read_bytes())
    (place / "suite.yaml").write_text(
        f"feature: {name}\nversion: 1\nlevel_exceeded_by_at_most: 0.01\nwhy: a test\n"
        "bars:\n  - {kind: sms, catches_at_least: 1.0}\n"
    )
    lines = [json.dumps({"kind": "sms", "label": 1, "text": text}) + "\n" for text in rows]
    (place / "suite.jsonl").write_text("".join(lines))
    assert len(load_examples(place / "suite.jsonl")) == len(rows)
