"""What a secret, and a value of somebody's, looks like within a text."""
