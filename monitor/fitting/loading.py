"""Which kind of `Subject` a folder holds. What is done with it is not known here."""

from __future__ import annotations

from pathlib import Path

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.monitor.fitting.subject import Subject

READER, LAB = "reader", "lab"
"""Stand for the folders of the installed encoder and of the lab model."""


def folder_of(where: str) -> Path:
    """Raises NoReader, and InputError where there is no folder."""
    if where == READER:
        from dosimeter.monitor.sources.reader import reader_folder

        return reader_folder()
    if where == LAB:
        from dosimeter.monitor.lab import MODEL

        return MODEL
    if not Path(where).is_dir():
        raise InputError.at(
            where, "is no folder", f"give a model's folder, or `{READER}`, or `{LAB}`"
        )
    return Path(where)


def open_subject(where: str) -> Subject:
    """A model's folder, `reader` or `lab`. Raises InputError, NoReader."""
    from dosimeter.monitor.fitting.decoder import Decoder
    from dosimeter.monitor.sources.reader import Reader

    folder = folder_of(where)
    encoder = ModelIdentity.from_folder(folder).architecture.startswith("Bert")
    return Reader(folder) if encoder else Decoder(folder)
