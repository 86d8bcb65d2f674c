"""Kept scores on their way to a topic of their own: packed, waiting, sent, and read back into an archive."""
