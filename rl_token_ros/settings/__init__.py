"""Every parameter of every node: the one place where name, default, unit, range and meaning are written down, a module a node."""
