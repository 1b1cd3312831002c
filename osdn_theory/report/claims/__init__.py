"""What the claims of the paper are, what others published, and which evidence here bears on each theorem and claim."""
