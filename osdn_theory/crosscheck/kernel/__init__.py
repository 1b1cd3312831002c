"""A kernel as the cross-check sees it: found by name, its signature read, and called."""
