"""How features are drawn: the list as a table, one card as sections no wider than the screen.

It owns the picture and nothing else. Examples, packs and calibrations are other people's text and
pass `plain`; wrapping counts terminal columns, since a wide character takes two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest

from dosimeter.detectors.examples import Example
from dosimeter.monitor.cli.screen import Screen, columns, fit, plain, table
from dosimeter.monitor.feature_card import Card, Figure, Pair, Quality

LABEL = 18  # columns for the name of a section
SIDE_BY_SIDE = 120  # columns of a screen on which the two texts of a pair stand next to each other
TEXT_LINES, MESSAGES, MESSAGE_LINES = 4, 3, 3
MOST_NULLS = 12
WIDE = ("feature", "maturity", "pairs", "hard neg.", "title", "packs")
NARROW = ("feature", "maturity", "pairs", "hard neg.", "packs")
_LINE_END = re.compile(r"\s*\n\s*")
_POOLS = {
    "mean": "the mean over the {}",
    "tokens": "every token of the {}",
    "last": "the last token of the {}",
}


def list_lines(cards: Sequence[Card], strange: Sequence[str], screen: Screen) -> list[str]:
    """strange: features that packs read and nobody defined, in words."""
    names = WIDE if screen.width >= SIDE_BY_SIDE else NARROW
    head, *lines = table(names, [_row(card, names) for card in cards], screen.width, whole=2)
    notes = [
        "maturity decides what may be claimed; packs: tier and AUROC on the pack's own model and rows,"
        " with nulls in `dosimeter features show NAME`",
        *(f"not defined here: {one}" for one in strange),
    ]
    said = (line for note in notes for line in wrapped(note, screen.width))
    return [screen.bold(head), *lines, "", *said]


def card_lines(card: Card, screen: Screen) -> list[str]:
    feature = card.feature
    scope = feature.read.scope.name.lower()
    data = [
        f"{len(rows):,} {what}: {path}" if path else f"no {what}"
        for rows, what, path in (
            (card.pairs, "pairs", feature.data.pairs),
            (card.hard_negatives, "hard negatives", feature.data.hard_negatives),
        )
    ]
    lines = [
        screen.bold(f"{feature.name} ({feature.maturity})"),
        *wrapped(feature.title, screen.width),
    ]
    for name, texts in (
        ("definition", [feature.definition]),
        ("claim", [feature.claim]),
        ("read", [_POOLS[feature.read.pool].format(scope)]),
        ("sources", feature.sources),
        ("confusables", feature.confusables),
        ("known failures", feature.known_failures),
        ("data", data),
    ):
        lines += ["", *_section(name, texts, screen)]
    for pair in card.shown_pairs:
        lines += ["", *_pair(pair, screen)]
    for row in card.shown_negatives:
        lines += ["", *_negative(row, screen)]
    lines += ["", *_section("quality", [] if card.quality else ["in no pack known here"], screen)]
    for one in card.quality:
        lines += _quality(one, screen)
    return lines


def _row(card: Card, names: Sequence[str]) -> list[str]:
    packs = [f"{plain(one.pack)} {one.tier} {_number(one.auroc)}" for one in card.quality]
    cells = {
        "feature": card.feature.name,
        "maturity": card.feature.maturity,
        "pairs": str(len(card.pairs) or "-"),
        "hard neg.": str(len(card.hard_negatives) or "-"),
        "title": card.feature.title,
        "packs": ", ".join(packs) or "-",
    }
    return [cells[name] for name in names]


def wrapped(text: str, width: int, most: int | None = None) -> list[str]:
    """Plain text in lines of at most `width` columns, broken at spaces where there are any.

    most: as many lines; what does not fit is cut with `…`.
    """
    lines, line = [], ""
    for word in plain(text).split():
        while word:
            joined = f"{line} {word}" if line else word
            if columns(joined) <= width:
                line, word = joined, ""
            elif line:
                lines.append(line)
                line = ""
            else:
                line, word = _split(word, width)
        if most is not None and len(lines) > most:
            break
    lines += [line] if line else []
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], fit(f"{lines[most - 1]} …", width).rstrip()]
    return lines


def _split(word: str, width: int) -> tuple[str, str]:
    """As much of a word as `width` columns hold, one character at least, and the rest."""
    used = 0
    for end, c in enumerate(word):
        used += columns(c)
        if used > width and end:
            return word[:end], word[end:]
    return word, ""


def _section(name: str, texts: Iterable[str], screen: Screen) -> Iterator[str]:
    """Label, then each text; several are told apart by a dash."""
    texts = list(texts) or [""]
    marks = ("- ", "  ") if len(texts) > 1 else ("", "")
    room = screen.width - LABEL - len(marks[0])
    yield from _labelled(
        name,
        (
            marks[number > 0] + part
            for text in texts
            for number, part in enumerate(wrapped(text, room) or [""])
        ),
    )


def _pair(pair: Pair, screen: Screen) -> Iterator[str]:
    yield _named("pair", pair.risky, screen)
    if screen.width < SIDE_BY_SIDE:
        for label, row in (("  risky", pair.risky), ("  benign", pair.benign)):
            yield from _labelled(label, _said(row, screen.width - LABEL))
        return
    half = (screen.width - 3) // 2
    left, right = ([name, *_said(row, half)] for name, row in
                   (("risky", pair.risky), ("benign", pair.benign)))  # fmt: skip
    for one, other in zip_longest(left, right, fillvalue=""):
        yield f"{fit(one, half)} │ {other}".rstrip()


def _negative(row: Example, screen: Screen) -> Iterator[str]:
    yield _named("hard negative", row, screen)
    yield from _labelled("  benign", _said(row, screen.width - LABEL))


def _named(what: str, row: Example, screen: Screen) -> str:
    kind = f" ({plain(row.kind)})" if row.kind else ""
    return fit(f"{what} {plain(row.group)}{kind}", screen.width).rstrip()


def _said(row: Example, width: int) -> list[str]:
    """The text, shortened; of a conversation the last messages, each behind its role."""
    if row.text is not None:
        return wrapped(_start(row.text), width, TEXT_LINES)
    return [
        line
        for message in row.messages[-MESSAGES:]
        for line in wrapped(
            f"{message['role']}: {_start(message['content'])}", width, MESSAGE_LINES
        )
    ]


def _start(text: str) -> str:
    """As much as could ever be shown, its line ends as marks."""
    return _LINE_END.sub(" ↵ ", text[:2_000].strip())


def _quality(one: Quality, screen: Screen) -> Iterator[str]:
    rows = ""
    if one.positives is not None and one.negatives is not None:
        rows = f"on {one.positives:,} risky and {one.negatives:,} other rows"
    figures = (("AUROC", one.auroc), ("TPR at 1 % FPR", one.tpr_at_1pct_fpr))
    nulls = [f"{name} {_number(value)}" for name, value in islice(one.nulls.items(), MOST_NULLS)]
    more = len(one.nulls) - len(nulls)
    yield fit(
        f"  {plain(one.pack)}, {one.tier}, on model {plain(one.model)}", screen.width
    ).rstrip()
    yield from _labelled("  fitted", wrapped(one.recipe, screen.width - LABEL, MESSAGE_LINES))
    yield from _labelled("  measured", wrapped(rows or "on rows not stated", screen.width - LABEL))
    for name, figure in figures:
        yield from _labelled(f"  {name}", [_figure(figure)])
    said = " · ".join([*nulls, *([f"and {more} more"] if more else [])]) or "none measured"
    yield from _labelled("  nulls (AUROC)", wrapped(said, screen.width - LABEL))
    for traffic in one.calibrations or ("on no traffic known here: it may not alert",):
        yield from _labelled("  calibrated", wrapped(traffic, screen.width - LABEL, MESSAGE_LINES))


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield (fit(label, LABEL) + line).rstrip()
        label = ""


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return _number(figure) + (", no interval" if figure else "")
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _number(value: Figure | float | None) -> str:
    value = value.value if isinstance(value, Figure) else value
    return "-" if value is None else f"{value:.3f}"
