"""A capture of a model's own traffic, under labels, becomes a pack: nothing is run a second time for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its threads are limited below
import torch
from threadpoolctl import threadpool_limits

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, ProbeNote, bind, load_pack, save_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.capture.folder import KEY, Capture, CaptureWriter, make_key
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.packing import known_answer
from dosimeter.monitor.fitting.subject import Tokens
from dosimeter.monitor.fitting.traffic import Traffic, lesson_of, number
from dosimeter.monitor.lab import MODEL
from dosimeter.monitor.taps.attach import attach, capture
from dosimeter.monitor.taps.probe_op import first
from dosimeter.monitor.taps.requests import Ticket
from dosimeter.monitor.taps.seams import current_ticket
from tests.monitor.taps.capture_scene import scene_of

LAYERS = (1, 2)
N, NEW, PROMPT = 240, 6, 12


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another cost five times the arithmetic of problems as small as these."""
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Caught:
    folder: Path
    lab: Decoder
    silent: int  # requests whose tenant keeps its words, the last ones


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> Caught:
    """Random prompts answered by the lab model's `generate`; a tenant that chose content asks most of them."""
    lab, folder = Decoder(MODEL), tmp_path_factory.mktemp("captured")
    rng = np.random.default_rng(0)
    ordinary = np.flatnonzero(~lab.special(range(1000)))
    about = {
        "width": lab.width, "blocks": lab.blocks,
        "model": {"name": lab.identity.name, "digest": lab.identity.digest},
    }  # fmt: skip
    model = lab.model
    with (
        scene_of(model, capture(model, LAYERS), about) as it,
        it.captured(into=lambda said: CaptureWriter(folder, make_key(folder / KEY), said, shard_bytes=1 << 20),
                    layers=LAYERS),
    ):  # fmt: skip
        for content in (*(True,) * (N // 20), False):
            ticket = Ticket({"route": "chat"}, frozenset(), content=content)
            token = current_ticket.set(ticket)
            torch.manual_seed(int(rng.integers(1 << 30)))
            model.generate(
                torch.tensor(rng.choice(ordinary, (20, PROMPT))), do_sample=True, max_new_tokens=NEW,
                eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
            current_ticket.reset(token)
    return Caught(folder, lab, 20)


def test_rows_of_a_request_are_its_own_and_scopes_are_those_of_its_tokens(caught: Caught) -> None:
    traffic = Traffic(caught.lab, Capture(caught.folder))
    requests = list(traffic.capture.requests.values())
    assert len(requests) == N + caught.silent
    one = requests[3]
    row = traffic.example(one, Scope.ANSWER, True)
    assert row is not None
    tokens = traffic.tokens(row, Scope.ANSWER)
    assert tokens.ids == one.ids[:-1]
    assert tokens.scopes.tolist() == [Scope.MESSAGE] * PROMPT + [Scope.ANSWER] * (NEW - 1)
    ((_, rows),) = traffic.activations([tokens], (2,), lambda done, of: None)
    found: list[np.ndarray] = []
    block = caught.lab.model.model.layers[2]
    hook = block.register_forward_hook(lambda module, args, out: found.append(first(out).numpy()))
    with torch.no_grad():
        caught.lab.model(torch.tensor([tokens.ids]), use_cache=False)
    hook.remove()
    assert np.abs(found[0].reshape(rows[:, 0].shape) - rows[:, 0]).max() < 1e-4


def test_a_tenant_that_keeps_its_words_gives_no_row_to_learn_from(caught: Caught) -> None:
    traffic = Traffic(caught.lab, Capture(caught.folder))
    assert sum(not one.ids for one in traffic.capture.requests.values()) == caught.silent
    every = {number(one): i % 2 == 0 for i, one in enumerate(traffic.capture.requests.values())}
    found = lesson_of(load_features()["scam"], traffic, {**every, (1, 1): True})
    assert (len(found.lesson.own), found.unworded, found.unknown) == (N, caught.silent, 1)


def test_no_level_is_placed_on_a_conversation_that_is_fitted_on(caught: Caught) -> None:
    """Three requests each: of every conversation one is labelled, but for the last ten."""
    made = Capture(caught.folder)
    worded = [one for one in made.requests.values() if one.ids]
    made.requests = {
        one.name: replace(one, labels={"conversation": f"c{i // 3}"})
        for i, one in enumerate(worded)
    }
    labels = {number(one): i % 2 == 0 for i, one in enumerate(worded[: N - 30]) if i % 3 == 0}
    found = lesson_of(load_features()["scam"], Traffic(caught.lab, made), labels)
    assert len(found.lesson.own) == (N - 30) // 3
    assert {row.group for row in found.lesson.benign} == {
        f"c{i}" for i in range(N // 3 - 10, N // 3)
    }
    assert (len(found.lesson.benign), found.fitted) == (30, 2 * (N - 30) // 3)


def test_labels_of_one_feature_are_not_taken_for_another(
    caught: Caught, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("request,label\n")
    code = main([
        "detectors", "build", "--model", "lab", "--feature", "scam", "--feature", "deception", "--capture",
        str(caught.folder), "--labels", str(labels), "--out", str(tmp_path / "out"),
    ])  # fmt: skip
    assert code == 4
    assert "say yes or no to one feature, 2 are asked for" in capsys.readouterr().err


def test_another_model_is_refused(caught: Caught) -> None:
    other = Capture(caught.folder)
    other.manifest["model"]["digest"] = "0" * 64
    with pytest.raises(InputError, match="is of another model"):
        Traffic(caught.lab, other)


@pytest.mark.parts
def test_a_pack_is_calibrated_on_what_was_captured_as_on_what_a_server_scores(
    caught: Caught, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also requests whose words stay with their tenant; the scores are those of the pack's own op."""
    pack = reading(caught, tmp_path / "pack")
    traffic = Traffic(caught.lab, Capture(caught.folder))
    requests = list(traffic.capture.requests.values())
    labels = tmp_path / "labels.csv"
    labels.write_text(f"request,label\n{requests[0].name},yes\n{requests[1].name},no\n")
    out = tmp_path / "out"
    code = main([
        "detectors", "calibrate", "--pack", str(tmp_path / "pack"), "--model", "lab", "--capture", str(caught.folder),
        "--labels", str(labels), "--out", str(out), "--json",
    ])  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said
    assert "1 requests left out: labelled yes" in said.err
    made = Calibration.load(out)
    assert made.requests == N + caught.silent - 1
    tokens = [traffic._tokens(one, Scope.ANSWER) for one in requests[1:4]]
    mine = dict(traffic.scores(tokens, [pack], lambda done, of: None))
    plain = [Tokens(one.ids, one.scopes, one.read) for one in tokens]
    for index, scores in caught.lab.scores(plain, [pack], lambda done, of: None):
        assert np.abs(mine[index] - scores).max() < 1e-3


def reading(caught: Caught, folder: Path) -> Pack:
    """A pack along a random direction of block 2, with the model's own known answer."""
    rng = np.random.default_rng(3)
    probe = Probe("scam", (2,), rng.standard_normal((1, caught.lab.width)).astype(np.float32), 0.0)
    row = Example(
        None, "canary", text="the ferry leaves at nine and the blue folder is on the table"
    )
    known = caught.lab.tokens(row, Scope.ANSWER)
    pack = Pack(
        "own/random", "a random direction", caught.lab.identity, (probe,), (ProbeNote("T0", 0.0, 1.0, 16),),
        known_answer(caught.lab, (probe,), known),
    )  # fmt: skip
    save_pack(pack, folder)
    return load_pack(folder)


@pytest.mark.parts
def test_a_pack_is_built_from_what_was_captured_and_scores_in_a_server(
    caught: Caught, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels: along a direction of block 2's answer that the embedding layer does not tell."""
    traffic = Traffic(caught.lab, Capture(caught.folder))
    requests = [one for one in traffic.capture.requests.values() if one.ids]
    tokens = [traffic._tokens(one, Scope.ANSWER) for one in requests]
    left = dict(traffic.activations(tokens, (2,), lambda done, of: None))
    hidden = np.stack([left[i][one.read, 0].mean(axis=0) for i, one in enumerate(tokens)])
    words = np.stack([caught.lab.embedded(one)[one.read].mean(axis=0) for one in tokens])
    told = np.column_stack([words, np.ones(len(words))]).astype(float)
    rest = hidden - told @ np.linalg.lstsq(told, hidden, rcond=None)[0]
    along = rest @ np.linalg.svd(rest, full_matrices=False)[2][0]
    low, high = np.quantile(along, [1 / 3, 2 / 3])
    csv = tmp_path / "labels.csv"
    csv.write_text("request,label\n" + "".join(
        f"{one.name},{'yes' if value > high else 'no'}\n"
        for one, value in zip(requests, along, strict=True) if not low <= value <= high
    ))  # fmt: skip
    out = tmp_path / "out"
    code = main([
        "detectors", "build", "--model", "lab", "--feature", "scam", "--capture", str(caught.folder), "--labels",
        str(csv), "--tier", "T0", "--out", str(out), "--json",
    ])  # fmt: skip
    (evidence,) = json.loads(capsys.readouterr().out)
    assert code == 0, evidence["checks"]
    assert evidence["verdict"] in ("accepted", "experimental")
    assert set(evidence["fit"]["layers"]) <= set(LAYERS)
    assert evidence["examples"] == []  # nobody's words in a report
    pack = load_pack(out / "pack")
    assert bind(pack, caught.lab.identity) == []
    with attach(caught.lab.model, [pack]):  # its known answer is the model's
        pass
    assert (out / "calibration").is_dir()
