"""The evidence page: every figure of the document, nothing made of a stranger's text, no script, no network."""

from __future__ import annotations

import copy
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.fitting.page import count, figure_of_merit, number, share, text
from dosimeter.monitor.fitting.report import html

THIN = "\u202f"


def a_set(name: str, **changes: Any) -> dict[str, Any]:
    edges = [round(-3 + 0.5 * i, 1) for i in range(19)]
    return {
        "name": name,
        "positives": 247,
        "negatives": 457,
        "leaked": 0,
        "auroc": {"value": 0.972, "low": 0.953, "high": 0.984},
        "tpr": [
            {"fpr": 0.01, "value": 0.713, "low": 0.621, "high": 0.794, "shown": True},
            {"fpr": 0.001, "value": None, "low": None, "high": None, "shown": False},
        ],
        "nulls": {
            "tfidf": 0.891,
            "length": 0.583,
            "embedding": 0.904,
            "random_p95": 0.842,
            "random_mean": 0.631,
            "difference_of_means": 0.951,
            "shuffled_p95": 0.579,
            "clean_twin": None,
        },
        "margin": {"null": "embedding", "value": 0.068, "low": 0.041, "high": 0.097},
        "smallest_difference": 0.031,
        "alarms": [],
        "slices": [
            {"kind": "advice", "label": 0, "n": 40, "fires": 0.05, "auroc": None},
            {"kind": "call", "label": 1, "n": 38, "fires": 0.474, "auroc": None},
            {"kind": "language:es", "label": None, "n": 80, "fires": None, "auroc": 0.931},
            {"kind": "sms", "label": 1, "n": 121, "fires": 0.826, "auroc": None},
        ],
        "roc": [[i / 40, (i / 40) ** 0.09] for i in range(41)],
        "histogram": {
            "edges": edges,
            "risky": [0, 0, 1, 2, 2, 5, 7, 9, 14, 22, 31, 38, 41, 33, 21, 12, 6, 3],
            "benign": [3, 9, 22, 48, 79, 92, 81, 55, 33, 17, 9, 5, 2, 1, 1, 0, 0, 0],
        },
        **changes,
    }


SMS = (
    (" Dear", 0.41), (" customer", 2.24), (",", 0.6), (" your", 0.93), (" parcel", 1.31), (" is", 0.2), (" held", 2.71),
    (".\n", 0.4), (" Pay", 3.42), (" the", 1.85), (" 1", 1.2), (".", 0.9), ("99", 2.05), (" fee", 4.62),
    (" within", 3.33), (" 24", 4.05), (" hours", 4.38), (" or", 2.9), (" it", 1.66), (" goes", 1.94), (" back", 3.71),
    (".", 5.87),
)  # fmt: skip
CHAT = (
    (" Never", 0.31), (" give", 1.52), (" the", 0.1), (" code", 1.93), (" to", 0.22), (" anyone", 0.41),
    (" who", -0.72), (" calls", 0.62), (" you", -0.33), (";", -0.51), (" your", 0.12), (" bank", 1.04),
    (" does", -0.84), (" not", -1.12), (" ask", 0.35), (" for", -0.2), (" it", -0.91), (".", -0.44),
)  # fmt: skip

