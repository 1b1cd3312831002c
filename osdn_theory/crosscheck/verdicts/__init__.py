"""What the evidence says: of each theorem, and of what is wrong."""
