"""From a trained model to whole slides: reading, tiling, prediction and writing."""
