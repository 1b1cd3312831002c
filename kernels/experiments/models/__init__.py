"""The models that the recall experiment compares."""
