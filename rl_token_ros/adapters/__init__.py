"""Policies of other frameworks as objects that `vla_server` serves. Each module runs inside that framework's own environment."""
