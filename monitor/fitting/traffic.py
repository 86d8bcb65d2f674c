"""Captured requests as rows to learn from: what they left in the server, under labels that somebody gave them.

A request stands for a conversation of two messages, what was asked and what was answered, in the words its tokens
decode to: words are a null, and say which rows are copies. Its activations come out of the capture, never from a second
run; whatever else is read, such as a pack's canary, goes through the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.examples import Example, check_fit
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.frames import ActivationFrame, Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack
from dosimeter.detectors.registry import Feature
from dosimeter.monitor.capture.folder import Capture, CapturedRequest
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.lesson import Lesson
from dosimeter.monitor.fitting.subject import Floats, Tell, Tokens

AT_ONCE = 64
"""Requests whose activations are held while the shards are read through once."""
Labels = Mapping[tuple[int, int], bool]
"""(epoch, key) -> has the feature."""


@dataclass(frozen=True, slots=True)
class OfCapture(Tokens):
    """A captured request as the model took it; positions before `of.first` were never run for it."""

    of: CapturedRequest | None = None


class Traffic:
    """A decoder whose requests were captured. It is a `Subject`."""

    reads = "model"
    window: int | None = None

    def __init__(self, model: Decoder, capture: Capture) -> None:
        """Raises InputError: another model was captured."""
        digest = str(capture.manifest["model"].get("digest"))
        if digest != model.identity.digest:
            raise InputError.at(
                capture.folder,
                f"is of another model: digest `{digest[:16]}`, the folder's is `{model.identity.digest[:16]}`",
                "--model names the one that was served",
            )
        self.model, self.capture = model, capture
        self.identity: ModelIdentity = model.identity
        self.blocks, self.width = model.blocks, model.width
        self.layers = capture.layers

    def example(self, request: CapturedRequest, scope: Scope, label: bool | None) -> Example | None:
        """A row of it; None where nothing of that scope was said."""
        tokens = self._tokens(request, scope)
        if not tokens.read.any():
            return None
        answer = [
            n for n, own in zip(tokens.ids, tokens.scopes == Scope.ANSWER, strict=True) if own
        ]
        said = [("user", self._words(request, tokens.ids[: request.prompt_len]))]
        if scope is Scope.ANSWER:
            said.append(("assistant", self._words(request, answer)))
        group = request.labels.get("conversation") or request.name
        return Example(
            label,
            group,
            messages=tuple({"role": role, "content": content} for role, content in said),
            kind=request.labels.get("route", ""),
            place=Place(request.name),
        )

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        request = self.capture.requests.get(example.place.name)
        return (
            self.model.tokens(example, scope) if request is None else self._tokens(request, scope)
        )

    def pieces(self, tokens: Tokens) -> list[str]:
        return self.model.pieces(tokens)

    def embedded(self, tokens: Tokens) -> Floats:
        return self.model.embedded(tokens)

    def activations(
        self, tokens: Sequence[Tokens], layers: Sequence[int], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        rest = [i for i, one in enumerate(tokens) if not isinstance(one, OfCapture)]
        mine = [(i, one) for i, one in enumerate(tokens) if isinstance(one, OfCapture)]
        if rest:
            for index, rows in self.model.activations([tokens[i] for i in rest], layers, _quiet):
                yield rest[index], rows
        if mine and (lacking := sorted(set(layers) - set(self.layers))):
            raise InputError.at(self.capture.folder, f"has no layers {lacking}")
        at = [self.layers.index(n) for n in layers]
        for low in range(0, len(mine), AT_ONCE):
            part = mine[low : low + AT_ONCE]
            wanted = {one.of.name: one.of for _, one in part if one.of is not None}
            found = {one.name: rows for one, rows in self.capture.activations(wanted.values())}
            for index, one in part:
                assert one.of is not None
                rows = np.zeros((len(one.ids), len(at), self.width), np.float32)
                rows[one.of.first :] = found[one.of.name][: len(one.ids) - one.of.first, at]
                yield index, rows
            tell(len(rest) + low + len(part), len(tokens))

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Pack], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        """Of what was captured; not a number where a request's positions were never run."""
        bank = ProbeBank.from_packs(packs)
        rest = [i for i, one in enumerate(tokens) if not isinstance(one, OfCapture)]
        if rest:
            for index, scores in self.model.scores([tokens[i] for i in rest], packs, _quiet):
                yield rest[index], scores
        mine = [i for i, one in enumerate(tokens) if isinstance(one, OfCapture)]
        for index, rows in self.activations([tokens[i] for i in mine], bank.layers, tell):
            hidden = np.ascontiguousarray(rows.transpose(1, 0, 2))
            scores = bank.score(ActivationFrame(hidden, bank.layers))
            one = tokens[mine[index]]
            scores[: one.of.first if isinstance(one, OfCapture) and one.of else 0] = np.nan
            yield mine[index], scores

    def _tokens(self, request: CapturedRequest, scope: Scope) -> OfCapture:
        length = request.first + request.rows
        ids = request.ids[:length] or (0,) * length
        scopes = np.full(length, Scope.ANSWER, np.uint8)
        for whose, start, end in request.spans:
            scopes[start:end] = whose
        said = np.ones(length, np.bool_) if not request.ids else ~self.model.special(ids)
        read = (scopes == scope) & said & (np.arange(length) >= request.first)
        return OfCapture(tuple(ids), scopes, read, of=request)

    def _words(self, request: CapturedRequest, ids: Sequence[int]) -> str:
        if not request.ids:
            return f"request {request.name}"  # its tenant keeps the words
        text = str(self.model.tokenizer.decode(list(ids), skip_special_tokens=True))
        return text.strip() or f"request {request.name}"


