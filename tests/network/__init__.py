"""A model that is shared with workers over a real network: hosts, cables, delay, loss, and cuts."""
