"""What the cases are made of: the machine, servers on it, load for them, and tables of what came of it."""
