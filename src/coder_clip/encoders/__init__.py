"""open_clip encoders: find and load them, encode images and texts."""
