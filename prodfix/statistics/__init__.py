"""What is counted, by minute and worker, and the answers made of it."""
