"""The parts that several exhibits share."""
