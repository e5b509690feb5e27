"""What every other package may use: errors, files, locks, staging folders, command lines, progress, drawing.

Nothing in here imports JAX, so that a command can refuse its arguments at once, and preparing data needs no JAX.
"""
