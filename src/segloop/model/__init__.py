"""The promptable model in PyTorch, one file per box of the paper's figure."""
