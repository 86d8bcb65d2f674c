"""`dosimeter detectors import`: a stranger's file becomes a pack that scores, says what it is not, and runs nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import load_pack
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.lab import MODEL
from dosimeter.monitor.taps.attach import attach

pytestmark = pytest.mark.parts

TEXTS = [
    f"The {a} stands near the {b}." for a in ("mill", "tower", "barn") for b in ("road", "sea")
]


@pytest.fixture
def benign(tmp_path: Path) -> Path:
    path = tmp_path / "benign.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return path


@pytest.fixture
def direction() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((5, 128)).astype("f4")


@pytest.fixture
def vector(tmp_path: Path, direction: np.ndarray) -> Path:
    torch.save(torch.tensor(direction), tmp_path / "evil.pt")
    return tmp_path / "evil.pt"


def imported(kind: str, file: Path, benign: Path, *more: str, model: str = "lab") -> int:
    return main(
        ["detectors", "import", kind, str(file), "--feature", "power_seeking", "--model", model,
         "--benign", str(benign), "--out", str(file.parent / "out"), *more]
    )  # fmt: skip


def scored(folder: Path, layer: int, direction: np.ndarray) -> None:
    """Benign answer tokens score 0 ± 1 along the direction, and the known answer is the model's."""
    lab, pack = Decoder(MODEL), load_pack(folder)
    with attach(lab.model, [pack]):
        pass
    tokens = [lab.tokens(Example(None, t, t), Scope.ANSWER) for t in TEXTS]
    hidden = dict(lab.activations(tokens, (layer,), lambda done, of: None))
    raw = np.concatenate([hidden[i][tokens[i].read, 0] @ direction for i in hidden])
    scores = dict(lab.scores(tokens, [pack], lambda done, of: None))
    found = np.concatenate([scores[i][tokens[i].read, 0] for i in hidden])
    np.testing.assert_allclose(found, (raw - raw.mean()) / raw.std(), atol=2e-3)


def test_a_persona_vector_becomes_a_pack_that_says_what_it_is_not(
    vector: Path, benign: Path, direction: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported("persona-vector", vector, benign, "--block", "2") == 0
    shown = capsys.readouterr().out
    assert "not calibrated, and nothing was measured on this model" in shown
    assert "next: dosimeter detectors evaluate" in shown
    assert "dosimeter detectors calibrate" in shown
    scored(vector.parent / "out", 2, direction[3])  # row 0 is the embeddings
    pack = load_pack(vector.parent / "out")
    assert (pack.name, pack.layers) == ("import/power-seeking", (2,))
    assert pack.notes[0].metrics["measured_here"] is False
    # A pack may be handed on: its known answer is taken on words of ours, and none of whose texts set the scale.
    known = Decoder(MODEL).tokenizer.decode(pack.fingerprint.token_ids)
    assert "The ferry leaves at nine" in known
    assert not any(text in known for text in TEXTS)


def test_a_linear_model_over_two_blocks_as_json(
    tmp_path: Path, benign: Path, direction: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.json"
    coef = np.concatenate([direction[0], 0 * direction[1]])
    file.write_text(json.dumps({"coef_": [coef.tolist()], "intercept_": [0.5]}))
    assert imported("sklearn", file, benign, "--layers", "1,3", "--json", "--name", "me/mine") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layers"] == [1, 3]
    assert load_pack(tmp_path / "out").digest == told["digest"]
    scored(tmp_path / "out", 1, direction[0])


def test_a_latent_says_up_to_where_it_is_silent(
    tmp_path: Path, benign: Path, direction: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sae"
    folder.mkdir()
    config = {"d_in": 128, "d_sae": 4, "architecture": "standard", "apply_b_dec_to_input": False,
              "metadata": {"hook_name": "blocks.1.hook_resid_post", "model_name": "lab"}}  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = {"W_enc": np.ascontiguousarray(direction[:4].T), "b_enc": np.ones(4, "f4"), "b_dec": np.zeros(128, "f4"),
               "W_dec": direction[:4]}  # fmt: skip
    safetensors.numpy.save_file(tensors, folder / "sae_weights.safetensors")
    assert imported("sae", folder, benign, "--latent", "2") == 0
    assert "sd it says nothing" in capsys.readouterr().out
    scored(tmp_path / "out", 1, direction[2])


class Evil:
    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("/tmp/never-written-by-an-import"), "ran"))


@pytest.mark.parametrize("kind", ["persona-vector", "sklearn"])
def test_a_pickle_is_not_run(
    tmp_path: Path, benign: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps(Evil()))
    more = ("--block", "1") if kind == "persona-vector" else ("--layers", "1")
    assert imported(kind, file, benign, *more) == 4
    assert not Path("/tmp/never-written-by-an-import").exists()
    assert str(file) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_the_model_is_a_matter_of_data(
    tmp_path: Path, vector: Path, benign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported("persona-vector", vector, benign, "--block", "4") == 4
    assert "blocks 0 to 3 are" in capsys.readouterr().err
    narrow = tmp_path / "narrow.json"
    narrow.write_text('{"coef_": [1, 2], "intercept_": [0]}')
    assert imported("sklearn", narrow, benign, "--layers", "1") == 4
    assert "the model has 4 blocks of 128" in capsys.readouterr().err
    assert imported("sklearn", narrow, benign, "--layers", "9") == 4
    capsys.readouterr()
    assert imported("persona-vector", vector, benign, "--block", "1", "--name", "../up") == 4
    assert imported("persona-vector", vector, benign, "--block", "1", model=str(tmp_path)) == 4
    assert not (tmp_path / "out").exists()


def test_risky_texts_set_no_scale_and_no_pack_is_written_over(
    vector: Path, benign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benign.write_text('{"text": "a", "label": 1}')
    assert imported("persona-vector", vector, benign, "--block", "1") == 4
    assert f"{benign}:1:1" in capsys.readouterr().err
    benign.write_text('{"text": "a line of text"}')
    assert imported("persona-vector", vector, benign, "--block", "1") == 0
    assert imported("persona-vector", vector, benign, "--block", "1") == 4
    assert "a pack stands here" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--block", "x"), ("--block", "-1"), ("--latent", "3")])
def test_a_wrong_argument_is_usage(vector: Path, benign: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        imported("persona-vector", vector, benign, *more)
    assert caught.value.code == 2
