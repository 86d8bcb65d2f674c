"""Fits become a pack, and a pack scores texts as in a server: through its own op, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.examples import Example
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.fit import Doubles, Fit
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.monitor.fitting.lesson import PANEL
from dosimeter.monitor.fitting.subject import Subject, Tokens, statistic

if TYPE_CHECKING:
    from dosimeter.monitor.fitting.build import Learned

FINGERPRINT_TOKENS = 48
CANARY = Example(
    None,
    "canary",
    text="The ferry leaves at nine. Please bring the blue folder, two pencils and something to eat.",
)
"""What a pack's known answer is taken on: words of ours, since a pack may be handed on."""


def as_served(subject: Subject, fit: Fit, tokens: Sequence[Tokens]) -> Doubles:
    """[N]: every text scored token by token through the op that scores in a server, then one number."""
    pack = _pack_of(subject, "build/trial", "trial", [fit], [_bare_note(fit)], tokens[0])
    found = np.zeros(len(tokens))
    for index, scores in subject.scores(tokens, [pack], lambda done, of: None):
        found[index] = statistic(scores, tokens[index].read, subject.window)[0]
    return found


def make_pack(subject: Subject, name: str, learned: Sequence[Learned], tier: str) -> Pack | None:
    """A pack of what was not refused; None if nothing is left."""
    kept = [(one, one.fit) for one in learned if one.fit is not None]
    if not kept:
        return None
    return _pack_of(
        subject,
        name,
        "; ".join(
            f"{one.evidence['feature']}: logistic regression (C {one.evidence['fit']['strength']}) on "
            f"{one.evidence['fit']['pool']} of blocks {one.evidence['fit']['layers']}, "
            f"{one.evidence['fit']['positives']} risky and {one.evidence['fit']['negatives']} other texts"
            for one, _ in kept
        ),
        [fit for _, fit in kept],
        [_note(one, fit, tier) for one, fit in kept],
        subject.tokens(CANARY, kept[0][0].lesson.feature.read.scope),
    )


def _pack_of(
    subject: Subject,
    name: str,
    recipe: str,
    fits: Sequence[Fit],
    notes: Sequence[ProbeNote],
    known: Tokens,
) -> Pack:
    probes = tuple(fit.probe for fit in fits)
    return Pack(
        name=name,
        recipe=recipe,
        model=subject.identity,
        probes=probes,
        notes=tuple(notes),
        fingerprint=known_answer(subject, probes, known),
    )


def known_answer(subject: Subject, probes: Sequence[Probe], known: Tokens) -> Fingerprint:
    """What the probes say of the first tokens of `known`."""
    n = min(FINGERPRINT_TOKENS, len(known.ids))
    short = replace(known, ids=known.ids[:n], scopes=known.scopes[:n], read=known.read[:n])
    layers = tuple(sorted({layer for probe in probes for layer in probe.layers}))
    ((_, hidden),) = subject.activations([short], layers, lambda done, of: None)
    frame = ActivationFrame(np.ascontiguousarray(hidden.transpose(1, 0, 2)), layers)
    precise = subject.identity.dtype == "float32"
    return Fingerprint.take(probes, short.ids, frame, 0.01 if precise else 0.1)


def _bare_note(fit: Fit) -> ProbeNote:
    return ProbeNote("T0", fit.mean, fit.sd, fit.benign_tokens)


def _note(one: Learned, fit: Fit, tier: str) -> ProbeNote:
    """The first held-out set speaks for the probe; without one, cross-validation."""
    judged = [s for s in one.evidence["sets"] if s["name"] != PANEL]
    found = judged[1 if len(judged) > 1 else 0]
    at_1pct = found["tpr"][0]
    metrics = {
        "set": found["name"],
        "auroc": found["auroc"],
        "positives": found["positives"],
        "negatives": found["negatives"],
        "verdict": one.evidence["verdict"],
        "reads": one.evidence["reads"],
        "agreement": one.evidence["fit"]["agreement"],
    }
    if at_1pct["shown"]:
        metrics["tpr_at_1pct_fpr"] = {k: at_1pct[k] for k in ("value", "low", "high")}
    return ProbeNote(tier, fit.mean, fit.sd, fit.benign_tokens, metrics, found["nulls"])
