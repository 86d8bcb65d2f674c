"""Other packs for a tap that runs: contents of what the server has traced, and never another graph.

It owns what must hold before packs may take the place of those a tap has, and what changes with them: weights, the
score cache, what the tap says of itself. When that happens is the tap's business; who asks for it is nobody's here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.pack import Pack, bind
from dosimeter.monitor.taps.binding import TapState, seed_of, self_test
from dosimeter.monitor.taps.probe_op import ProbeOp
from dosimeter.monitor.taps.tap import Replacement, Tap

Greet = Callable[[Callable[[], None]], None]
"""Runs what it is given, which changes what the tap says of itself, and says that before any row that comes later."""


class NotLoaded(ValueError):
    """Packs that may not take the place of those a tap has."""


def load(
    tap: Tap, packs: Sequence[Pack], state: TapState, greet: Greet = lambda change: change()
) -> None:
    """Score with these packs, all of them, from the tap's next step on.

    Raises NotLoaded, DoesNotFit, BankError, or HookError where the device does not find a pack's known answer; the tap
    then goes on with the packs it has.
    """
    op, identity = tap.op, state.identity
    if not isinstance(op, ProbeOp) or identity is None or not packs:
        raise NotLoaded("there is no tap that scores, or no pack\n  hint: restart the server")
    for pack in packs:
        wrong = bind(pack, identity)
        if wrong:
            raise NotLoaded(f"pack `{pack.name}` is bound to another model: {', '.join(wrong)}")
    bank, kept = ProbeBank.from_packs(packs), tuple(packs)
    TapState().name(bank)  # whether they can be named at all
    weights = op.laid_out(bank)
    self_test(ProbeOp(bank, op.device, room=0), bank, kept)  # beside the one that is in use

    def take() -> None:
        op.take_over(weights)
        if tap.cache is not None:
            tap.cache.rebind(seed_of(identity.digest, bank), len(bank.columns))
        greet(lambda: state.name(bank))

    tap.load(Replacement(take, lambda: self_test(op, bank, kept)))
