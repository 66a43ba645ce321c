"""Scores become masks: single weights, blocks, heads and neurons, each exactly as many as asked for."""
