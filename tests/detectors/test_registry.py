"""The registry: what ships is well formed, duplicates are errors, and a typo finds its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.detectors.bank import BankError
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.detectors.registry import (
    Features,
    RegistryError,
    UnknownFeature,
    build_bank,
    load_features,
    load_packs,
)


def test_every_shipped_feature_says_what_it_is_and_what_it_gets_wrong() -> None:
    features = load_features()
    assert list(features) == ["deception", "defection", "scam", "sycophancy"]
    for feature in features.values():
        assert len(feature.definition) > 100
        assert feature.sources
        assert feature.confusables
        assert feature.known_failures


def test_a_typo_is_answered_with_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownFeature, match="did you mean `deception`"):
        load_features()["decepton"]


def test_the_folder_carries_the_name(tmp_path: Path) -> None:
    (tmp_path / "spam").mkdir()
    text = (Path(load_features.__globals__["FEATURES"]) / "scam/feature.yaml").read_text()
    (tmp_path / "spam/feature.yaml").write_text(text)
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
