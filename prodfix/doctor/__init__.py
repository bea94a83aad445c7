"""What is wrong with a deployment before an outage shows it: checks, each with what to do."""
