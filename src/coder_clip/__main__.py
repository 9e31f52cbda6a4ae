"""`python -m coder_clip`."""

from .cli import main

if __name__ == "__main__":
    main()
