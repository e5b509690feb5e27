"""A study of the user's own: annotated and unannotated images in a folder, looked at and cut into tiles."""
