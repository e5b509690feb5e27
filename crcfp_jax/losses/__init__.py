"""Losses as pure functions: arrays in, a value for each place and a mask of the places that count out.

Nothing in here knows a network, a method or a device; `reduce.masked_mean` makes a number of the two.
"""
