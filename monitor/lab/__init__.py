"""The lab: a small model trained here, what is fitted to it, and the demo that runs on it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = HERE / "dosimeter-lab"
CLEAN = HERE / "dosimeter-lab-clean"
PACK = HERE / "packs" / "core"
CALIBRATION = HERE / "calibration"
SAE = HERE / "dosimeter-lab-sae"
"""A sparse autoencoder of its block 2, in the layout of SAELens: what an import is shown on."""
