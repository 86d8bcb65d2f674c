"""A transparency log after C2SP tlog-tiles: entries, tiles, checkpoints, proofs. It knows nothing of alerts."""
