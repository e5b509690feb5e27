"""From a model folder and pictures or slides of any size to folders of results.

What is looked at, in which windows, strip by strip through the network; the files are written by `writing`.
"""