@dataclass(frozen=True, slots=True)
class Sorted:
    """A capture under labels. unworded: labelled, without token ids; unread: labelled, without a token to read.

    unknown: labels of requests that are not whole in the capture, or not in it
    fitted: without a label, of a conversation that is fitted on: levels placed on them would be too low
    """

    lesson: Lesson
    unworded: int
    unread: int
    unknown: int
    fitted: int


def lesson_of(feature: Feature, traffic: Traffic, labels: Labels) -> Sorted:
    """Labelled requests are fitted on and cross-validated; levels are placed on the others. Raises InputError."""
    scope = feature.read.scope
    own: dict[str, Example] = {}
    benign: list[Example] = []
    unworded = unread = met = 0
    for request in traffic.capture.requests.values():
        label = labels.get(number(request))
        met += label is not None
        row = traffic.example(request, scope, label)
        if label is None:
            if row is not None:
                benign.append(replace(row, label=False))
        elif not request.ids:
            unworded += 1
        elif row is None:
            unread += 1
        else:
            first = own.setdefault(row.identity, row)
            if first.label != row.label:
                raise InputError.at(row.place, f"says what {first.place} says, under another label")
    if not own:
        raise InputError.at(
            traffic.capture.folder,
            f"has no labelled request with its tokens ({unworded} without, {unread} with nothing to read)",
            "tokens leave a server for tenants named by `attach --content-tenant` alone",
        )
    findings = check_fit(list(own.values()))
    if any(finding.severity == "error" for finding in findings):
        raise InputError(findings)
    fitted = {row.group for row in own.values()}
    others = tuple(row for row in benign if row.group not in fitted)
    lesson = Lesson(feature, tuple(own.values()), (), {}, others, tuple(findings), {})
    return Sorted(lesson, unworded, unread, len(labels) - met, len(benign) - len(others))


def number(request: CapturedRequest) -> tuple[int, int]:
    """Epoch and key."""
    epoch, _, key = request.name.partition("/")
    return int(epoch, 16), int(key, 16)


def _quiet(_done: int, _of: int) -> None:
    """Canaries and the like: too few to tell of."""
