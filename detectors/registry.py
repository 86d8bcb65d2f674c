"""The registry: which features are defined, which packs are there, and the bank made of them.

A feature is a definition in `features/<name>/feature.yaml`, with the data of our own beside it; a
pack claims features and may claim only defined ones. Duplicates are errors, and an unknown name is
answered with the names that exist. Nothing here touches the disk after loading, and nothing learns
about models or thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dosimeter.detectors.artefact import CARD
from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.calibrate import STREAMS, Calibration
from dosimeter.detectors.fields import NAME, Fields
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError, hint_for
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import WEIGHTS, Pack, load_pack
from dosimeter.detectors.strict_yaml import MAX_BYTES, load

FEATURES = Path(__file__).parent / "features"
MATURITIES = ("shipped", "experimental", "recipe", "lab")
READ_SCOPES = {"answer": Scope.ANSWER, "message": Scope.MESSAGE}
POOLS = ("mean", "tokens", "last")
PAIRS, HARD_NEGATIVES = "pairs.jsonl", "hard_negatives.jsonl"


class UnknownFeature(LookupError):
    """Nobody defined this feature; the message names the one that was meant."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"feature `{name}` is not defined\n  hint: {hint_for(name, known)}")
        self.name = name


class RegistryError(ValueError):
    """Two packs with one name, a feature defined twice, or a pack that is a link to elsewhere."""


@dataclass(frozen=True, slots=True)
class Read:
    """How a feature is fitted.

    scope  whose tokens are read
    pool   one row an example is the `mean` over them or the `last` of them; `tokens`: each is a row
    """

    scope: Scope
    pool: str


@dataclass(frozen=True, slots=True)
class Data:
    """Files of our own beside a definition; None where there is none."""

    pairs: Path | None = None
    hard_negatives: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.pairs, self.hard_negatives) if path is not None)


@dataclass(frozen=True, slots=True)
class Feature:
    """One risky property, in words. Its maturity decides what may be claimed of it:

    shipped       a pack for the text reader is installed, with figures on texts it was not fitted on:
                  it flags text that resembles its examples
    experimental  our data and a definition; may be shown, in no default rule
    recipe        data to fit on a model of your own, whose own evidence decides; nothing is claimed
    lab           holds in the lab's small model, where it shows that the parts work; nothing more

    claim           one sentence: what may be said of it, and what not
    known_failures  what its probes are known to get wrong
    related         features whose risky texts may have this one too, so that they are no negatives of it
    """

    name: str
    title: str
    maturity: str
    claim: str
    read: Read
    definition: str
    sources: tuple[str, ...]
    confusables: tuple[str, ...]
    known_failures: tuple[str, ...]
    related: tuple[str, ...] = ()
    data: Data = Data()


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
    """Every pack below a folder, two levels deep at most, by name; calibrations there are passed over.

    Raises InputError, RegistryError.
    """
    found = (load_pack(place) for place in _artefacts(folder) if not _is_calibration(place))
    packs = sorted(found, key=lambda p: p.name)
    for one, two in pairwise(packs):
        if one.name == two.name:
            raise RegistryError(
                f"two packs below {folder} are called `{one.name}`\n  hint: rename or remove one"
            )
    return packs


def load_calibrations(folder: Path) -> list[Calibration]:
    """Every calibration below a folder, as deep as packs are. Raises InputError, RegistryError."""
    return [Calibration.load(place) for place in _artefacts(folder) if _is_calibration(place)]


def build_bank(packs: Iterable[Pack], features: Features) -> ProbeBank:
    """A bank over defined features only. Raises UnknownFeature, BankError."""
    packs = list(packs)
    for pack in packs:
        for name in pack.features:
            features[name]
    return ProbeBank.from_packs(packs)


def _artefacts(folder: Path) -> list[Path]:
    """Folders with a card: this one and those one and two levels below it."""
    found = [card.parent for depth in ("", "*/", "*/*/") for card in folder.glob(f"{depth}{CARD}")]
    for place in found:
        for part in (place, place.parent):
            if part.is_symlink() and part.is_relative_to(folder) and part != folder:
                raise RegistryError(f"{part} is a link\n  hint: copy the pack into the folder")
    return sorted(found)


def _is_calibration(place: Path) -> bool:
    return (place / STREAMS).exists() and not (place / WEIGHTS).exists()


def _feature(path: Path) -> Feature:
    fields = Fields(load(read_file(path, MAX_BYTES), str(path)))
    read = fields.section("read")
    feature = Feature(
        name=fields.text("name", pattern=NAME),
        title=fields.text("title", most=120),
        maturity=fields.one_of("maturity", MATURITIES),
        claim=fields.text("claim", most=400),
        read=Read(
            READ_SCOPES[read.one_of("scope", tuple(READ_SCOPES))], read.one_of("pool", POOLS)
        ),
        definition=fields.text("definition"),
        sources=fields.texts("sources"),
        confusables=fields.texts("confusables"),
        known_failures=fields.texts("known_failures"),
        related=fields.texts("related") if fields.optional("related") else (),
        data=Data(_file(path.with_name(PAIRS)), _file(path.with_name(HARD_NEGATIVES))),
    )
    read.done()
    fields.done()
    if feature.name != path.parent.name:
        raise InputError.at(
            fields.at("name"),
            f"`{feature.name}` stands in folder `{path.parent.name}`",
            "the folder carries the feature's name",
        )
    return feature


def _file(path: Path) -> Path | None:
    return path if path.exists() else None
