"""Recipes: from a raw download, or from nothing, to the tiles of a data set."""
