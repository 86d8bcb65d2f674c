"""How history learns what sidecars decided: from a ledger on this machine, or from Kafka."""
