"""What `scripts/replicas` is made of: several servers behind a stock proxy.

The proxies run from the very files in `scripts/deploy`; only addresses are put in their place. The
servers, and the client that keeps the time, are those of `scripts/beside`.
"""
