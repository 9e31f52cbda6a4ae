"""Models of open_clip: what they are, loading them, features of images and texts."""
