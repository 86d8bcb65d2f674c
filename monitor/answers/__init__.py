"""History as the pages and the API see it: what they ask, answered out of the store, the log and the archive."""
