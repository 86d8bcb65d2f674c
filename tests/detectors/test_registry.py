"""The registry: what ships is well formed, duplicates are errors, and a typo finds its name."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.bank import BankError, Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.detectors.registry import (
    FEATURES,
    Data,
    Features,
    Read,
    RegistryError,
    UnknownFeature,
    build_bank,
    load_calibrations,
    load_features,
    load_packs,
)


def feature_folder(where: Path) -> Path:
    """A copy of the definition of scam, without data."""
    (where / "scam").mkdir()
    shutil.copy(FEATURES / "scam" / "feature.yaml", where / "scam")
    return where / "scam"


def test_every_shipped_feature_says_what_it_is_and_what_it_gets_wrong() -> None:
    features = load_features()
    assert {name: feature.maturity for name, feature in features.items()} == {
        "deception": "recipe",
        "defection": "lab",
        "flattery_tone": "experimental",
        "harmful_request": "experimental",
        "power_seeking": "experimental",
        "scam": "shipped",
        "scam_warning": "lab",
        "sycophancy": "recipe",
    }
    for feature in features.values():
        assert len(feature.definition) > 100
        assert feature.claim.endswith(".")
        assert ". " not in feature.claim, "one sentence"
        assert feature.sources
        assert feature.confusables
        assert feature.known_failures


def test_nothing_is_claimed_of_a_recipe_and_deception_and_sycophancy_are_no_more() -> None:
    """A reader of text is at chance on both: whoever wants to claim them has to change this test too."""
    features = load_features()
    recipes = {name for name, feature in features.items() if feature.maturity == "recipe"}
    assert recipes == {"deception", "sycophancy"}
    for name, feature in features.items():
        assert feature.claim.startswith("Nothing is claimed") == (name in recipes)


def test_each_feature_says_how_it_is_fitted() -> None:
    read = {name: feature.read for name, feature in load_features().items()}
    assert read == {
        "deception": Read(Scope.ANSWER, "tokens"),
        "defection": Read(Scope.ANSWER, "tokens"),
        "flattery_tone": Read(Scope.ANSWER, "mean"),
        "harmful_request": Read(Scope.MESSAGE, "mean"),
        "power_seeking": Read(Scope.ANSWER, "mean"),
        "scam": Read(Scope.ANSWER, "mean"),
        "scam_warning": Read(Scope.ANSWER, "tokens"),
        "sycophancy": Read(Scope.ANSWER, "mean"),
    }


def test_a_confusable_that_is_a_feature_is_defined() -> None:
    features = load_features()
    for feature in features.values():
        named = re.findall(r"`(\w+)`", " ".join([*feature.confusables, *feature.known_failures]))
        assert set(named) <= set(features), feature.name
    assert any("`scam_warning`" in text for text in features["scam"].confusables)


def test_data_is_what_lies_beside_the_definition(tmp_path: Path) -> None:
    folder = feature_folder(tmp_path)
    assert load_features(tmp_path)["scam"].data == Data()
    assert load_features(tmp_path)["scam"].data.files == ()
    (folder / "hard_negatives.jsonl").write_text("")
    assert load_features(tmp_path)["scam"].data.files == (folder / "hard_negatives.jsonl",)
    (folder / "pairs.jsonl").write_text("")
    data = load_features(tmp_path)["scam"].data
    assert (data.pairs, data.hard_negatives) == data.files
    assert data.pairs == folder / "pairs.jsonl"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("maturity: shipped", "maturity: ready", "`ready` is not one of the allowed words"),
        ("maturity: shipped\n", "", "`maturity` is missing"),
        ("scope: answer", "scope: system", "`system` is not one of the allowed words"),
        ("pool: mean", "pool: max", "`max` is not one of the allowed words"),
        (", pool: mean", "", "`pool` is missing"),
        ("pool: mean", "pool: mean, window: 3", "unknown key `window`"),
        ("read: {scope: answer, pool: mean}", "read: answer", "expected a mapping"),
        ("name: scam", "name: scam\ndata: [x]", "unknown key `data`"),
    ],
)
def test_a_definition_that_is_not_one_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = feature_folder(tmp_path) / "feature.yaml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        load_features(tmp_path)


def test_a_typo_is_answered_with_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownFeature, match="did you mean `deception`"):
        load_features()["decepton"]


def test_the_folder_carries_the_name(tmp_path: Path) -> None:
    feature_folder(tmp_path).rename(tmp_path / "spam")
    with pytest.raises(InputError, match="`scam` stands in folder `spam`"):
        load_features(tmp_path)


def test_a_feature_is_defined_once() -> None:
    scam = load_features()["scam"]
    with pytest.raises(RegistryError, match="`scam` is defined twice"):
        Features([scam, scam])


def test_packs_are_found_two_levels_deep_in_order_of_name(pack: Pack, tmp_path: Path) -> None:
    one = replace(
        pack,
        name="a/scam",
        probes=pack.probes[1:],
        notes=pack.notes[1:],
        fingerprint=replace(
            pack.fingerprint,
            scores=pack.fingerprint.scores[:, 1:],
            layer_means=pack.fingerprint.layer_means[:1],
        ),
    )
    two = replace(
        pack,
        name="b",
        probes=pack.probes[:1],
        notes=pack.notes[:1],
        fingerprint=replace(
            pack.fingerprint,
            scores=pack.fingerprint.scores[:, :1],
            layer_means=pack.fingerprint.layer_means[:2],
        ),
    )
    save_pack(two, tmp_path / "packs" / "x")
    save_pack(one, tmp_path / "packs" / "y" / "z")
    bank = build_bank(load_packs(tmp_path / "packs"), load_features())
    assert [(c.feature, c.pack_name) for c in bank.columns] == [
        ("scam", "a/scam"),
        ("deception", "b"),
    ]
    assert bank.columns[0].pack == one.digest
    assert bank.layers == (1, 2, 3)


def test_a_calibration_among_packs_is_found_as_one(pack: Pack, tmp_path: Path) -> None:
    save_pack(pack, tmp_path / "pack")
    columns = [Column("scam", pack.digest, pack.name)]
    quiet = (np.zeros((4, 1), np.int16), np.full(4, Scope.ANSWER, np.uint8))
    made = Calibration.from_requests(columns, [quiet], corpus="four tokens", date="2026-01-31")
    made.save(tmp_path / "traffic" / "chat")
    assert [one.name for one in load_packs(tmp_path)] == ["test/two"]
    assert [one.digest for one in load_calibrations(tmp_path)] == [made.digest]
    assert load_packs(tmp_path / "traffic" / "chat") == []


def test_two_packs_of_one_name_are_an_error(pack: Pack, tmp_path: Path) -> None:
    save_pack(pack, tmp_path / "one")
    save_pack(pack, tmp_path / "two")
    with pytest.raises(RegistryError, match=r"two packs .* `test/two`"):
        load_packs(tmp_path)


def test_two_packs_that_read_one_feature_are_an_error(pack: Pack) -> None:
    with pytest.raises(BankError, match="`deception` is in pack `test/two` and in `test/copy`"):
        build_bank([pack, replace(pack, name="test/copy")], load_features())


def test_packs_of_two_models_do_not_share_a_bank(pack: Pack) -> None:
    other = replace(pack, name="test/other", model=replace(pack.model, dtype="bfloat16"))
    with pytest.raises(BankError, match="different models"):
        build_bank([pack, other], load_features())


def test_a_pack_may_claim_only_defined_features(pack: Pack) -> None:
    probe = replace(pack.probes[0], feature="decepton")
    with pytest.raises(UnknownFeature, match="did you mean `deception`"):
        build_bank([replace(pack, probes=(probe, pack.probes[1]))], load_features())


def test_a_pack_that_is_a_link_to_elsewhere_is_refused(pack: Pack, tmp_path: Path) -> None:
    save_pack(pack, tmp_path / "outside")
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(RegistryError, match="is a link"):
        load_packs(tmp_path / "packs")
