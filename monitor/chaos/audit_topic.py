"""Manipulations by whoever administers Kafka: the feed of history, and the anchor in a topic.

Each is one function over a copy; the table at the end says what must be found. Not among them is a record that somebody
with the right to write the topic makes up: nothing signs what a sidecar sends, so it is taken in as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from dosimeter.monitor.bench.audit_feed import SOURCE
from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_history import alerts_after, anchors_of, writing
from dosimeter.monitor.feed.items import Alert, Alive, Batch
from dosimeter.monitor.feed.topic import item_at
from dosimeter.monitor.feed.watcher import GRACE_NS
from dosimeter.monitor.feed.wire import encode
from dosimeter.monitor.tlog.note import Signer

MORE = 60
"""Alerts that come through the topic after the attack has begun."""


def _wires(c: Copy, *, last: bool) -> list[bytes]:
    """What the sidecar sent; `last` with its word of how far it has come."""
    alerts: Sequence[Alert] = alerts_after(c.made, MORE, c.dice.randrange(1 << 30))
    sent = [encode(one) for one in alerts]
    if last:
        sent.append(encode(Alive(alerts[-1].source, alerts[-1].seq, alerts[-1].seq)))
    return sent


def _take(c: Copy, wires: Sequence[bytes]) -> None:
    """As history reads them: in parts, and signed; then the time goes by in which late ones may come."""
    with writing(c.root, anchored=False) as w:
        items = [item_at(f"feed-0 offset {n}", SOURCE.encode(), one) for n, one in enumerate(wires)]
        now_ns = w.now_ns
        for at in range(0, len(items), 7):
            w.ingest.take(Batch(tuple(items[at : at + 7]), {"feed-0": at}), now_ns)
        w.ingest.take(Batch(), now_ns + GRACE_NS + 1)
        w.sign()


def lose_records(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at, n = c.dice.randrange(1, MORE - 5), c.dice.randrange(1, 5)
    del wires[at : at + n]
    _take(c, wires)
    first = c.made.last_seq + 1 + at
    return Where(gaps=((first, first + n - 1),))


def lose_newest(c: Copy) -> Where:
    """The end of what was sent, though the sidecar's own word of how far it came is there."""
    wires = _wires(c, last=True)
    n = c.dice.randrange(1, 9)
    del wires[MORE - n : MORE]
    _take(c, wires)
    return Where(gaps=((c.made.last_seq + 1 + MORE - n, c.made.last_seq + MORE),))


def garble_record(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at = c.dice.randrange(1, MORE)
    wires[at] = wires[at][: len(wires[at]) // 2]
    _take(c, wires)
    seq = c.made.last_seq + 1 + at
    return Where(gaps=((seq, seq),))


def repeat_records(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at = c.dice.randrange(MORE - 9)
    wires[at + 9 : at + 9] = wires[at : at + 9]
    _take(c, wires)
    return Where()


def reorder_records(c: Copy) -> Where:
    wires = _wires(c, last=False)
    c.dice.shuffle(wires)
    _take(c, wires)
    return Where()


def empty_anchor(c: Copy) -> Where:
    (c.root / "elsewhere" / "kafka").write_bytes(b"")
    return Where(words="anchor kafka: holds nothing yet")


def roll_anchor_back(c: Copy) -> Where:
    _, kafka, _ = anchors_of(c.root)
    notes = kafka.notes()[:2]
    kafka.path.write_text("".join(notes))
    return Where(words=f"anchor kafka: holds entry {int(notes[-1].splitlines()[1]):,}")


def forge_anchor(c: Copy) -> Where:
    """Notes in the name of this log by a key of their own."""
    _, kafka, _ = anchors_of(c.root)
    kafka.put(Signer.generate(c.made.verifier.name).sign(str(c.notes()[-1])))
    return Where(path="anchor kafka")


TABLE = (
    Manipulation("lose records of the topic", "kafka-admin", "named", lose_records),
    Manipulation("lose the newest records", "kafka-admin", "named", lose_newest),
    Manipulation("garble a record", "kafka-admin", "named", garble_record),
    Manipulation("repeat records", "kafka-admin", "no effect", repeat_records),
    Manipulation("reorder records", "kafka-admin", "no effect", reorder_records),
    Manipulation("empty the anchor", "kafka-admin", "named", empty_anchor),
    Manipulation("roll the anchor back", "kafka-admin", "named", roll_anchor_back),
    Manipulation("forge notes in the anchor", "kafka-admin", "located", forge_anchor),
)  # fmt: skip
