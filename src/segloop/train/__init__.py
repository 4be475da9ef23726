"""Losses, steps and the one training loop."""
