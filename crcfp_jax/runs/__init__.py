"""A run in time: its parts and settings, how it starts, its loop, validation, checkpoints and figures.

This is where everything that touches a run folder lies.
"""
