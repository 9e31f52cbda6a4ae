"""What every other package stands on: files, progress, exact arithmetic, declarations read from source."""
