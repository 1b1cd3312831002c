"""What a kernel's signature and a few small calls say about how it is to be called."""
