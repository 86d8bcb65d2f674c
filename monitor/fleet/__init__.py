"""Counts over all sidecars: hits come together in Kafka, and members of a group share the counting of them."""
