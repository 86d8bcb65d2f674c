"""`Interference`: which watched directions read each other, so that a rule on one fires for another.

From a bank's weights alone, the angle between directions and how far one moves when the other's is
pushed; with benign activations, how their scores move together, which angles do not foretell where
activations are correlated. It never learns what a feature means, nor about rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.findings import Finding, InputError, Place

Doubles = npt.NDArray[np.float64]

LEAST = 100
"""Benign tokens for a correlation: its standard error is then a tenth."""
LIMIT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Interference:
    """Between the F directions of a bank, all in float64; row A, column B.

    features     [F]
    packs        [F]     name of the pack each is from
    cosine       [F, F]  over the layers that both read, in weights folded by the benign sd; NaN
                         where there is no such layer, or a direction is zero
    pushed       [F, F]  sd that B moves where activations move along A's direction until A has
                         risen 1 sd; not symmetric; what later layers make of a push is not in it
    correlation  [F, F]  of scores on benign tokens: the cosine of fully whitened directions; NaN
                         where a score does not vary; None without activations
    together     [F, F]  sd that B lies above its mean for each sd of A there, by least squares
    tokens       benign tokens used
    """

    features: tuple[str, ...]
    packs: tuple[str, ...]
    cosine: Doubles
    pushed: Doubles
    correlation: Doubles | None = None
    together: Doubles | None = None
    tokens: int = 0

    @classmethod
    def of(cls, bank: ProbeBank, benign: npt.NDArray[np.floating] | None = None) -> Interference:
        """benign [M, L, D]: activations at the bank's layers; tokens with one not finite are left
        out, as the bank does. Raises InputError for other shapes and fewer than 100 tokens."""
        count = len(bank.columns)
        products = np.zeros((count, count))  # of whole directions
        shared = np.zeros((count, count))  # squared length of A over the layers that B reads
        for weights in bank.weights:
            rows = weights.astype(np.float64)  # [F, D]
            product = rows @ rows.T
            reads = (rows != 0).any(axis=1)
            products += product
            shared += np.outer(np.diag(product), reads)
        lengths = np.sqrt(shared * shared.T)
        cosine = np.clip(_ratio(products, lengths), -1.0, 1.0)
        pushed = _ratio(products, np.diag(products)[:, None])
        names = bank.features, tuple(column.pack_name for column in bank.columns)
        if benign is None:
            return cls(*names, cosine, pushed)
        scores = _scores(bank, benign)
        centred = scores - scores.mean(axis=0)
        covariance = centred.T @ centred / len(scores)
        variance = np.diag(covariance).copy()
        # Rounding leaves a score that never varies with a variance of about the square of 1e-16.
        variance[variance <= 1e-24 * (scores**2).mean(axis=0)] = 0.0
        correlation = np.clip(_ratio(covariance, np.sqrt(np.outer(variance, variance))), -1.0, 1.0)
        together = _ratio(covariance, variance[:, None])
        return cls(*names, cosine, pushed, correlation, together, len(scores))

    def crosstalk(self, sd: float) -> Doubles:
        """[F, F]: sd of B above its mean where A sits `sd` above its own, along A's direction."""
        return sd * self.pushed

    def pairs(self) -> list[tuple[int, int, float]]:
        """(A, B, value), A < B, strongest first; value: of cosine and correlation the larger in
        size, 0 where neither is known."""
        found = []
        for a in range(len(self.features)):
            for b in range(a + 1, len(self.features)):
                values = [self.cosine[a, b]]
                if self.correlation is not None:
                    values.append(self.correlation[a, b])
                known = [float(v) for v in values if np.isfinite(v)]
                found.append((a, b, max(known, key=abs, default=0.0)))
        return sorted(found, key=lambda pair: -abs(pair[2]))

    def findings(self, limit: float = LIMIT) -> list[Finding]:
        """A warning a pair whose cosine or correlation reaches the limit, strongest first.

        `pushed` decides nothing: it depends on how much of the benign spread a direction carries,
        and a feature rarely rises along its own weights alone. Raises InputError.
        """
        if not 0 < limit <= 1:
            raise InputError.at("interference", f"limit {limit} is no cosine", "write 0.5")
        return [self._finding(*pair) for pair in self.pairs() if abs(pair[2]) >= limit]

    def _finding(self, a: int, b: int, value: float) -> Finding:
        one, other = self.features[a], self.features[b]
        if value > 0:
            effect = "what raises one raises the other, and rules on both fire together"
        else:
            effect = "what raises one lowers the other, and a rule on it goes blind"
        return Finding(
            "interference",
            "warning",
            Place(self.packs[a]),
            f"`{one}` and `{other}` read each other: {self._measures(a, b)}; {effect}",
            f"fit each against examples of the other, or let a rule on `{one}` ask for `{other}` too",
        )

    def _measures(self, a: int, b: int) -> str:
        cosine = self.cosine[a, b]
        said = f"cosine {cosine:.2f}" if np.isfinite(cosine) else "no shared layer"
        if self.correlation is None:
            return said
        value = self.correlation[a, b]
        known = f"{value:.2f}" if np.isfinite(value) else "unknown, a score does not vary"
        return f"{said}, correlation {known} on {self.tokens} benign tokens"


