"""The history that auditors query: entries, their store, keys and access. The line never imports it."""
