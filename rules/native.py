"""The kernel in C (`kernel.c`): what `reference.py` defines, at a million tokens a second.

Built with the package where there is a C compiler; `found` is False where it was not, and then the engine runs the
reference, which is hundreds of times as slow.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator, Sequence

import numpy as np

from dosimeter.detectors.frames import Codes
from dosimeter.rules.atoms import KERNEL_VERSION, SHAPES, Atom, Logic
from dosimeter.rules.crossing import Firing, Met
from dosimeter.rules.reference import Ints

_FIRST_SLOTS = 64
_MET, _HEAD = len(Met._fields), len(Firing._fields)
_POINTER, _INT32, _INT64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


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
        ("new", _POINTER, [_POINTER, _INT32, _POINTER, _INT32, _INT32, _INT32]),
        ("free", None, [_POINTER]),
        ("stride", _INT64, [_POINTER]),
        ("grow", ctypes.c_int, [_POINTER, _INT64]),
        ("open", None, [_POINTER, _INT64]),
        ("step", _INT64, [_POINTER, _INT64, _POINTER, _POINTER, _INT64, _INT64]),
        ("close", _INT64, [_POINTER, _INT64]),
        ("replay", _INT64, [_POINTER, _INT64, _INT64, _POINTER, _INT64, _POINTER, _INT64]),
        ("events", ctypes.POINTER(_INT64), [_POINTER]),
        ("used", _INT64, [_POINTER]),
    ):
        function = getattr(library, f"kernel_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()
found = _library is not None


class NativeKernel:
    """State and step of one program."""

    def __init__(self, atoms: Sequence[Atom], rules: Sequence[Logic]) -> None:
        if _library is None:
            raise RuntimeError("the kernel in C was not built here")
        fields = [
            (a.column, int(a.scope), a.direction, SHAPES.index(a.shape), a.n, a.threshold, a.k,
             a.least, a.coverage)
            for a in atoms
        ]  # fmt: skip
        table = np.array(fields, np.int32).reshape(-1, 9)
        words = np.array([word for logic in rules for word in _words(logic)], np.int32)
        clauses = sum(len(logic.clauses) for logic in rules)
        literals = sum(1 for logic in rules for _ in logic.literals)
        self._c = _library
        self._kernel = self._c.kernel_new(
            table.ctypes.data, len(table), words.ctypes.data, len(rules), clauses, literals
        )
        self._columns = 1 + max((a.column for a in atoms), default=-1)
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

    def replay(self, runs: Ints, requests: int, columns: Sequence[Codes | None]) -> Ints:
        """Whole requests of an archive, one after the other; for each firing (request, position, ended, rule).

        runs [R, 4]: request, first position, tokens, scope, in the order of requests; columns: int16 [T] each, in
        which the tokens of the runs stand behind each other, None for those that no atom reads.
        """
        runs = np.ascontiguousarray(runs, np.int64).reshape(-1, 4)
        given = [None if c is None else np.ascontiguousarray(c, np.int16) for c in columns]
        lengths = {len(codes) for codes in given if codes is not None} or {int(runs[:, 2].sum())}
        width = max(len(given), self._columns)
        pointers = np.zeros(width + 1, np.uintp)
        pointers[: len(given)] = [0 if codes is None else codes.ctypes.data for codes in given]
        slot = self.open()
        count = -2
        if len(lengths) == 1:
            count = self._c.kernel_replay(
                self._kernel, slot, len(runs), runs.ctypes.data, requests,
                pointers.ctypes.data, lengths.pop(),
            )  # fmt: skip
        self._free.append(slot)
        if count == -2:
            raise ValueError(f"{len(runs)} runs that do not fit columns or {requests} requests")
        if count < 0:
            raise MemoryError
        heads = self._events().reshape(-1, _HEAD)[:, :4]
        return heads[np.lexsort(heads.T[::-1])]

    def _events(self) -> Ints:
        """As the kernel wrote them; overwritten by its next call."""
        used = self._c.kernel_used(self._kernel)
        if not used:
            return np.zeros(0, np.int64)
        return np.ctypeslib.as_array(self._c.kernel_events(self._kernel), (used,))

    def _fired(self, count: int) -> list[Firing]:
        if count < 0:
            raise MemoryError
        if not count:
            return []
        words = self._events().tolist()
        found: list[Firing] = []
        at = 0
        for _ in range(count):
            order, position, ended, rule, slot, conditions = words[at : at + _HEAD]
            first, at = at + _HEAD, at + _HEAD + conditions * _MET
            met = tuple(Met(*words[i : i + _MET]) for i in range(first, at, _MET))
            found.append(Firing(order, position, bool(ended), rule, slot, met))
        found.sort(key=lambda f: f[:4])
        return found

    def _grow(self) -> None:
        slots = 2 * self._slots or _FIRST_SLOTS
        if self._c.kernel_grow(self._kernel, slots):
            raise MemoryError
        self._free.extend(range(slots - 1, self._slots - 1, -1))
        self._slots = slots


def _words(logic: Logic) -> Iterator[int]:
    """A rule as `kernel.c` reads it."""
    yield from (int(logic.kind == "sequence"), logic.within)
    yield from (-1 if logic.clear is None else logic.clear, len(logic.clauses))
    for clause in logic.clauses:
        yield from (int(clause.negated), len(clause.literals))
        yield from (literal.atom for literal in clause.literals)
