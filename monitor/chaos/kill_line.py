"""The side of the line in `chaos kill`: accepts made-up alerts without end, and says of each that it is accepted.

A process of its own, to be killed: `python -m dosimeter.monitor.chaos.kill_line LEDGER LIFE`. The ids on its standard
output are the promise that is held against everything else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord

GROUP, PAUSE_S = 8, 0.02
CONVERSATIONS = 17


def record(life: int, number: int) -> LedgerRecord:
    event_id = f"{life:016x}{number:016x}"
    core = {
        "v": 2,
        "event_id": event_id,
        "kind": "alert",
        "decision": "notified",
        "time_ns": time.time_ns(),
        "epoch": f"{life:016x}",
        "key": f"{number:016x}",
        "rule": "chaos.kill",
        "feature": "deception",
        "severity": "high",
        "summary": f"life {life}, alert {number}",
        "labels": {"conversation": f"c{number % CONVERSATIONS}"},
    }
    text = json.dumps(core, sort_keys=True, separators=(",", ":"))
    return LedgerRecord(event_id, text.encode(), b"codes", deliverable=True)


def main(ledger: Path, life: int) -> None:
    number = 0
    with Ledger(ledger) as writer:
        while True:
            group = [record(life, number + i) for i in range(GROUP)]
            writer.append(group)
            os.write(1, "".join(f"{one.event_id}\n" for one in group).encode())
            number += GROUP
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
