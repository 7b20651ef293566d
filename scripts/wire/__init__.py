"""What `scripts/split_cost` is made of: workers on this machine, and what passes on the way to them."""
