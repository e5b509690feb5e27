"""Slides and pictures as 8-bit RGB, whatever the file is, at any scale.

Training data and pictures to segment are read by the same code, so that both refuse and convert alike.
"""

READING = 1  # raised wherever the same file gives other pixels, another pixel size or other tissue than before
