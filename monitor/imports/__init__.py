"""Other people's directions as probes of ours: data is read, and nothing in a file is ever executed."""
