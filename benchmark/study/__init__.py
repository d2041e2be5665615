"""The study of training: variants of the method, its jobs and its picture. Used by `benchmark/learning.py`."""
