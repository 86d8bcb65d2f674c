"""From whom the verdict of another is kept until they have given their own: the second reviewer of an alert.

Owns who that is: whoever may judge, and has not, where one other has. Two verdicts are a matter of record and shown to
everybody, and an auditor is shown each. It reads no verdict, only who gave them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dosimeter.monitor.answers.asking import Asked, actor
from dosimeter.monitor.audit.people.access import actor_id
from dosimeter.monitor.pages.source import Reader
from dosimeter.monitor.roles import ROLES


def may_be_blind(reader: Reader) -> bool:
    rights = _rights(reader)
    return "label" in rights and "audit" not in rights


def is_blind(asked: Asked, reader: Reader, judges: Collection[str]) -> bool:
    """judges: who has said something of it, as `role:id`, each as often as they did."""
    people = {_id(one) for one in judges}
    if len(people) != 1 or not may_be_blind(reader):
        return False
    with asked.alone() as history:
        return _id(actor_id(actor(reader, "label"), history.keys)) not in people


def sums_are_kept(reader: Reader) -> bool:
    """Sums over all of a rule are for whoever tunes it, also if they judge; from who judges only they are kept."""
    return may_be_blind(reader) and "edit" not in _rights(reader)


def counted(verdicts: Mapping[str, int], reader: Reader) -> dict[str, int]:
    """Of few alerts the counts are the verdicts, so whoever may have to judge one is told how many have one."""
    if not verdicts or not may_be_blind(reader):
        return dict(verdicts)
    return {"judged": sum(verdicts.values())}


def _rights(reader: Reader) -> set[str]:
    return {right for role in reader.roles for right in ROLES[role].may}


def _id(who: str) -> str:
    """The same person may judge in one role and ask in another."""
    return who.partition(":")[2]
