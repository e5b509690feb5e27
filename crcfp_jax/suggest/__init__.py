"""Where to annotate next: places that a model is unsure of and does not know, over all slides together."""
