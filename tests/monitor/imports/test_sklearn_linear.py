"""A scikit-learn model scores as its own decision function does; joblib and bombs are refused unread."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.sklearn_linear import read_sklearn_linear


@pytest.fixture
def fitted() -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    """Activations [N, 2 * 4], a pipeline fitted on them, and what an export of it holds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 8)) * 5 + 30
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x[:, 1] > x[:, 6])
    scaler, model = pipeline[0], pipeline[1]
    parts = {"coef_": model.coef_, "intercept_": model.intercept_}
    return x, pipeline, {**parts, "mean_": scaler.mean_, "scale_": scaler.scale_}


@pytest.mark.parametrize("form", ["npz", "compressed", "json"])
def test_the_score_is_the_decision_function(tmp_path: Path, fitted: Any, form: str) -> None:
    x, pipeline, parts = fitted
    path = tmp_path / "model"
    if form == "json":
        path.write_text(json.dumps({k: v.tolist() for k, v in parts.items()}))
    else:
        save: Any = np.savez if form == "npz" else np.savez_compressed
        with path.open("wb") as file:
            save(file, **parts)
    found = read_sklearn_linear(path, "scam", (3, 5))
    assert found.layers == (3, 5)
    scores = np.einsum("nld,ld->n", x.reshape(-1, 2, 4), found.weights) + found.bias
    assert scores == pytest.approx(pipeline.decision_function(x), rel=1e-9)


def test_without_a_scaler_and_with_a_scalar_intercept(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(
        '{"coef_": [1, 2.5], "intercept_": -3, "mean_": null, "classes_": ["no", "yes"]}'
    )
    found = read_sklearn_linear(path, "scam", (3,))
    assert found.weights.tolist() == [[1.0, 2.5]]
    assert found.bias == -3
    assert found.notes == ("no scaler in the file",)


def test_joblib_and_pickle_are_refused_with_the_way_to_export(tmp_path: Path, fitted: Any) -> None:
    for name, compress in (("a.joblib", 0), ("b.joblib", 3), ("model", 0)):
        joblib.dump(fitted[1], tmp_path / name, compress=compress)
        with pytest.raises(InputError, match=r"is a pickle(.|\n)*numpy\.savez\(path, coef_"):
            read_sklearn_linear(tmp_path / name, "scam", (3,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"coef_": [1, NaN], "intercept_": 0}', "holds `NaN`"),
        ('{"coef_": [1, 1e999], "intercept_": 0}', "NaN or infinity"),
        ('{"coef_": [1, 2], "coef_": [3, 4], "intercept_": 0}', "names something twice"),
        ('{"coef_": [[1, 2], [3, 4]], "intercept_": [0, 0]}', "has 2 rows"),
        ('{"coef_": [[[1, 2]]], "intercept_": 0}', "no binary model"),
        ('{"coef_": 3, "intercept_": 0}', "no binary model"),
        ('{"coef_": [], "intercept_": 0}', "not numbers|no binary model"),
        ('{"coef_": [1, 2], "intercept_": [0, 1]}', "no binary model"),
        ('{"coef_": [1, [2]], "intercept_": 0}', "not numbers"),
        ('{"coef_": ["1", "2"], "intercept_": 0}', "not numbers"),
        ('{"coef_": [true, false], "intercept_": 0}', "not numbers"),
        ('{"coef_": [1, 1' + "0" * 400 + '], "intercept_": 0}', "not numbers"),
        ('{"coef_": [1, 1' + "0" * 9000 + '], "intercept_": 0}', "not readable JSON"),
        ('{"coef_": ' + "[" * 100_000, "not readable JSON"),
        ('{"coef_": ' + "[" * 100 + "1" + "]" * 100 + ', "intercept_": 0}', "not numbers"),
        ('{"coef_": [1, 2]}', "`intercept_` is missing"),
        ('{"coef_": [1, 2], "intercept_": 0, "scale_": [1]}', r"`scale_` is \[1\]"),
        ('{"coef_": [1, 2], "intercept_": 0, "scale_": [1, 0]}', "not above 0"),
        ('{"coef_": [1, 2], "intercept_": 0, "scale_": [1, -1]}', "not above 0"),
        ('{"coef_": [1, 2, 3], "intercept_": 0}', "3 coefficients for 2 layers"),
        ('{"coef_": [1e300, 2], "intercept_": 0, "scale_": [1e-300, 1]}', "NaN or infinity"),
        ("[1]", "neither JSON nor npz"),
        ("", "neither JSON nor npz"),
    ],
)
def test_json_that_is_no_model_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_sklearn_linear(path, "scam", (3, 5))


