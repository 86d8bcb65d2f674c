"""A probe pack on disk: weights and a card, data and never code, bound to one model.

It owns the format, its digest and the binding: a pack that does not fit the model refuses to score,
and the server goes on serving. Scores are already in benign standard deviations, folded into the
stored weights, so a pack holds no threshold; what a level means on some traffic is a calibration's
business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.artefact import (
    Artefact,
    digest_of,
    read_artefact,
    tensor,
    write_artefact,
)
from dosimeter.detectors.bank import BankError, Floats, Probe
from dosimeter.detectors.fields import NAME, Fields
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.fingerprint import Fingerprint as Fingerprint
from dosimeter.detectors.identity import ModelIdentity

VERSION = 1
WEIGHTS = "weights.safetensors"
MAX_WEIGHTS_BYTES = 256 * 1024 * 1024
MAX_PROBES = 4096
MAX_FINGERPRINT_TOKENS = 512
MAX_TOLERANCE = 1.0
"""Of a fingerprint, in benign sd. Half precision takes a tenth; where more is allowed, any hook's scores do."""
SITE = "resid_post"
NUMBERING = "block index from 0, output of the block"
TIERS = ("T0", "T1", "T2")
PACK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(?:/[a-z0-9][a-z0-9._-]{0,63})?")


@dataclass(frozen=True, slots=True)
class ProbeNote:
    """What the card says about one probe; nothing here enters a score.

    mean, sd       of the raw score on the benign answer tokens, before folding
    benign_tokens  how many there were
    metrics        name -> {value, low, high, n, …}; nulls likewise (`random_p95`, `length`, …)
    """

    tier: str
    mean: float
    sd: float
    benign_tokens: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    nulls: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Fitted probes of one model. Raises InputError where the parts do not agree."""

    name: str
    recipe: str
    model: ModelIdentity
    probes: tuple[Probe, ...]
    notes: tuple[ProbeNote, ...]
    fingerprint: Fingerprint
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        place = f"pack {self.name}"
        if not PACK_NAME.fullmatch(self.name):
            raise InputError.at(place, f"name must match `{PACK_NAME.pattern}`")
        if not 1 <= len(self.probes) <= MAX_PROBES or len(self.notes) != len(self.probes):
            raise InputError.at(place, f"1 to {MAX_PROBES} probes, each with its note")
        features = [p.feature for p in self.probes]
        for name in features:
            if not NAME.fullmatch(name) or features.count(name) > 1:
                raise InputError.at(place, f"feature `{name}` is malformed or given twice")
        for probe, note in zip(self.probes, self.notes, strict=True):
            if probe.weights.shape[1] != self.model.hidden_size:
                raise InputError.at(place, f"probe `{probe.feature}` is not as wide as the model")
            if note.tier not in TIERS or not note.sd > 0:
                raise InputError.at(place, f"probe `{probe.feature}`: tier T0 to T2, sd above 0")
        known, tokens = self.fingerprint, len(self.fingerprint.token_ids)
        shapes = (known.scores.shape, known.layer_means.shape)
        if not 1 <= tokens <= MAX_FINGERPRINT_TOKENS or shapes != (
            (tokens, len(self.probes)),
            (len(self.layers), self.model.hidden_size),
        ):
            raise InputError.at(place, f"fingerprint of shapes {shapes} for {tokens} tokens")
        if not 0 < known.tolerance <= MAX_TOLERANCE:
            raise InputError.at(
                place, f"fingerprint tolerance must be above 0, up to {MAX_TOLERANCE} sd"
            )
        digest = digest_of(self.card(), self.tensors())
        object.__setattr__(self, "digest", digest)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(p.feature for p in self.probes)

    @property
    def layers(self) -> tuple[int, ...]:
        """Union of the probes' layers, ascending."""
        return tuple(sorted({n for p in self.probes for n in p.layers}))

    def card(self) -> dict[str, Any]:
        """The card as plain data, in the order in which people read it."""
        return {
            "version": VERSION,
            "name": self.name,
            "recipe": self.recipe,
            "model": self.model.to_card(),
            "hook": {"site": SITE, "layers": NUMBERING},
            "probes": [
                {
                    "feature": probe.feature,
                    "tier": note.tier,
                    "layers": list(probe.layers),
                    "standardised": {
                        "mean": float(note.mean),
                        "sd": float(note.sd),
                        "benign_tokens": note.benign_tokens,
                    },
                    "metrics": dict(note.metrics),
                    "nulls": dict(note.nulls),
                }
                for probe, note in zip(self.probes, self.notes, strict=True)
            ],
            "fingerprint": {
                "token_ids": list(self.fingerprint.token_ids),
                "tolerance": float(self.fingerprint.tolerance),
            },
        }

    def tensors(self) -> dict[str, Floats]:
        """`<feature>.weights` [L, D], `<feature>.bias` [1], and the fingerprint's arrays."""
        found: dict[str, Floats] = {}
        for probe in self.probes:
            found[f"{probe.feature}.weights"] = probe.weights
            found[f"{probe.feature}.bias"] = np.array([probe.bias], dtype=np.float32)
        found["fingerprint.scores"] = self.fingerprint.scores.astype(np.float32)
        found["fingerprint.layer_means"] = self.fingerprint.layer_means.astype(np.float32)
        return found


