"""Words to vectors, as CLIP makes them; a prompt carries a vector, never words (paper §7.5)."""
