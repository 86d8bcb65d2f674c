"""How somebody is erased, and the proof of it."""