EVIDENCE: dict[str, Any] = {
    "version": 1,
    "feature": "scam",
    "tier": "T2",
    "reads": "model",
    "date": "2026-11-29",
    "model": {"name": "Weather-1B-Instruct", "architecture": "LlamaForCausalLM", "digest": "9f3c" * 16},
    "pack": {"name": "scam-weather-1b", "digest": "07ae" * 16},
    "verdict": "experimental",
    "checks": [
        {"check": "beats-words", "passed": True, "value": 0.0812, "bound": 0.0,
         "sentence": "beats TF-IDF on the same text by 0.081 [0.052, 0.110]"},
        {"check": "beats-random", "passed": True, "value": 0.13, "bound": 0.0,
         "sentence": "beats the 95th percentile of 1 000 random directions by 0.130"},
        {"check": "holds-elsewhere", "passed": False, "value": 0.061, "bound": 0.05,
         "sentence": "falls by 0.061 on the set nobody fitted on, more than 0.05"},
        {"check": "certified", "passed": False, "value": 1, "bound": 3,
         "sentence": "one of three levels is certified"},
        {"check": "agrees", "passed": None, "value": None, "bound": 0.5,
         "sentence": "two seeds find the same direction"},
    ],
    "fit": {
        "layers": [7, 8, 9], "blocks": 16, "pool": "mean", "scope": "answer", "strength": 0.001,
        "agreement": 0.71, "positives": 247, "negatives": 457, "groups": 431, "cut": 3,
        "benign_tokens": 6400,
        "sweep": [{"layer": i, "auroc": round(0.975 - 0.0022 * (i - 8) ** 2, 4)} for i in range(16)],
    },
    "sets": [
        a_set("cross-validated"),
        a_set(
            "suite",
            positives=96,
            negatives=1210,
            leaked=2,
            auroc={"value": 0.911, "low": 0.874, "high": 0.941},
            tpr=[
                {"fpr": 0.01, "value": 0.521, "low": 0.417, "high": 0.625, "shown": True},
                {"fpr": 0.001, "value": 0.219, "low": 0.135, "high": 0.313, "shown": True},
            ],
            nulls={"tfidf": 0.891, "length": 0.68, "embedding": 0.87, "random_p95": 0.823, "random_mean": 0.614,
                   "difference_of_means": 0.882, "shuffled_p95": 0.571, "clean_twin": 0.502},
            roc=[[i / 40, (i / 40) ** 0.17] for i in range(41)],
            margin={"null": "tfidf", "value": 0.02, "low": -0.012, "high": 0.055},
            alarms=["length alone reaches 0.68: long texts are mostly risky here",
                    "2 rows say what a row of the fit says"],
        ),
    ],
    "ablation": {"behaviour": "refuses to write the message", "plain": 0.99, "ablated": 0.31, "random": 0.98},
    "levels": [
        {"route": "all", "scope": "answer", "shape": "average 32 tokens", "level": "1 in 100 answers",
         "threshold_sd": 2.91, "units": 2000, "exceedances": 20, "bound95": 0.0146, "certified": False,
         "says": "not certified: label 1 610 more"},
        {"route": "support", "scope": "answer", "shape": "peak 8 tokens", "level": "1 in 50 answers",
         "threshold_sd": 2.18, "units": 2000, "exceedances": 31, "bound95": 0.0209, "certified": True,
         "says": "certified"},
    ],
    "examples": [
        {"label": 1, "kind": "sms", "score": 4.12, "tokens": [list(t) for t in SMS]},
        {"label": 0, "kind": "advice", "score": 0.34, "tokens": [list(t) for t in CHAT]},
    ],
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises if a tag is closed that is not open."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, written: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pieces: list[str] = []
        self.feed(written)
        self.close()
        if self.open:
            raise AssertionError(f"left open: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split(" "))


def with_key(path: tuple[Any, ...], value: Any, of: dict[str, Any] = EVIDENCE) -> dict[str, Any]:
    changed = copy.deepcopy(of)
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def paths(of: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key and index of a document."""
    items = of.items() if isinstance(of, dict) else enumerate(of) if isinstance(of, list) else ()
    found = []
    for key, value in items:
        found += [(*prefix, key), *paths(value, (*prefix, key))]
    return found


SMALL = {
    **EVIDENCE,
    "checks": EVIDENCE["checks"][:1],
    "fit": {**EVIDENCE["fit"], "sweep": EVIDENCE["fit"]["sweep"][:2]},
    "sets": [
        a_set(
            "a",
            alarms=["b"],
            roc=[[0, 0], [1, 1]],
            histogram={"edges": [0, 1, 2], "risky": [0, 3], "benign": [4, 1]},
        )
    ],
    "levels": EVIDENCE["levels"][:1],
    "examples": [{"label": 1, "kind": "sms", "score": 4.12, "tokens": [["a", 2.1]]}],
}
STRANGE = (None, True, -1, 10**400, math.nan, -1e308, 1e-320, "", "x", [[1, 2]], {"value": []})


def test_it_is_one_page_that_fetches_nothing_and_runs_nothing() -> None:
    page = html(EVIDENCE)
    found = Page(page)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(
        found.tags
    )
    names = [key for key, _ in found.attributes]
    assert not [
        key for key in names if key in ("src", "xlink:href", "style") or key.startswith("on")
    ]
    assert all(str(value).startswith("#") for key, value in found.attributes if key == "href")
    assert "url(" not in page
    assert "@import" not in page
    policy = next(str(v) for k, v in found.attributes if k == "content" and "src" in str(v))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policy
    assert 'charset="utf-8"' in page[:200]


def test_the_same_document_gives_the_same_page() -> None:
    assert html(copy.deepcopy(EVIDENCE)) == html(EVIDENCE)
    turned = {key: EVIDENCE[key] for key in reversed(EVIDENCE)}
    assert html(turned) == html(EVIDENCE)


def test_sections_stand_in_the_order_in_which_a_reader_asks() -> None:
    page = html(EVIDENCE)
    heads = ["scam</bdi>: evidence", "Experimental", "How well it separates", "AUROC beside every null", ">ROC<",
             "Scores, risky", "Slices, worst first", ">Alarms<", "Where in the model", "Calibration",
             "Missing for certification", "Ablation", "Examples", "How it was made"]  # fmt: skip
    where = [page.index(head) for head in heads]
    assert where == sorted(where)


def test_figures_of_the_document_are_the_figures_on_the_page() -> None:
    said = Page(html(EVIDENCE)).text
    for wanted in (
        "0.972 [0.953, 0.984]",
        f"71.3{THIN}% [62.1, 79.4{THIN}%]",
        f"21.9{THIN}% [13.5, 31.3{THIN}%]",
        "0.068 [0.041, 0.097]",
        "0.020 [−0.012, 0.055]",
        f"1{THIN}210",
        f"20 of 2{THIN}000",
        f"1.46{THIN}%",
        "beats TF-IDF on the same text by 0.081 [0.052, 0.110]",
        "label 1 610 more",
        "2.91",
        f"47.4{THIN}%",
        "length alone reaches 0.68",
        "1. risky, score 4.12 sd",
        "9f3c" * 16,
        "07ae" * 16,
    ):
        assert wanted in said, wanted
    for value in EVIDENCE["sets"][0]["nulls"].values():
        assert figure_of_merit(value) in said
    for one in EVIDENCE["fit"]["sweep"]:
        assert f"{one['layer']}: {one['auroc']:.3f}" in said


def test_dots_stand_where_their_numbers_say() -> None:
    """0.972 of an axis from 0.5 to 1 whose ends are at 1.5 and 98.5 %."""
    page = html(EVIDENCE)
    assert f'cx="{1.5 + 97 * (0.972 - 0.5) / 0.5:.2f}%"' in page
    assert f'x="{1.5 + 97 * (0.904 - 0.5) / 0.5:.2f}%"' in page


def test_bars_of_a_histogram_are_shares_of_their_own_class() -> None:
    document = with_key(
        ("sets",),
        [a_set("a", histogram={"edges": [0, 1, 2], "risky": [0, 10], "benign": [50, 50]})],
    )
    high = [
        float(h) for h in re.findall(r'class="(?:up|down)"[^>]* height="([0-9.]+)"', html(document))
    ]
    assert len(high) == 3
    assert high[0] == pytest.approx(2 * high[1], abs=0.1)
    assert high[1] == high[2]


def test_a_check_that_failed_is_shown_however_many_passed_before_it() -> None:
    """Nine sets have more than fifty checks."""
    passed, failed = EVIDENCE["checks"][0], EVIDENCE["checks"][2]
    shown = Page(html({**EVIDENCE, "verdict": "refused", "checks": [passed] * 70 + [failed]})).text
    assert "1 of 71 checks failed, 70 passed" in shown
    assert failed["sentence"] in shown
    assert "21 more checks not shown here." in shown


def test_examples_of_rows_that_were_fitted_on_are_told_as_that() -> None:
    crossed = {**EVIDENCE, "sets": EVIDENCE["sets"][:1]}
    assert "From rows that the fit has seen" in Page(html(crossed)).text
    assert "From rows that the fit has not seen" in Page(html(EVIDENCE)).text


def test_failed_checks_come_first_and_an_open_one_is_neither_failed_nor_passed() -> None:
    marks = re.findall(r'class="mark (\w+)">[^<]* (failed|passed|measured)<', html(EVIDENCE))
    assert [m[0] for m in marks] == ["failed", "failed", "open", "passed", "passed"]
    assert "2 of 5 checks failed, 2 passed" in Page(html(EVIDENCE)).text


def test_too_few_benign_rows_show_no_rate_even_if_one_is_there() -> None:
    hidden = [{"fpr": 0.01, "value": 0.987, "low": 0.9, "high": 1.0, "shown": False}]
    said = Page(html(with_key(("sets",), [a_set("a", tpr=hidden)]))).text
    assert "not shown: too few benign rows" in said
    assert "98.7" not in said


def test_a_reader_is_marked() -> None:
    assert "not by the model" not in html(EVIDENCE)
    assert "Read by a reader, not by the model." in Page(html({**EVIDENCE, "reads": "reader"})).text


def test_what_is_missing_reads_not_measured() -> None:
    assert Page(html({})).text.count("not measured") > 15
    for key in EVIDENCE:
        Page(html({k: v for k, v in EVIDENCE.items() if k != key}))
    assert "not measured" in Page(html({**EVIDENCE, "ablation": None})).text


def test_what_is_left_out_is_counted() -> None:
    said = Page(html({**EVIDENCE, "examples": [EVIDENCE["examples"][0]] * 20})).text
    assert "8 more examples not shown here." in said


@pytest.mark.parametrize("value", STRANGE, ids=lambda v: repr(v)[:12])
def test_no_value_of_a_strange_kind_breaks_the_page(value: Any) -> None:
    """Under every key of a small document, one at a time."""
    bad = re.compile(r'\b(?:x|y|cx|cy|x1|x2|y1|y2|width|height|points|d)="[^"]*(?:nan|inf|e[+-])')
    for path in paths(SMALL):
        written = html(with_key(path, value, SMALL))
        assert not bad.search(written), path
        assert written.count("<svg") == written.count("</svg>")
        assert written.count("<p") - written.count("<path") - written.count(
            "<polyline"
        ) == written.count("</p>"), path


ATTACKS = (
    "</p><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></svg><iframe src=//evil>",
    "<!--",
    "]]>&lt;b&gt;&#x22;",
    "\x00\x1b[2J\u202egnp.exe\u2066",
    "\ud800",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_of_strangers_stays_text(attack: str) -> None:
    """In every text of the document at once, and as the name of a null."""

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(one) for key, one in value.items()}
        if isinstance(value, list):
            return [poison(one) for one in value]
        return attack if isinstance(value, str) else value

    document = poison(EVIDENCE)
    document["sets"][0]["nulls"][attack] = 0.7
    written = html(document)
    found, clean = Page(written), Page(html(EVIDENCE))
    assert set(found.tags) <= set(clean.tags)
    assert {key for key, _ in found.attributes} <= {key for key, _ in clean.attributes}
    assert not re.search("[\x00\x1b\u202e\u2066\ud800]", written)
    written.encode()
    shown = attack.encode("unicode_escape").decode() if not attack.isprintable() else attack
    assert shown in found.text


@given(st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_text_leaves_the_tags_as_they_are(words: str) -> None:
    document = {
        "feature": f"a{words}",
        "examples": [{"kind": f"a{words}", "tokens": [[f"a{words}", 1.0]]}],
    }
    plain = {"feature": "a", "examples": [{"kind": "a", "tokens": [["a", 1.0]]}]}
    assert Page(html(document)).tags == Page(html(plain)).tags


def test_long_text_is_cut_and_says_so() -> None:
    assert text("a" * 300, 200) == "a" * 200 + "…"
    written = html(
        {**EVIDENCE, "feature": "x" * 10**6, "examples": [{"tokens": [["y" * 10**6, 1]] * 10**4}]}
    )
    assert len(written) < 300_000
    assert f"9{THIN}400 more tokens" in written


def test_line_ends_and_scores_of_tokens_are_seen() -> None:
    written = html(
        {
            "examples": [
                {"label": 1, "score": 4, "tokens": [["a\n\n b", 2.5], ["c", None], ["d", -1]]}
            ]
        }
    )
    assert '<span class="s2" title="2.50 sd">a↵\n b</span>' in written
    assert '<span title="not scored">c</span>' in written
    assert '<span title="−1.00 sd">d</span>' in written


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (figure_of_merit, 0.97, "0.970"),
        (figure_of_merit, 0.99996, "0.99996"),
        (figure_of_merit, 1.0, "1.000"),
        (share, 0.0146, f"1.46{THIN}%"),
        (share, 0.99996, f"99.996{THIN}%"),
        (share, 1, f"100{THIN}%"),
        (share, 0.0001, f"0.01{THIN}%"),
        (number, -0.012, "−0.012"),
        (number, 0.00001, "1e-05"),
        (number, True, "not measured"),
        (number, math.nan, "not measured"),
        (count, 6400, f"6{THIN}400"),
        (count, 10**400, "not measured"),
        (count, 2.5, "2.500000"),
    ],
)
def test_numbers_are_never_rounded_into_certainty(form: Any, value: Any, said: str) -> None:
    assert form(value) == said
