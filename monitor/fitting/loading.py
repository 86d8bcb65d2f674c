"""Which kind of `Subject` a folder holds. What is done with it is not known here."""

from __future__ import annotations

from pathlib import Path

from dosimeter.detectors.identity import ModelIdentity
from dosimeter.monitor.fitting.subject import Subject

READER = "reader"


def open_subject(where: str) -> Subject:
    """A model's folder, or `reader` for the encoder that is installed. Raises InputError, NoReader."""
    from dosimeter.monitor.fitting.decoder import Decoder
    from dosimeter.monitor.sources.reader import Reader, reader_folder

    folder = reader_folder() if where == READER else Path(where)
    encoder = ModelIdentity.from_folder(folder).architecture.startswith("Bert")
    return Reader(folder) if encoder else Decoder(folder)
