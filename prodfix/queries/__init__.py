"""What is seen of each command, what is counted of it, and why it is slow."""
