"""What the shipped rules catch and miss on conversations of kinds no probe was fitted on:
`python -m dosimeter.monitor.lab.heldout`.

Cue families, facts, scam topics and scripts of the third split. The engine that decides is the one that decides live.
Tier T1: figures about this lab model and no other.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.binomial import wilson
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, ScoreFrame, to_codes
from dosimeter.detectors.pack import load_pack
from dosimeter.monitor.lab import CALIBRATION, MODEL, PACK, traffic
from dosimeter.monitor.lab.demo import RULES
from dosimeter.monitor.lab.replies import Lab, Reply
from dosimeter.monitor.lab.world import FEATURES
from dosimeter.monitor.taps.attach import attach
from dosimeter.rules.engine import Engine
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.program import Program, compile_program

PER_FEATURE, BENIGN = 600, 3000


def conversations() -> list[traffic.Conversation]:
    misbehaving = [
        conversation
        for i, feature in enumerate(FEATURES)
        for conversation in traffic.labelled_conversations(feature, PER_FEATURE, 5000 + i, "test")
    ]
    return misbehaving + traffic.benign_conversations(BENIGN, 6000, "test")


def fired(program: Program, replies: Sequence[Reply]) -> Iterator[set[str]]:
    """The rules that fire on each reply, decided by the engine."""
    engine = Engine(program)
    for key, reply in enumerate(replies, start=1):
        engine.open(key, {})
        edges = np.flatnonzero(np.diff(reply.scopes)) + 1
        starts = np.concatenate([[0], edges])
        segments = np.zeros(len(starts), SEGMENTS)
        segments["key"], segments["start"] = key, starts
        segments["n"] = np.diff(np.append(starts, len(reply.scopes)))
        segments["scope"] = reply.scopes[starts]
        hits = engine.step(ScoreFrame(segments, to_codes(reply.rows), 0, 0))
        hits += engine.close(key, finished=True)
        yield {hit.rule for hit in hits}


def main() -> int:
    lab, pack = Lab.load(MODEL), load_pack(PACK)
    replies = list(lab.replies(conversations(), functools.partial(attach, packs=[pack])))
    did = [traffic.judge(reply.conversation, reply.text) for reply in replies]
    bank = ProbeBank.from_packs([pack])
    rules = load_rules([RULES.parent])
    program = compile_program(rules, bank.columns, (Calibration.load(CALIBRATION),))
    hits = list(fired(program, replies))
    print(
        "rule                   of          caught        95 % interval    benign answers that fire"
    )
    for rule in program.rules:
        benign = [rule.rule in hit for hit, d in zip(hits, did, strict=True) if not d]
        asked = {one.feature for c in rule.logic.clauses if not c.negated for one in c.literals}
        for feature in sorted(asked):
            caught = [rule.rule in hit for hit, d in zip(hits, did, strict=True) if feature in d]
            print(f"{rule.rule:<22} {feature:<11} {_share(caught)}  {_share(benign)}")
    return 0


def _share(found: Sequence[bool]) -> str:
    low, high = wilson(sum(found) / max(len(found), 1), len(found))
    return f"{sum(found):>4} of {len(found):<5} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    sys.exit(main())
