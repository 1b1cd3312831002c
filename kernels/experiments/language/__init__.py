"""Small language models, trained on text that every machine has or can install, and compared on what they recall."""
