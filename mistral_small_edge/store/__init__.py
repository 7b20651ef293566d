"""Models on the hub and on this disk: what a name means, where its file is, how it gets here.

Files and addresses only. Nothing here reads a model's header, loads one, or prints.
"""
