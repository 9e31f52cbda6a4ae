"""What several exhibits are made of."""
