"""`dosimeter detectors drift`: the same traffic is steady, other traffic is not, and a state goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example
from dosimeter.detectors.fit import standardise
from dosimeter.detectors.frames import Scope, to_codes
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack, ProbeNote, load_pack, save_pack
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.fitting import loading
from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.packing import known_answer
from dosimeter.monitor.fitting.subject import Tokens
from dosimeter.monitor.lab import MODEL

pytestmark = pytest.mark.parts

WORDS = ("river", "stone", "lamp", "garden", "window", "paper", "copper", "music", "winter")


def texts(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 8)) for _ in range(n)]


def nothing(done: int, of: int) -> None:
    pass


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack along what tells `STONE!` from stone, and a calibration on 150 texts of small letters, 8 times."""
    folder = tmp_path_factory.mktemp("drift")
    lab = Decoder(MODEL)
    known = [lab.tokens(Example(None, "g", t), Scope.ANSWER) for t in texts(150, 0)]
    other = [lab.tokens(Example(None, "g", t.upper()), Scope.ANSWER) for t in texts(50, 1)]
    means = []
    for rows in (known[:50], other):
        found = dict(lab.activations(rows, (2,), nothing))
        means.append(np.concatenate([found[i][rows[i].read] for i in found]))
    probe, mean, sd = standardise(
        "scam", (2,), (means[1].mean(axis=0) - means[0].mean(axis=0)).astype(float), means[0]
    )
    note = ProbeNote("T0", mean, sd, len(means[0]))
    pack = Pack(
        "t/drift", "r", lab.identity, (probe,), (note,), known_answer(lab, [probe], known[0])
    )
    save_pack(pack, folder / "pack")
    scores = dict(lab.scores(known, [pack], nothing))
    made = Calibration.from_requests(
        ProbeBank.from_packs([pack]).columns,
        [(to_codes(scores[i]), known[i].scopes) for i in range(150)] * 8,
        corpus="words", date="2026-01-31",
    )  # fmt: skip
    made.save(folder / "calibration")
    routed = replace(made, routes=("chat", "mail"), route_of=np.zeros(1200, np.uint16))
    routed.save(folder / "routed")
    return folder


def drift(
    scene: Path, live: Sequence[dict[str, Any]], *more: str, calibration: str = "calibration"
) -> int:
    path = scene / "live.jsonl"
    path.write_text("\n".join(map(json.dumps, live)))
    return main(
        ["detectors", "drift", "--calibration", str(scene / calibration), "--pack", str(scene / "pack"),
         "--model", "lab", "--live", str(path), "--false-alarm-days", "30", "--answers-per-day", "20",
         *more]
    )  # fmt: skip


def rows(n: int, seed: int, shout: bool = False) -> list[dict[str, str]]:
    return [{"text": t.upper() if shout else t} for t in texts(n, seed)]


