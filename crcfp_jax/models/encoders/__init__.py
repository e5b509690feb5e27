"""Encoders: from pixels to features, their pretrained weights and the pixel statistics that these expect."""
