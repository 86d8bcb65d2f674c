"""Where entries lie and how they get there: accepted, logged, sealed, kept, let go."""
