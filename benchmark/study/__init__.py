"""The study of practice: variants of the method, its jobs and its picture. Used by `benchmark/learning.py`."""
