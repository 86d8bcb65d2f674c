"""SQL by name: reads a `.sql` file in which every statement follows a `-- name: x` line.

It keeps statements out of the Python that runs them, where they can be read and explained as SQL.
It knows nothing of the tables; a statement asked for by a name that is not there is an error
listing the names.
"""

from __future__ import annotations

from importlib import resources

MARK = "-- name:"


class NamedSql:
    """The statements of one file: `sql["insert_alert"]` is the text after its mark."""

    def __init__(self, text: str, *, source: str) -> None:
        self.source = source
        self._statements: dict[str, str] = {}
        for block in text.split(MARK)[1:]:
            name, _, body = block.partition("\n")
            if name.strip() in self._statements:
                raise ValueError(f"`{source}`: statement `{name.strip()}` is defined twice")
            self._statements[name.strip()] = body.strip()

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            names = ", ".join(sorted(self._statements))
            raise KeyError(f"`{self.source}` has no statement `{name}`; it has: {names}") from None

    def names(self) -> list[str]:
        return sorted(self._statements)


def read_sql(package: str, name: str) -> str:
    """The text of `name` (a file such as `schema.sql`) inside an installed package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def load_sql(package: str, name: str) -> NamedSql:
    return NamedSql(read_sql(package, name), source=name)
