"""Named questions that together use every input and option of a kernel."""
