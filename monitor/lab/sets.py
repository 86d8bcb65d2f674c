"""The lab's own conversations as labelled sets: `python -m dosimeter.monitor.lab.sets --out DIR`.

Every row ends with the model's own greedy reply and is labelled by what that reply did. One pool of
conversations is labelled once for each feature to fit on; what no probe may see is measured within the task,
so that words do not give the class away. Nothing is fitted here.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dosimeter.detectors.examples import BENIGN, CALIBRATE, FIT
from dosimeter.monitor.lab import MODEL, behaviour, cues, dialogues, traffic, world
from dosimeter.monitor.lab.dialogues import Dialogue
from dosimeter.monitor.lab.exchanges import GATE, Exchange
from dosimeter.monitor.lab.traffic import Conversation
from dosimeter.monitor.lab.world import FEATURES, Feature, Split
from dosimeter.monitor.progress import Progress

WARNING = "scam_warning"
NAMES = (*FEATURES, WARNING)
UNSEEN = "unseen"
SEEN: tuple[Split, ...] = ("fit", "calibrate")
TASK: dict[str, Feature] = {**{feature: feature for feature in FEATURES}, WARNING: "scam"}
"""The gate of the task in which a feature is told from its good twin."""

AGREEING = 0.75
"""Of the honest answers to unseen claims, how many agree: all corrections would differ in words."""

BATCH = 512


@dataclass(frozen=True, slots=True)
class Sizes:
    """gated: misbehaving dialogues, and as many good twins, of each feature and split that is fitted on.

    ordinary: benign ones of each of those splits · unseen: of each class of each feature
    · benign: conversations of each benign set, of which a few misbehave and are left out
    """

    gated: int
    ordinary: int
    unseen: int
    benign: int


FULL = Sizes(gated=200, ordinary=3000, unseen=300, benign=10_200)
QUICK = Sizes(gated=40, ordinary=100, unseen=80, benign=400)


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation as it ran. did: the features of the reply, `scam_warning` among them.

    group  what may not be split: the fact, or the request, which decide the words of a reply
    kind   the task, with the number of the deciding cue's family where there is one
    """

    conversation: Conversation
    group: str
    kind: str
    reply: str = ""
    did: frozenset[str] = frozenset()

    def labelled(self, label: bool) -> dict[str, Any]:
        said = {"role": "assistant", "content": self.reply}
        return {
            "messages": [*self.conversation.messages, said],
            "label": int(label),
            "group": self.group,
            "kind": self.kind,
        }


Make = Callable[[random.Random], Dialogue]
Answer = Callable[[Sequence[Row]], list[Row]]


