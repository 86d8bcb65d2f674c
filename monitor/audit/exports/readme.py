"""What README.txt in an export tells whoever opens it: what is there, how to check it, and what it does not show.

Owns the words alone; what they speak of is `exporting.py`.
"""

from __future__ import annotations

import time
from datetime import tzinfo

from dosimeter.monitor.audit.queries.asking import Answer, Question
from dosimeter.monitor.audit.queries.times import shown
from dosimeter.monitor.audit.queries.worth import worth

PARTICULARS = 1000
"""Hours, times and gaps of each sort that README.txt lists."""

CHECK = """To check it, with Python 3.11 or later and nothing else:

    python3 -I verify.py THIS.zip --vkey "KEY"

KEY is the log's public key as you got it from elsewhere. Without --vkey the key in this zip is believed, which shows
that the files belong together and not who made them. Take verify.py from a place you trust, or read it: it is short."""

CSV = """alerts.csv opens in a spreadsheet without running anything. An empty cell is no value. A text that begins
with = + - @ (or their wide forms), a tab, a line end or an apostrophe has an apostrophe in front, and so has an empty
text; in texts a backslash is doubled, and what a terminal would act on is written as \\x1b or \\u202e. To read a text
back, drop one leading apostrophe and undo the backslashes. columns.json says which columns are text. Numbers are as
they are."""
_TEXT = """evidence.jsonl   labels, summaries and scores of {:,} alerts, decrypted: handle it as personal data
"""


def alerts_readme(asked: Question, answer: Answer, zone: tzinfo, opened: int, blobs: int) -> str:
    """opened: alerts whose evidence goes with them."""
    text = _TEXT.format(opened) if opened else ""
    said = worth(answer.watched, zone, total=answer.total, unread=answer.unread, most=PARTICULARS)
    return f"""Alerts of a Dosimeter history, exported {shown(time.time_ns(), zone)}

{answer.total:,} alerts in {asked.within}.
{chr(10).join(said)}

alerts.csv, .jsonl, .parquet   the same rows, newest first; ids of tenants and users are random
about.jsonl      what was done with them: labels, holds, who looked
coverage.jsonl   how much was seen in that time, which sources lived and died, what never came
blobs/           {blobs:,} rules, programs and terms, each under its SHA-256, as the rows name them
{text}proofs.jsonl     each of these entries as the log has it, with its proof of inclusion in `checkpoint`
manifest.json    what was asked, by whom, and the hash of each file; manifest.sig is its signature

{CHECK}

{CSV}

What this does not show: that the filter left nothing out (ask for a wider one and compare), and that the log had no
more entries than its checkpoint says (ask one of its anchors). Coverage is counted for a server, not for a tenant.
"""


def incident_readme(alert_id: str, zone: tzinfo) -> str:
    return f"""One alert of a Dosimeter history: {alert_id}
exported {shown(time.time_ns(), zone)}

record.json      what was decided, without what may lead to a person
evidence.json    labels, summary and scores of the tokens around it, decrypted: handle it as personal data
blobs/           the rule, its program (with the thresholds that its levels came to) and terms, under their SHA-256
reproduced.json  what came of deciding it again on these scores
about.jsonl      labels, holds, later evidence; access.jsonl: who looked at it
calibration/     where levels were placed, if it was given; the record names its hash
proofs.jsonl     its entries as the log has them, with their proofs of inclusion in `checkpoint`
manifest.json    who asked, and the hash of each file; manifest.sig is its signature

{CHECK}
"""