def test_traffic_as_in_the_calibration_is_steady(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift(scene, rows(100, 7)) == 0
    assert "steady   `scam` in scope `answer` scores as in its calibration: 100 requests" in (
        capsys.readouterr().out
    )


def test_other_traffic_has_drifted_and_is_exit_code_1(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift(scene, rows(100, 7, shout=True), "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["drift"]
    assert (found["drifted"], found["direction"], found["promotion_frozen"]) == (True, "up", True)


def test_a_state_goes_on_where_the_last_run_stood(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of fifty are one run of a hundred."""
    state, live = tmp_path / "state.json", rows(100, 9)
    for part in (live[:50], live[50:]):
        assert drift(scene, part, "--state", str(state), "--json") == 0
    parts = json.loads(capsys.readouterr().out.split("}\n{")[-1].join(["{", ""]))
    assert drift(scene, live, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert parts["drift"][0]["requests"] == whole["drift"][0]["requests"] == 100
    assert parts["drift"][0]["statistic"] == pytest.approx(whole["drift"][0]["statistic"], rel=0.05)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", "[1]", '[{"version": 1}]', "[" * 5000])
def test_a_state_that_is_none_is_refused_and_left_as_it_was(
    scene: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.json"
    state.write_text(text)
    assert drift(scene, rows(2, 3), "--state", str(state)) == 4
    assert "error:" in capsys.readouterr().err
    assert state.read_text() == text


def test_rows_of_one_route_are_compared_with_that_route_alone(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = [{**row, "route": "chat"} for row in rows(10, 3)]
    live += [{**row, "route": "mail"} for row in rows(5, 4, shout=True)]
    assert drift(scene, live, "--route", "chat", "--json", calibration="routed") == 0
    assert json.loads(capsys.readouterr().out)["drift"][0]["requests"] == 10
    assert drift(scene, live, "--route", "mail", calibration="routed") == 4  # none calibrated by it
    assert "requests with a score there" in capsys.readouterr().err
    assert drift(scene, live, "--route", "fax", calibration="routed") == 4
    assert "route `fax` is not calibrated" in capsys.readouterr().err
    assert drift(scene, rows(3, 3), "--route", "chat", calibration="routed") == 4
    assert "holds no row of route `chat`" in capsys.readouterr().err


def test_a_calibration_of_another_pack_is_refused(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Calibration.load(scene / "calibration")
    replace(other, packs=("cd" * 32,)).save(scene / "other")
    assert drift(scene, rows(2, 3), calibration="other") == 4
    assert "was calibrated with another pack" in capsys.readouterr().err
    replace(other, features=("other",)).save(scene / "missing")
    assert drift(scene, rows(2, 3), calibration="missing") == 4
    assert "`scam` is not calibrated" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["0", "-3", "nan", "inf", "soon"])
def test_a_promise_that_is_none_is_usage(scene: Path, days: str) -> None:
    with pytest.raises(SystemExit) as caught:
        drift(scene, rows(2, 3), f"--false-alarm-days={days}")
    assert caught.value.code == 2


class LastAlone:
    """A fake reader: of a conversation it reads the last message alone; a word scores its length in letters."""

    reads, window = "reader", None

    def __init__(self, identity: ModelIdentity) -> None:
        self.identity = identity

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        ids = tuple(len(word) for word in example.words.split())
        return Tokens(ids, np.full(len(ids), scope, np.uint8), np.ones(len(ids), np.bool_))

    def scores(self, tokens: Sequence[Tokens], packs: Any, tell: Any) -> Iterator[tuple[int, Any]]:
        for i, one in enumerate(tokens):
            yield i, np.array(one.ids, np.float32)[:, None]


def asked(n: int, seed: int) -> list[dict[str, Any]]:
    """Questions of short words, answers of long ones."""
    rng = np.random.default_rng(seed)
    return [
        {"messages": [{"role": "user", "content": "x" * int(rng.integers(1, 40))},
                      {"role": "assistant", "content": "y" * int(rng.integers(60, 100))}]}
        for _ in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("scope", ["message", "answer"])
def test_of_a_conversation_a_reader_compares_what_the_calibration_has_of_it(
    scene: Path, scope: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = load_pack(scene / "pack")
    reader: Any = LastAlone(pack.model)
    monkeypatch.setattr(loading, "open_subject", lambda where: reader)
    known = [
        Example(None, str(i), None, tuple(one["messages"])) for i, one in enumerate(asked(1000, 0))
    ]
    requests = requests_of(reader, [pack], known, {Scope.MESSAGE, Scope.ANSWER})
    calibrate(
        reader, [pack], requests, nothing, corpus="asked", date="2026-01-31", labelled=False
    ).save(scene / "asked")
    alone: list[dict[str, Any]] = [{"messages": one["messages"][:1]} for one in asked(10, 2)]
    assert drift(scene, asked(100, 1) + alone, "--scope", scope, calibration="asked") == 0
    said = capsys.readouterr()
    assert f"{110 if scope == 'message' else 100} requests, evidence" in said.out
    assert ("10 rows left out: no answer" in said.err) is (scope == "answer")
