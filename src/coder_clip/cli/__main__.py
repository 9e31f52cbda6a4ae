"""`python -m coder_clip.cli`."""

from . import main

if __name__ == "__main__":
    main()
