"""Drawing cases from what a kernel takes."""
