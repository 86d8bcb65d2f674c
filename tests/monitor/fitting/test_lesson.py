"""Which rows a feature is learned from and measured on, and what is refused before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.registry import Feature, Features, load_features
from dosimeter.monitor.fitting.lesson import Lesson, benign_texts, lesson_of

Put = Callable[[str, Sequence[object]], None]


@pytest.fixture(scope="module")
def features() -> Features:
    return load_features()


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def written(name: str, rows: Sequence[object]) -> None:
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    return written


def rows(n: int, words: str = "row") -> list[dict[str, object]]:
    return [{"text": f"{words} {label} {i}", "label": label} for i in range(n) for label in (0, 1)]


def lesson(tmp_path: Path, features: Features, name: str = "scam") -> Lesson:
    return lesson_of(features[name], features, tmp_path)


def test_a_folder_says_what_is_fitted_what_is_measured_and_what_calibrates(
    tmp_path: Path, features: Features, put: Put
) -> None:
    put("scam_fit", rows(30))
    put("scam_wild", rows(5, "wild"))
    put("benign_chat", [{"text": "hello"}, {"text": "mail", "route": "mail"}])
    found = lesson(tmp_path, features)
    assert len(found.own) == 60
    assert found.others == ()
    assert {name: len(part) for name, part in found.held_out.items()} == {"wild": 10}
    assert [(row.text, row.label, row.kind) for row in found.benign] == [
        ("hello", False, "chat"),
        ("mail", False, "mail"),
    ]
    assert (found.warnings, found.leaked) == ((), {"wild": 0})


def test_a_set_named_for_it_calibrates_alone(tmp_path: Path, features: Features, put: Put) -> None:
    put("scam_fit", rows(30))
    put("benign_chat", [{"text": "hello"}])
    put("benign_calibrate", [{"text": "traffic"}])
    assert [row.text for row in lesson(tmp_path, features).benign] == ["traffic"]


def test_groups_of_two_sets_are_never_one(tmp_path: Path, features: Features, put: Put) -> None:
    put("scam_fit", rows(30))
    put("scam_wild", rows(5, "wild"))
    found = lesson(tmp_path, features)
    assert not {r.group for r in found.own} & {r.group for r in found.held_out["wild"]}


def test_without_a_fit_set_our_own_texts_are_learned_beside_those_of_other_features(
    tmp_path: Path, features: Features, put: Put
) -> None:
    put("benign_chat", [{"text": "hello"}])
    found = lesson(tmp_path, features)
    assert found.own == lesson_of(features["scam"], features, None).own
    assert found.others
    assert not any(row.label for row in found.others)
    assert {row.group.split("/")[0] for row in found.others} == {
        name for name, one in features.items() if one.data.files and name != "scam"
    }
    assert [row.text for row in found.benign] == ["hello"]


@pytest.mark.parametrize("name", [name for name, one in load_features().items() if one.data.files])
def test_our_own_data_can_carry_a_fit(features: Features, name: str) -> None:
    found = lesson_of(features[name], features, None)
    assert not any(finding.severity == "error" for finding in found.warnings)
    assert not any(found.leaked.values())
    own = {row.identity for row in found.own}
    assert len(own) == len(found.own)
    assert not own & {row.identity for row in found.others}


def test_a_risky_text_of_a_related_feature_is_no_negative(features: Features) -> None:
    """`scam` may have `deception` in it and says so: its risky side says nothing about the other."""
    assert "deception" in features["scam"].related
    of = {row.words for row in lesson_of(features["deception"], features, None).own if row.label}
    others = {row.words for row in lesson_of(features["scam"], features, None).others}
    assert not of & others


def test_a_text_that_stands_twice_is_learned_once(
    tmp_path: Path, features: Features, put: Put
) -> None:
    """In two groups it would be fitted in one fold and tested in another."""
    twin = {"text": "ROW  1 3", "label": 1, "group": "elsewhere"}
    put("scam_fit", [*rows(30), twin])
    found = lesson(tmp_path, features)
    assert len(found.own) == 60
    assert [finding.code for finding in found.warnings] == ["duplicate"]


def test_another_features_text_that_is_ours_too_is_not_learned_against_it(
    tmp_path: Path, features: Features
) -> None:
    """A folder of definitions whose second feature repeats a risky text of the first."""
    folder = tmp_path / "features"
    text = (features["scam"].data.pairs or Path()).parent / "feature.yaml"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        said = text.read_text().replace("name: scam", f"name: {name}").replace("[deception]", "[]")
        (folder / name / "feature.yaml").write_text(said)
        pairs = [{"risky": f"{name} r {i}", "benign": f"{name} b {i}"} for i in range(25)]
        if name == "two":
            pairs.append({"risky": "ONE r 3", "benign": "one b 4"})
        (folder / name / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    both = load_features(folder)
    found = lesson_of(both["one"], both, None)
    assert len(found.others) == 50
    assert not {row.identity for row in found.own} & {row.identity for row in found.others}


@pytest.mark.parametrize("strange", [rows(5)[::2], [*rows(5), {"text": "who knows"}]])
def test_a_set_that_cannot_be_measured_is_told_of_and_not_passed_over(
    tmp_path: Path, features: Features, put: Put, strange: list[object]
) -> None:
    put("scam_fit", rows(30, "fit"))
    put("scam_wild", strange)
    found = lesson(tmp_path, features)
    assert found.held_out == {}
    assert [(f.code, f.severity) for f in found.warnings] == [("unmeasured", "warning")]
    assert "set `wild`" in str(found.warnings[0])


def test_rows_of_a_measured_set_that_were_learned_are_counted(
    tmp_path: Path, features: Features, put: Put
) -> None:
    put("scam_fit", rows(30))
    put("scam_wild", [*rows(5, "wild"), {"text": "Row 1  4", "label": 1}])
    assert lesson(tmp_path, features).leaked == {"wild": 1}


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (rows(5), "at least 20 are needed"),
        (rows(30)[::2], "no row with the feature"),
        ([*rows(30), {"text": "row 1 1", "label": 0}], "stand under both labels"),
        ([*rows(30), {"text": "x"}], "1 rows have no label"),
        (rows(30) * 2, "repeat another"),
    ],
)
def test_rows_that_cannot_carry_a_fit_are_refused(
    tmp_path: Path, features: Features, put: Put, fit: list[object], words: str
) -> None:
    put("scam_fit", fit)
    with pytest.raises(InputError, match=words):
        lesson(tmp_path, features)


def test_a_feature_without_texts_asks_for_a_folder(features: Features) -> None:
    bare = next(one for one in features.values() if not one.data.files)
    with pytest.raises(InputError, match=f"{bare.name}_fit.jsonl"):
        lesson_of(bare, features, None)


def test_our_ordinary_texts_are_benign_and_have_routes() -> None:
    found = benign_texts()
    assert len(found) > 100
    assert not any(row.label for row in found)
    assert len({row.kind for row in found}) > 1


def test_a_feature_is_told_by_its_own_files_alone(
    tmp_path: Path, features: Features, put: Put
) -> None:
    one: Feature = features["scam_warning"]
    put("scam_warning_fit", rows(30))
    put("scam_fit", rows(30, "other"))
    found = lesson_of(one, features, tmp_path)
    assert all(row.words.startswith("row") for row in found.own)
    assert found.held_out == {}
    assert lesson(tmp_path, features).held_out == {}
