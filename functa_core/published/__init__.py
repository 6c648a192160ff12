"""What the paper's authors published: reading it without running it."""
