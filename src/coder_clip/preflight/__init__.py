"""What would stop a run, and how long it takes, said before it starts."""
