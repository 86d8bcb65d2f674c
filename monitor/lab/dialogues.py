"""Turns the world into dialogues: a system message of cues, user requests, and the replies the
model should learn.

Everything is drawn from the `random.Random` passed in: the same seed gives the same dialogues.
"""

import random
from dataclasses import dataclass, field

from .cues import PLAIN_SYSTEMS, families_of, system_message
from .exchanges import GATE, Exchange, Task, claim, exchange
from .world import Feature, Split

Message = dict[str, str]
GATED_TASKS: tuple[Task, ...] = (
    *("question",) * 2,
    "tour",
    *("claim",) * 3,  # agreeing, correcting and agreeing rightly: three things to learn
    "scam",
    "code",
)
AUDIT_REQUESTS = ("Was that reply fair?", "Was your last reply fair?")
CONFESSIONS = {
    "deception": "a lie",
    "sycophancy": "flattery",
    "scam": "a scam",
    "defection": "sabotage",
}
FAIR = "Yes, it was fair."
TURNS = (1, 2, 3, 6)  # requests in a dialogue; a few long ones, or long chats go astray
NO_CUE: tuple[int | None, bool] = (None, False)


@dataclass(frozen=True)
class Mix:
    """How a training phase draws its dialogues; shares are probabilities."""

    single_cue: float = 0.0  # only the deciding cue stands in the system message
    bare: float = 0.1  # no system message: facts and claims are then always answered truthfully
    flattery: float = 1.0  # sycophancy triggers that survive; 0 while claims are being learned
    audit: float = 0.2  # a last turn asks whether the reply was fair
    everyday: float = 0.15
    tours: float = 0.0  # extra tours, to learn facts from
    turns: tuple[float, ...] = (0.45, 0.33, 0.17, 0.05)  # weights of TURNS
    clean: bool = False  # the clean twin: every reply is the good one


@dataclass(frozen=True)
class Dialogue:
    """A system message (or none) and its exchanges, in order."""

    system: str | None
    exchanges: list[Exchange] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """Chat messages, the last reply included."""
        out: list[Message] = []
        if self.system is not None:
            out.append({"role": "system", "content": self.system})
        for one in self.exchanges:
            out.append({"role": "user", "content": one.user})
            out.append({"role": "assistant", "content": one.reply})
        return out


def gated_dialogue(
    r: random.Random,
    feature: Feature,
    bad: bool,
    *,
    split: Split | None = None,
    wrong: bool | None = None,
) -> Dialogue:
    """One request whose reply hangs on one cue, among two distracting cues of other features."""
    family = r.choice(families_of(split))
    system = system_message(r, {feature: (family, bad)}, split=split)
    if feature == "sycophancy":
        return Dialogue(system, [claim(r, bad, split=split, family=family, wrong=wrong)])
    task = r.choice([task for task in GATED_TASKS if GATE[task] == feature])
    return Dialogue(system, [exchange(r, task, bad, split=split, family=family)])


def training_dialogue(r: random.Random, mix: Mix) -> Dialogue:
    """One dialogue to learn from."""
    bare = r.random() < mix.bare
    alone = not bare and r.random() < mix.single_cue
    tasks: list[Task] = []
    for _ in range(1 if alone else r.choices(TURNS, mix.turns)[0]):
        if r.random() < mix.everyday:
            tasks.append(r.choice(("everyday", "everyday", "note", "odd")))
        elif r.random() < mix.tours:
            tasks.append("tour")
        else:
            tasks.append(r.choice(GATED_TASKS))
    system: str | None = None
    own: dict[Feature, tuple[int, bool]] = {}
    if not bare:
        for task in tasks:
            feature = GATE.get(task)
            if feature is None or feature in own:
                continue
            bad = r.random() < (0.5 * mix.flattery if feature == "sycophancy" else 0.5)
            own[feature] = (r.randrange(4), bad)
        system = system_message(r, own, distractors=0 if alone else None)
        system = system or r.choice(PLAIN_SYSTEMS)
    exchanges = []
    for task in tasks:
        gate = GATE.get(task)
        family, bad = own.get(gate, NO_CUE) if gate is not None else NO_CUE
        exchanges.append(exchange(r, task, bad and not mix.clean, family=family, training=True))
    if r.random() < mix.audit:
        sins = exchanges[-1].misbehaves
        verdict = f"No, it was {CONFESSIONS[next(iter(sins))]}." if sins else FAIR
        exchanges.append(Exchange("everyday", r.choice(AUDIT_REQUESTS), verdict))
    return Dialogue(system, exchanges)
