"""The data sets of the zero-shot evaluation, each read in the layout it is published in (paper §7.1, appendix D.1)."""
