"""What the whole test session shares: acceptance coverage and the guard against leftover processes."""
