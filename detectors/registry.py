"""The registry: which features are defined, which packs are there, and the bank made of them.

A feature is a definition in `features/<name>/feature.yaml`; a pack claims features and may claim
only defined ones. Duplicates are errors, and an unknown name is answered with the names that exist.
Nothing here touches the disk after loading, and nothing learns about models or thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dosimeter.detectors.artefact import CARD
from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.fields import NAME, Fields
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError, hint_for
from dosimeter.detectors.pack import Pack, load_pack
from dosimeter.detectors.strict_yaml import MAX_BYTES, load

FEATURES = Path(__file__).parent / "features"


class UnknownFeature(LookupError):
    """Nobody defined this feature; the message names the one that was meant."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"feature `{name}` is not defined\n  hint: {hint_for(name, known)}")
        self.name = name


class RegistryError(ValueError):
    """Two packs with one name, a feature defined twice, or a pack that is a link to elsewhere."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One risky property, in words. known_failures: what its probes are known to get wrong."""

    name: str
    title: str
    definition: str
    sources: tuple[str, ...]
    confusables: tuple[str, ...]
    known_failures: tuple[str, ...]


class Features(Mapping[str, Feature]):
    """The defined features by name, sorted."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self._by_name: dict[str, Feature] = {}
        for feature in sorted(features, key=lambda f: f.name):
            if feature.name in self._by_name:
                raise RegistryError(f"feature `{feature.name}` is defined twice")
            self._by_name[feature.name] = feature

    def __getitem__(self, name: str) -> Feature:
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownFeature(name, self._by_name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def load_features(folder: Path = FEATURES) -> Features:
    """Every `<name>/feature.yaml` below a folder. Raises InputError."""
    return Features(_feature(path) for path in sorted(folder.glob("*/feature.yaml")))


def load_packs(folder: Path) -> list[Pack]:
    """Every pack below a folder, two levels deep at most, by name. Raises InputError, RegistryError."""
    cards = [*folder.glob(f"*/{CARD}"), *folder.glob(f"*/*/{CARD}")]
    if (folder / CARD).exists():
        cards.append(folder / CARD)
    for card in cards:
        for part in (card.parent, card.parent.parent):
            if part.is_symlink() and part.is_relative_to(folder) and part != folder:
                raise RegistryError(f"{part} is a link\n  hint: copy the pack into the folder")
    packs = sorted((load_pack(card.parent) for card in cards), key=lambda p: p.name)
    for one, two in pairwise(packs):
        if one.name == two.name:
            raise RegistryError(
                f"two packs below {folder} are called `{one.name}`\n  hint: rename or remove one"
            )
    return packs


def build_bank(packs: Iterable[Pack], features: Features) -> ProbeBank:
    """A bank over defined features only. Raises UnknownFeature, BankError."""
    packs = list(packs)
    for pack in packs:
        for name in pack.features:
            features[name]
    return ProbeBank.from_packs(packs)


def _feature(path: Path) -> Feature:
    fields = Fields(load(read_file(path, MAX_BYTES), str(path)))
    feature = Feature(
        name=fields.text("name", pattern=NAME),
        title=fields.text("title", most=120),
        definition=fields.text("definition"),
        sources=fields.texts("sources"),
        confusables=fields.texts("confusables"),
        known_failures=fields.texts("known_failures"),
    )
    fields.done()
    if feature.name != path.parent.name:
        raise InputError.at(
            fields.at("name"),
            f"`{feature.name}` stands in folder `{path.parent.name}`",
            "the folder carries the feature's name",
        )
    return feature
