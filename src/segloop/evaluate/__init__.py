"""The zero-shot evaluations, one file per task."""
