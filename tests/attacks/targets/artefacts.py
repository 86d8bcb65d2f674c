"""Attacks packs and calibrations: a valid folder after hostile edits, or raw bytes in the place of a file.

The properties: `InputError` and nothing else; what loads has the digest of what it holds, and a bank or a
threshold can be made of it, or is refused in words.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from dosimeter.detectors.artefact import CARD
from dosimeter.detectors.bank import BankError, Column, Probe, ProbeBank
from dosimeter.detectors.calibrate import STREAMS, Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import ActivationFrame, Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.levels import Level, LevelError, Shape
from dosimeter.detectors.pack import WEIGHTS, Fingerprint, Pack, ProbeNote, load_pack, save_pack
from targets.folders import folder
from targets.source import Source, edited

MODEL = ModelIdentity("m", "Llama", 4, "float32", "0" * 64, "1" * 64, "2" * 64, "")
SNIPPETS = (
    b"../../", b"/etc/passwd", b"!!python/object/apply:os.system [id]", b"&a ", b"*a", b"<<: ", b".nan",
    b"1e999", b"9" * 39, b"-1", b"0x7fffffffffffffff", b"null", b"[]", b"{}", b'"\\0"', b'"\\ud800"',
    b"\x00", b'"dtype":"BF16"', b'"dtype":"F64"', b'"shape":[0,18446744073709551615]',
    b'"shape":[4294967296,4294967296,4]', b'"data_offsets":[0,18446744073709551615]',
    b'"__metadata__":{"a":"b"},', b"\x80\x04\x95cos\nsystem\n", b"\n  - 4",
    b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\xff" * 8,
)  # fmt: skip


@functools.cache
def bases() -> dict[str, dict[str, bytes]]:
    """A small valid pack and a small valid calibration, as the bytes of their files."""
    rng = np.random.default_rng(0)
    probes = [
        Probe("scam", (0,), rng.standard_normal((1, 4)).astype(np.float32), 0.5),
        Probe("deception", (0, 2), rng.standard_normal((2, 4)).astype(np.float32), -0.5),
    ]
    frame = ActivationFrame(rng.standard_normal((2, 3, 4)).astype(np.float32), (0, 2))
    notes = tuple(ProbeNote("T0", 0.0, 1.0, 10, {"auc": {"value": 0.9}}) for _ in probes)
    known = Fingerprint.take(probes, (1, 2, 3), frame, 0.05)
    where = folder("bases")
    save_pack(Pack("a/b", "none", MODEL, tuple(probes), notes, known), where / "pack")
    columns = [Column("scam", "a" * 64, "x"), Column("deception", "b" * 64, "x")]
    requests = [
        (
            rng.integers(-900, 900, (6, 2)).astype(np.int16),
            np.array([2, 2, 3, 3, 3, 3], np.uint8),
        )
        for _ in range(30)
    ]
    made = Calibration.from_requests(columns, requests, corpus="noise", date="2026-01-01")
    made.save(where / "calibration")
    return {
        kind: {name: (where / kind / name).read_bytes() for name in (CARD, second)}
        for kind, second in (("pack", WEIGHTS), ("calibration", STREAMS))
    }


def attack(data: bytes) -> None:
    """First byte: pack or calibration, and which of its files are edited or replaced."""
    source = Source(data)
    how = source.byte()
    kind = "calibration" if how & 1 else "pack"
    where = folder(kind)
    for place, (name, raw) in enumerate(bases()[kind].items()):
        acts = how >> (1 + 2 * place) & 3
        if acts == 1:
            raw = edited(raw, source, SNIPPETS)
        elif acts == 3:
            raw = source.take(source.left)
        (where / name).write_bytes(raw)
    refusal = None
    try:
        check_calibration(where) if how & 1 else check_pack(where)
    except InputError as error:
        refusal = error
    assert refusal is None or all(finding.message for finding in refusal.findings)


def check_pack(where: Path) -> None:
    pack = load_pack(where)
    again = folder("again")
    assert save_pack(pack, again) == pack.digest
    assert load_pack(again).card() == pack.card()
    try:
        bank = ProbeBank.from_packs([pack])
    except BankError:
        return
    hidden = np.ones((len(bank.layers), 1, bank.hidden_size), np.float32)
    assert bank.codes(ActivationFrame(hidden, bank.layers)).shape == (1, len(pack.probes))


def check_calibration(where: Path) -> None:
    found = Calibration.load(where)
    assert int(np.diff(found.offsets.astype(object)).min(initial=0)) >= 0
    for text in ("1 in 2 answers", "z 1", "1 in 5 tokens", "3 a day", "1 in 2 messages"):
        for feature in (*found.features[:2], "absent"):
            for shape in (
                Shape("once"),
                Shape("for", 3),
                Shape("average", 2),
                Shape("average_scope"),
            ):
                scope = Scope.MESSAGE if "messages" in text else Scope.ANSWER
                try:
                    placed = found.place(Level.parse(text), feature, scope, shape)
                except (NotCalibrated, NotEnough, LevelError):
                    continue
                assert -(1 << 15) <= placed.threshold < 1 << 15