def npz(path: Path, coef: bytes, kind: int = zipfile.ZIP_STORED) -> None:
    """An npz whose `coef_.npy` is these bytes."""
    intercept = io.BytesIO()
    np.save(intercept, np.zeros(1))
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("coef_.npy", coef)
        archive.writestr("intercept_.npy", intercept.getvalue())


def npy(descr: str, shape: str, body: bytes = b"\0" * 16) -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + body


@pytest.mark.parametrize(
    ("coef", "words"),
    [
        (npy("<f8", "(2,)"), "zero throughout"),  # the helper's own array is well formed
        (npy("<f8", "(1099511627776,)"), "declares float64"),
        (npy("<f8", "(1099511627776, 1099511627776)"), "declares float64"),
        (npy("<f8", "(-1, -2)"), "declares float64"),
        (npy("|O", "(2,)"), "declares object"),
        (npy("<U4", "(1,)"), "declares <U4"),
        (npy("<f8", "(3,)"), "has 16 bytes of it"),
        (npy("<f8", "__import__('os').system('touch trace')"), "no readable array"),
        (npy("<f8", "(2,)", np.array([np.nan, 1]).tobytes()), "NaN"),
        (b"", "no readable array"),
        (b"\x93NUMPY\x09\x00", "no readable array"),
    ],
)
def test_an_array_is_held_against_its_bytes(tmp_path: Path, coef: bytes, words: str) -> None:
    npz(tmp_path / "m.npz", coef)
    with pytest.raises(InputError, match=words):
        read_sklearn_linear(tmp_path / "m.npz", "scam", (3,))
    assert not Path("trace").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """As its directory says; and one that lies about its size stops where it said that it would."""
    path = tmp_path / "m.npz"
    npz(path, b"\0" * (80 << 20), zipfile.ZIP_DEFLATED)
    started = time.perf_counter()
    with pytest.raises(InputError, match="unpacks to 8388"):
        read_sklearn_linear(path, "scam", (3,))
    raw = bytearray(path.read_bytes())
    said = (80 << 20).to_bytes(4, "little")
    assert raw.count(said) == 2  # before the member and in the directory
    path.write_bytes(bytes(raw).replace(said, (100).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"not a readable zip file \(Bad CRC"):
        read_sklearn_linear(path, "scam", (3,))
    assert time.perf_counter() - started < 1


def test_two_gigabytes_of_nothing_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m"
    for head in (b"PK\x03\x04", b'{"coef_": '):
        with path.open("wb") as file:
            file.write(head)
            file.truncate(2 << 30)
        started = time.perf_counter()
        with pytest.raises(InputError, match="are read"):
            read_sklearn_linear(path, "scam", (3,))
        assert time.perf_counter() - started < 0.5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = io.BytesIO()
    np.savez_compressed(whole, coef_=np.ones((1, 4)), intercept_=np.ones(1), mean_=np.ones(4))
    raw = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    path = tmp_path_factory.mktemp("fuzz") / "m.npz"
    path.write_bytes(raw)
    try:
        assert np.isfinite(read_sklearn_linear(path, "scam", (3,)).weights).all()
    except InputError:
        return
