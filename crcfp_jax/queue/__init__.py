"""Many trainings one after the other, each a process of its own: the runs of a table, or of a cross-validation."""