def as_lines(found: Interference, sd: float = 4.0, most: int = 20) -> Iterator[str]:
    """The strongest pairs, a line each, with what `sd` of one does to the other."""
    pairs = found.pairs()
    if not pairs:
        yield "fewer than two directions: nothing to compare"
    pushed = found.crosstalk(sd)
    for a, b, _ in pairs[:most]:
        one, other = found.features[a], found.features[b]
        line = f"`{one}` and `{other}`: {found._measures(a, b)}"
        ways = [(one, other, pushed[a, b]), (other, one, pushed[b, a])]
        moves = [f"{sd:g} sd of `{x}` push `{y}` by {m:+.1f}" for x, y, m in ways if np.isfinite(m)]
        yield "; ".join([line, *moves])
    if len(pairs) > most:
        yield f"and {len(pairs) - most} weaker pairs"


def as_json(found: Interference, limit: float = LIMIT) -> str:
    """The matrices, null where nothing is known, and the findings."""
    matrices = {
        name: None if matrix is None else _nullable(matrix)
        for name, matrix in (
            ("cosine", found.cosine),
            ("pushed", found.pushed),
            ("correlation", found.correlation),
            ("together", found.together),
        )
    }
    return json.dumps(
        {
            "features": list(found.features),
            "tokens": found.tokens,
            **matrices,
            "findings": [finding.as_json() for finding in found.findings(limit)],
        },
        indent=2,
    )


def _scores(bank: ProbeBank, benign: npt.NDArray[np.floating]) -> Doubles:
    """float64 [M, F] without bias, of the tokens that are finite at every layer."""
    place = "benign activations"
    expected = (len(bank.layers), bank.hidden_size)
    if benign.ndim != 3 or benign.shape[1:] != expected:
        raise InputError.at(
            place, f"shape {benign.shape}, the bank reads [M, {expected[0]}, {expected[1]}]"
        )
    finite = np.isfinite(benign).all(axis=(1, 2))
    if finite.sum() < LEAST:
        raise InputError.at(
            place, f"{int(finite.sum())} finite tokens", f"a correlation takes {LEAST} or more"
        )
    scores = np.zeros((int(finite.sum()), len(bank.columns)))
    for layer, weights in enumerate(bank.weights):
        scores += benign[finite, layer].astype(np.float64) @ weights.astype(np.float64).T
    return scores


def _ratio(top: Doubles, bottom: Doubles) -> Doubles:
    """NaN where the bottom is 0."""
    found = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=found, where=np.broadcast_to(bottom, top.shape) > 0)
    return found


def _nullable(matrix: Doubles) -> list[list[float | None]]:
    return [[float(v) if np.isfinite(v) else None for v in row] for row in matrix]
