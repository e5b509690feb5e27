"""One training step as a pure function of state, batch and key, for one replica or many.

State, streams through the encoder, augmentation on the device, optimiser, and the step over several devices.
"""
