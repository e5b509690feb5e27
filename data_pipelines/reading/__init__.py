"""Slides and pictures as 8-bit RGB, whatever the file is, at any scale.

Training data and pictures to segment are read by the same code, so that both refuse and convert alike.
"""