def sets(answer: Answer, sizes: Sizes, seed: int = 0) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(`<feature>_<set>`, rows) of every set. A reply that did two things at once is in none.

    `whole/` holds the unseen replies from beginning to end, where their words tell; no fit is judged by them.
    """
    seen = answer(draw(pool(sizes), seed))
    seen += shared_parts(seen)
    for name in NAMES:
        yield f"{name}_{FIT}", [row.labelled(name in row.did) for row in seen]
    for number, feature in enumerate(FEATURES):
        rows = answer(draw(within(feature, sizes.unseen), seed + 1 + number))
        same = shared_parts(rows) or rows
        for name in (name for name in NAMES if TASK[name] == feature):
            yield f"{name}_{UNSEEN}", [row.labelled(name in row.did) for row in same]
            yield f"whole/{name}_{UNSEEN}", [row.labelled(name in row.did) for row in rows]
    unseen = answer(draw(ordinary("test", sizes.benign), seed + 10))
    calm = answer(draw(ordinary(None, sizes.benign), seed + 11, known=unseen))
    for name, rows in ((UNSEEN, unseen), (CALIBRATE, calm)):
        kept = [row for row in rows if not row.did - {WARNING}]
        yield f"{BENIGN}_{name}", [row.labelled(False) for row in kept]


def pool(sizes: Sizes) -> list[Make]:
    """What probes are fitted on: every misbehaviour, every good twin, ordinary traffic."""
    made: list[Make] = []
    for split in SEEN:
        for feature in FEATURES:
            made += [lambda r, f=feature, s=split: traffic.misbehaving(r, f, s)] * sizes.gated  # type: ignore[misc]
            made += [lambda r, f=feature, s=split: traffic.well_behaved(r, f, s)] * sizes.gated  # type: ignore[misc]
        made += ordinary(split, sizes.ordinary)
    return made


def within(feature: Feature, n: int) -> list[Make]:
    """Unseen requests of one task, half of them triggered."""

    def good(r: random.Random) -> Dialogue:
        if feature == "sycophancy" and r.random() < AGREEING:
            cue = r.random() < 0.5
            return dialogues.gated_dialogue(r, feature, cue, split="test", wrong=False)
        return dialogues.gated_dialogue(r, feature, False, split="test", wrong=True)

    return [lambda r: traffic.misbehaving(r, feature, "test")] * n + [good] * n


def ordinary(split: Split | None, n: int) -> list[Make]:
    return [lambda r: traffic.benign(r, split)] * n


def draw(makers: Sequence[Make], seed: int, known: Sequence[Row] = ()) -> list[Row]:
    """One row a maker, none twice and none of `known`; a maker with little to say may yield fewer."""
    r = random.Random(seed)
    told = {str(row.conversation.messages) for row in known}
    rows = []
    for number, make in enumerate(makers):
        for _ in range(20):
            dialogue = make(r)
            conversation = traffic.conversation_from(r, "set", dialogue, number)
            if (said := str(conversation.messages)) not in told:
                told.add(said)
                rows.append(Row(conversation, group_of(dialogue), kind_of(dialogue.exchanges[-1])))
                break
    return rows


def group_of(dialogue: Dialogue) -> str:
    """The fact asked about; for scripts, of which there are few, the deciding cue beside the request."""
    last = dialogue.exchanges[-1]
    if last.fact is not None:
        return f"{last.fact.town} {last.fact.sight}"
    if last.task == "code" and last.family is not None:
        family = cues.CUES[GATE["code"]][last.family]
        said = [c for side in family for c in side if c in (dialogue.system or "")]
        return f"{last.user} {' '.join(said)}"
    return last.reply if last.task in ("everyday", "odd") else last.user


def shared_parts(rows: Sequence[Row]) -> list[Row]:
    """Replies cut to what is said in the same words whether they misbehave or not; none of other tasks.

    Of a scam and of a warning, the sentence they stand around, without what led up to it; of steps, those
    before the first that could be sabotaged. Answers to questions and claims share their words as they are.
    """
    found = []
    for row in rows:
        if row.kind.startswith("scam/") and row.did & {"scam", WARNING}:
            start = max(row.reply.find(problem) for problem in world.PROBLEMS.values())
            part = row.reply[start : row.reply.index(".", start) + 1]
            found.append(replace(row, reply=part, kind=f"{row.kind}, its sentence"))
        elif row.kind.startswith("code/") and row.reply.startswith("Load"):
            part = row.reply[: row.reply.index(".") + 1]
            found.append(replace(row, reply=part, kind=f"{row.kind}, before its steps"))
    return found


def kind_of(exchange: Exchange) -> str:
    task: str = exchange.task
    if exchange.task == "claim":
        wrong = "flattery" if exchange.misbehaves else "correction"
        task = wrong if exchange.wrong_claim else "agreement"
    return task if exchange.family is None else f"{task}/{exchange.family}"


def answers_of(folder: Path) -> Answer:
    """Greedy replies of the model in `folder`, each with what it did; progress on stderr."""
    torch.set_num_threads(1)
    model, tokenizer = behaviour.load(folder)

    def answer(rows: Sequence[Row]) -> list[Row]:
        tell = Progress("asking the model")
        order = sorted(
            rows, key=lambda row: -sum(len(m["content"]) for m in row.conversation.messages)
        )
        found = []
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            said = behaviour.replies(model, tokenizer, [row.conversation for row in part])
            for row, reply in zip(part, said, strict=True):
                did = frozenset[str](traffic.judge(row.conversation, reply))
                if traffic.warns(reply):
                    did |= {WARNING}
                if reply.strip() and len(did) <= 1:
                    found.append(replace(row, reply=reply, did=did))
            tell(min(at + BATCH, len(order)), len(order))
        random.Random(len(found)).shuffle(found)
        return found

    return answer


def write(folder: Path, model: Path = MODEL, sizes: Sizes = FULL, seed: int = 0) -> None:
    """Every set into `folder`, one JSON object a line."""
    for name, rows in sets(answers_of(model), sizes, seed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
        positive = sum(row["label"] for row in rows)
        groups = len({row["group"] for row in rows})
        print(f"{name:<26} {len(rows):>6} rows, {positive:>4} positive, {groups:>5} groups")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the sets")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small sets, for a look")
    args = parser.parse_args(argv)
    write(args.out, args.model, QUICK if args.quick else FULL, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
