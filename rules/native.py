"""The kernel in C (`kernel.c`): what `reference.py` defines, at a million tokens a second.

Built with the package where there is a C compiler; `found` is False where it was not, and then the engine runs the
reference, which is hundreds of times as slow.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.rules.atoms import KERNEL_VERSION, SHAPES, Atom
from dosimeter.rules.crossing import Crossing, Firing
from dosimeter.rules.reference import Ints

_FIRST_SLOTS = 64
_FIELDS = len(Crossing._fields)
_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64


def _load() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("dosimeter.rules._kernel")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    if library.kernel_version() != KERNEL_VERSION:
        raise ImportError(
            f"{spec.origin} was built for another version of the rules\n"
            "  hint: install the package again; in a clone: make setup"
        )
    for name, result, arguments in (
        ("new", _POINTER, [_POINTER, ctypes.c_int32]),
        ("free", None, [_POINTER]),
        ("stride", _INT64, [_POINTER]),
        ("grow", ctypes.c_int, [_POINTER, _INT64]),
        ("open", None, [_POINTER, _INT64]),
        ("step", _INT64, [_POINTER, _INT64, _POINTER, _POINTER, _INT64, _INT64]),
        ("close", _INT64, [_POINTER, _INT64]),
        ("events", ctypes.POINTER(_INT64), [_POINTER]),
    ):
        function = getattr(library, f"kernel_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()
found = _library is not None


class NativeKernel:
    """State and step of one program. rule_atoms: for every rule the index of its atom."""

    def __init__(self, atoms: Sequence[Atom], rule_atoms: Sequence[int]) -> None:
        if _library is None:
            raise RuntimeError("the kernel in C was not built here")
        self._rules: dict[int, list[int]] = {}
        for rule, atom in enumerate(rule_atoms):
            self._rules.setdefault(atom, []).append(rule)
        fields = [
            (a.column, int(a.scope), a.direction, SHAPES.index(a.shape), a.n, a.threshold, a.k)
            for a in atoms
        ]
        table = np.array(fields, np.int32).reshape(-1, 7)
        self._c = _library
        self._kernel = self._c.kernel_new(table.ctypes.data, len(table))
        self._slots = 0
        self._free: list[int] = []
        if not self._kernel:
            raise MemoryError
        self._grow()

    def __del__(self) -> None:
        if getattr(self, "_kernel", None):
            self._c.kernel_free(self._kernel)

    @property
    def open_slots(self) -> int:
        return self._slots - len(self._free)

    @property
    def slot_bytes(self) -> int:
        return int(self._c.kernel_stride(self._kernel))

    def open(self) -> int:
        """A slot with fresh state; the store doubles when none is free."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._c.kernel_open(self._kernel, slot)
        return slot

    def close(self, slot: int) -> list[Firing]:
        """Decides what waits for the end of the slot's scope, and frees the slot."""
        firings = self._fired(self._c.kernel_close(self._kernel, slot))
        self._free.append(slot)
        return firings

    def step(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, rows: Ints, codes: Codes
    ) -> list[Firing]:
        """Takes segments in frame order; rows: index of each segment's first row in codes [T, F].

        Positions before the one a slot expects are ignored, so a replayed frame changes nothing.
        """
        table = np.array((slots, scopes, starts, ns, rows), np.int64)
        codes = np.ascontiguousarray(codes, np.int16)
        count = self._c.kernel_step(
            self._kernel, len(slots), table.ctypes.data, codes.ctypes.data, *codes.shape
        )
        if count == -2:
            raise ValueError(f"segments that do not fit slots or codes {codes.shape}")
        return self._fired(count)

    def _fired(self, count: int) -> list[Firing]:
        if count < 0:
            raise MemoryError
        if not count:
            return []
        table: npt.NDArray[np.int64] = np.ctypeslib.as_array(
            self._c.kernel_events(self._kernel), (count, _FIELDS)
        )
        crossings = [
            Crossing(order, position, bool(ended), *rest)
            for order, position, ended, *rest in table.tolist()
        ]
        crossings.sort(key=lambda c: (c.order, c.position, c.ended, c.atom))
        return [Firing(rule, c) for c in crossings for rule in self._rules.get(c.atom, ())]

    def _grow(self) -> None:
        slots = 2 * self._slots or _FIRST_SLOTS
        if self._c.kernel_grow(self._kernel, slots):
            raise MemoryError
        self._free.extend(range(slots - 1, self._slots - 1, -1))
        self._slots = slots
