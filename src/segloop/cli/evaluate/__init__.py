"""segloop evaluate: one command for each of the paper's protocols, one file for each command."""
