"""Making a failing case simpler while it fails in the same way."""
