"""Scenarios with known truth; ``python -m tests.scenarios`` plays them and prints the score."""
