"""Class probabilities of whole images, and the figures and pictures that are made of them.

It needs a network and its variables, not the run that they come from.
"""
