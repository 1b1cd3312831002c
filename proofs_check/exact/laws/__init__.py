"""The theorems as laws, by subject."""
