"""What may be asked of the entries: by name, by filters and time, by an auditor's own SQL."""
