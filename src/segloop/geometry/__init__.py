"""Pure array maths: frames, boxes, masks, run-length encoding, grids."""
