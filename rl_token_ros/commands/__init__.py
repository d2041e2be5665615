"""The verbs of `rl_token` that are no nodes, a file each: options, calls into the layers below, what is printed."""
