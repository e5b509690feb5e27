"""What a pixel of a microscope's picture can measure."""

PLAUSIBLE = (0.05, 20.0)  # µm: no microscope's pixels are smaller or larger, a screen's 72 dpi are 353
