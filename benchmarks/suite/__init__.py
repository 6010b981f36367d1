"""The sections of `python benchmarks/bench.py`: one module each; `measure` times, `results` keeps and shows."""
