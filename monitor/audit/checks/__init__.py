"""Whether history is what was written: the log, the store beside it, the anchors."""
