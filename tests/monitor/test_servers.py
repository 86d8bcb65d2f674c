"""Which model a server's rules are for: the one its tap names, in whatever order its processes greet."""

from __future__ import annotations

from dataclasses import replace

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.records import Hello
from dosimeter.monitor.servers import Server
from dosimeter.rules.atoms import Atom
from dosimeter.rules.policy import Policy, Whose
from dosimeter.rules.program import Program
from tests.rules.rule_streams import column, frame, program_of

NONE = Program((), (), ())


def hello(role: str, model: str, *features: str) -> Hello:
    columns = [{"feature": name, "pack": "p", "packName": "p"} for name in features]
    state = "live" if features else "no-pack"
    return Hello.parse({"role": role, "state": state, "model": {"name": model}, "columns": columns})


def only(*models: str) -> Program:
    """A rule for each of these models, named after it, that fires at code 5."""
    atom = Atom(0, Scope.ANSWER, 1, "for", 1, 5)
    program = program_of(*[atom] * len(models), columns=1)
    rules = tuple(
        replace(rule, rule=model, policy=Policy(only=Whose.of({"model": [model]})))
        for rule, model in zip(program.rules, models, strict=True)
    )
    return replace(program, rules=rules)


def fired(server: Server) -> list[str]:
    server.engine.open(1, {})
    return [hit.rule for hit in server.engine.step(frame((1, 0, Scope.ANSWER, column(9))))]


def test_a_front_that_greets_first_and_knows_no_model_leaves_it_to_the_tap() -> None:
    front, tap = hello("front", ""), hello("tap", "llama", "f0")
    server = Server.begin(1, front, NONE, None, Decisions())
    server.greet(front, NONE, connecting=True)
    server.greet(tap, only("llama", ""), connecting=True)
    assert fired(server) == ["llama"]


def test_a_tap_that_names_its_model_later_has_the_rules_for_it_from_then_on() -> None:
    program = only("llama", "other")
    server = Server.begin(1, hello("tap", "other", "f0"), program, None, Decisions())
    server.engine.open(2, {})
    server.greet(hello("tap", "llama", "f0"), program, connecting=False)
    assert fired(server) == ["llama"]
    hits = server.engine.step(frame((2, 0, Scope.ANSWER, column(9))))
    assert [hit.rule for hit in hits] == ["llama"]
