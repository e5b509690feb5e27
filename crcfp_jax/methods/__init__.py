"""What is learned from unlabelled images: the methods as data, and the terms of their losses.

`systems` holds the methods, `terms` the functions of their terms. A term takes features that the step has computed,
applies its head, and reduces over the replicas. Nothing in here knows of optimisers, checkpoints or files.
"""
