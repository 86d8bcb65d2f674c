"""What leaves history as files, and what checks it without us."""