def save_pack(pack: Pack, folder: Path) -> str:
    """Write the two files; returns the digest that `load_pack` will find."""
    write_artefact(folder, pack.card(), WEIGHTS, pack.tensors())
    return pack.digest


def load_pack(folder: Path) -> Pack:
    """Read a pack from a folder that nobody vouches for. Raises InputError."""
    try:
        artefact = read_artefact(folder, WEIGHTS, MAX_WEIGHTS_BYTES)
        pack = _pack(artefact)
    except BankError as error:
        raise InputError.at(folder, str(error)) from None
    extra = set(artefact.tensors) - set(pack.tensors())
    if extra:
        raise InputError.at(
            artefact.path, f"tensors {sorted(extra)} belong to no probe of the card"
        )
    return pack


def bind(pack: Pack, model: ModelIdentity) -> list[str]:
    """What keeps this pack from scoring this model, in words; [] if nothing."""
    return pack.model.differences(model)


def _pack(artefact: Artefact) -> Pack:
    card = Fields(artefact.card)
    version = card.integer("version", 0, 1 << 30)
    if version != VERSION:
        raise InputError.at(
            card.at("version"), f"pack format {version}, this build reads {VERSION}"
        )
    name = card.text("name", pattern=PACK_NAME)
    recipe = card.text("recipe")
    model = ModelIdentity.from_fields(card.section("model"))
    hook = card.section("hook")
    hook.one_of("site", (SITE,))
    hook.one_of("layers", (NUMBERING,))
    hook.done()
    sections = card.sections("probes")
    if not 1 <= len(sections) <= MAX_PROBES:
        raise InputError.at(
            card.at("probes"), f"{len(sections)} probes, 1 to {MAX_PROBES} are read"
        )
    pairs = [_probe(section, artefact, model.hidden_size) for section in sections]
    layers = {n for probe, _ in pairs for n in probe.layers}
    known = card.section("fingerprint")
    ids = known.integers("token_ids", 0, 1 << 31, MAX_FINGERPRINT_TOKENS)
    tolerance = known.number("tolerance")
    known.done()
    card.done()
    scores = tensor(artefact, "fingerprint.scores", np.float32, (len(ids), len(pairs)))
    means = tensor(
        artefact, "fingerprint.layer_means", np.float32, (len(layers), model.hidden_size)
    )
    return Pack(
        name=name,
        recipe=recipe,
        model=model,
        probes=tuple(probe for probe, _ in pairs),
        notes=tuple(note for _, note in pairs),
        fingerprint=Fingerprint(ids, scores, means, tolerance),
    )


def _probe(fields: Fields, artefact: Artefact, width: int) -> tuple[Probe, ProbeNote]:
    feature = fields.text("feature", pattern=NAME)
    layers = fields.integers("layers", 0, 10_000, 1_000)
    standard = fields.section("standardised")
    note = ProbeNote(
        tier=fields.one_of("tier", TIERS),
        mean=standard.number("mean"),
        sd=standard.number("sd"),
        benign_tokens=standard.integer("benign_tokens", 0, 1 << 50),
        metrics=fields.mapping("metrics"),
        nulls=fields.mapping("nulls"),
    )
    standard.done()
    fields.done()
    weights = tensor(artefact, f"{feature}.weights", np.float32, (len(layers), width))
    bias = tensor(artefact, f"{feature}.bias", np.float32, (1,))
    return Probe(feature, layers, weights, float(bias[0])), note
