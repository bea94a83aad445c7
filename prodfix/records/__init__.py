"""What is kept of each error, event and incident, and how it reaches MongoDB."""
