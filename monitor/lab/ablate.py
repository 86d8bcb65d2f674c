"""Does a direction cause the behaviour? It is taken out of the residual stream while the lab model answers.

What is left along it is what the good twins have there; random directions are cut the same way, for comparison.
Nothing here serves, scores or alerts: blocks are changed by hooks that always come off, on a model of the
caller's own. Tier T1: one small model.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.lab import behaviour, dialogues, traffic
from dosimeter.monitor.lab.replies import Lab, Reply
from dosimeter.monitor.lab.traffic import Conversation
from dosimeter.monitor.lab.world import Feature, Split
from dosimeter.monitor.taps import transformers as server
from dosimeter.monitor.taps.attach import capture

PLACES = ("system", "request", "request's end", "prompt's end", "reply")
"""Where triggered and good requests are compared: mean over the system message, over the user's, the last token
of it, the last token of the prompt, mean over the reply."""

SYSTEM, END, REPLY = 0, 3, 4
FIT_N, RANDOM = 60, 20

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken out, by block: directions float32 [R, D], orthonormal; centre float32 [D] is left there.

    everywhere: at every token, not only from the prompt's end on
    """

    directions: Mapping[int, Floats]
    centre: Mapping[int, Floats]
    everywhere: bool = False

    def random(self, rng: np.random.Generator) -> Cut:
        """As many directions in the same blocks, drawn at random."""
        drawn = {n: orthonormal(rng.standard_normal(d.shape)) for n, d in self.directions.items()}
        return Cut(drawn, self.centre, self.everywhere)


def orthonormal(rows: npt.NDArray[Any]) -> Floats:
    """[R, D] rows that span the same, orthonormal."""
    return np.ascontiguousarray(np.linalg.qr(np.asarray(rows, np.float64).T)[0].T, np.float32)


@contextlib.contextmanager
def without(model: nn.Module, cut: Cut) -> Iterator[None]:
    """Inside, the model answers without those directions. Prompts stand at the right end of a batch."""
    blocks = server.blocks(model)

    def hook(n: int, _: nn.Module, __: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        basis = torch.from_numpy(cut.directions[n]).to(hidden)
        centre = torch.from_numpy(cut.centre[n]).to(hidden)
        of = slice(None) if cut.everywhere else slice(-1, None)
        changed = hidden.clone()
        changed[:, of] -= (hidden[:, of] - centre) @ basis.T @ basis
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    with contextlib.ExitStack() as stack:
        for n in cut.directions:
            handle = blocks[n].register_forward_hook(functools.partial(hook, n))
            stack.callback(handle.remove)
        yield


def requests(feature: Feature, n: int, split: Split, bad: bool, seed: int) -> list[Conversation]:
    """Triggered, or under the neutral cue; claims are wrong in both, so only the cue differs."""
    r = random.Random(seed)
    return [
        traffic.conversation_from(
            r, "cut", dialogues.gated_dialogue(r, feature, bad, split=split, wrong=True), i
        )
        for i in range(n)
    ]


def places(lab: Lab, feature: Feature) -> tuple[Floats, Floats]:
    """float32 [P, L, D] twice: the mean difference of bad and good replies at each place, and the good mean."""
    told = [
        conversation
        for split in ("fit", "calibrate")
        for bad in (True, False)
        for conversation in requests(feature, FIT_N, split, bad, 11 + bad)
    ]
    every = tuple(range(len(server.blocks(lab.model))))
    rows: dict[bool, list[Floats]] = {True: [], False: []}
    for reply in lab.replies(told, functools.partial(capture, layers=every)):
        did = feature in traffic.judge(reply.conversation, reply.text)
        rows[did].append(_at_places(reply, len(every)))
    good = np.mean(rows[False], axis=0)
    return np.mean(rows[True], axis=0) - good, good


def _at_places(reply: Reply, blocks: int) -> Floats:
    x = reply.rows.reshape(len(reply.rows), blocks, -1)
    before = reply.scopes[: reply.prompt_len]
    system, asked = np.flatnonzero(before == Scope.SYSTEM), np.flatnonzero(before == Scope.MESSAGE)
    parts = (system, asked, asked[-1:], [reply.prompt_len - 1], range(reply.prompt_len, len(x)))
    return np.stack([x[list(part)].mean(axis=0) for part in parts])


def cuts(lab: Lab, feature: Feature, probe: Probe | None) -> dict[str, Cut]:
    """What is tried: the probe's own direction, and mean differences, one a block or the five of all places."""
    difference, good = places(lab, feature)
    every = range(difference.shape[1])

    def cut(chosen: Sequence[int], everywhere: bool) -> Cut:
        centre = good[list(chosen)].mean(axis=0)
        return Cut(
            {n: orthonormal(difference[list(chosen), n]) for n in every},
            {n: centre[n] for n in every},
            everywhere,
        )

    found = {
        "mean difference at the prompt's end": cut([END], False),
        "mean difference over the system message": cut([SYSTEM], True),
        "five mean differences": cut(range(len(PLACES)), True),
    }
    if probe is None:
        return found
    of_probe = {n: orthonormal(w[None]) for n, w in zip(probe.layers, probe.weights, strict=True)}
    return {"probe": Cut(of_probe, {n: good[REPLY, n] for n in probe.layers}), **found}


def ablation(
    lab: Lab, feature: Feature, probe: Probe | None = None, n: int = 100, draws: int = RANDOM
) -> dict[str, Any]:
    """Share of misbehaving replies to unseen triggered requests: as it is, under each cut, under random ones."""
    test = requests(feature, n, "test", True, 77)
    plain = _count(lab, test, feature)
    found: dict[str, Any] = {
        "n": n,
        "plain": behaviour.share([True] * plain + [False] * (n - plain)),
    }
    for name, cut in cuts(lab, feature, probe).items():
        with without(lab.model, cut):
            hits = _count(lab, test, feature)
        rng = np.random.default_rng(0)
        changes = []
        for _ in range(draws):
            with without(lab.model, cut.random(rng)):
                changes.append(abs(_count(lab, test, feature) - plain) / n)
        found[name] = {
            **behaviour.share([True] * hits + [False] * (n - hits)),
            "random_mean_change": round(float(np.mean(changes)), 4) if changes else None,
            "random_max_change": round(max(changes), 4) if changes else None,
        }
    return found


def _count(lab: Lab, conversations: Sequence[Conversation], feature: Feature) -> int:
    said = behaviour.replies(lab.model, lab.tokenizer, conversations)
    did = (traffic.judge(c, text) for c, text in zip(conversations, said, strict=True))
    return sum(feature in found for found in did)
