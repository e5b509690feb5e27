"""A run on one page: figures, curves, and the places where model and annotation disagree."""
